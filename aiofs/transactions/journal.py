"""The journal: what each transaction under way is about to do, in files of any store.

A transaction has one log, below `.aiofs-journal/`, named by its number and removed when it ended. A log is lines:

    aiofs-journal/2 CHECKSUM {"do": ...}

`2` is the number of the format; a number, or a kind of line, that is not known is refused. 2.0.0a1 wrote `1`, which is
read in the same way: it knew no properties of files, and what stores had prepared bore no number of its own.
CHECKSUM is a BLAKE2b of 8 bytes, in hexadecimal digits, of the JSON that follows.
What the lines say, in the order in which they may come:

    open     who began, when, and over which stores                     nothing was done yet
    touch    a path that is locked, perhaps staged                      nothing was decided: undo
    held     which lock of a path it is that is left, but not given back
    plan     which locks are held; what follows may leave traces         undo
    commit   the decision, with all that is needed to finish             decided: finish
    undo     a publication was refused; what was published till then    compensate
    abort    somebody else took the transaction over, undecided          undo
    end      all is done, and only the log itself is left                remove it

Where the store can append, the log is one file that grows; elsewhere each line that must last is a file of its own,
created only if it is not there, so that of two who decide the first wins. A line that a crash cut short is told by its
checksum; only the last line of a log that grows can be one, and whoever writes behind it says so (`mends`). Anything
else that does not fit its checksum is damage, and is reported instead of being guessed at.

A decision that is damaged looks like one that a crash cut short. So before the first file is published, a log that
grows gets a second file, `NUMBER.begun`, beside it. If this file is there and no decision can be read, the decision is
damaged. It is removed before the log is.

A log holds names, versions, what stores need to resume a write, and the bytes of small files that are being written,
until the transaction ends; never credentials, which drivers keep to themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, Conflict, Damaged, IsAFolder, NotFound, Unsupported
from aiofs.files.writing import Parts
from aiofs.lifetimes import finish
from aiofs.powers import Appends, Notes
from aiofs.transactions.errors import Unreadable, name_journal, one_of
from aiofs.transactions.records import FOLDER, Lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiofs.driver import Driver, Entry, Lease, WriteSession
    from aiofs.transactions.records import Record

VERSION = 2
STEP = 1 << 18
_MARK = f"aiofs-journal/{VERSION}"
_KNOWN = frozenset({_MARK, "aiofs-journal/1"})
_UNIT = re.compile(rf"{re.escape(FOLDER)}/([0-9a-f]{{32}})\.")
_NUMBER = re.compile(r"[0-9]{6,9}")
_NAMED = 5
"""How many files the error about a damaged log names."""
_BEGUN = b"The files of the transaction with this number are being published.\n"


class Journal:
    """The logs of all transactions, kept by one driver."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    @property
    def grows(self) -> bool:
        """Whether a log is one file that lines are appended to."""
        return self.driver.offers(Appends) is not None

    async def units(self) -> list[str]:
        """Return the numbers of all transactions that have a log, ended ones excepted."""
        found: dict[str, None] = {}
        try:
            async with aclosing(self.driver.list(f"{FOLDER}/")) as entries:
                async for entry in entries:
                    if match := _UNIT.match(entry.path):
                        found[match[1]] = None
        except OSError as error:
            name_journal(error, self.driver)
            raise
        return list(found)

    def log(self, unit: str) -> Log:
        """Return the log of a transaction, whether or not there is one yet."""
        return Log(self.driver, unit)


class Log:
    """What one transaction wrote down."""

    def __init__(self, driver: Driver, unit: str) -> None:
        self.unit = unit
        self._driver = driver
        self._appends = driver.offers(Appends)
        self._notes = driver.offers(Notes)
        self._files: list[str] = []
        self._alone = True  # whether nobody else can have written files of this transaction
        self._pending = b""
        self._number = 0
        self._torn = False
        self._decision: str | None = None
        self._lease: Lease | None = None
        self._turn = asyncio.Lock()
        self.ended: bool = False

    def name(self, what: str) -> str:
        """Return the name of a file that goes with the transaction."""
        return f"{FOLDER}/{self.unit}.{what}"

    @property
    def grows(self) -> bool:
        """Whether writing down what need not last costs nothing."""
        return self._appends is not None

    @property
    def certain(self) -> bool:
        """Whether a line that could not be written is known to have failed, and not just to be without an answer."""
        return self._driver.capabilities.certain

    async def lock(self) -> None:
        """Get the right to write this log, until its end.

        :raises Locked: if the transaction is alive, or somebody else recovers it.
        """
        self._lease = await self._driver.lock(f"{FOLDER}/{self.unit}")

    async def release(self) -> None:
        """Give that right back. Harmless when done twice."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()

    def check_held(self) -> None:
        """Raise `Conflict` if the right to write this log was lost: then somebody else ends the transaction, or did."""
        if self._lease is not None and self._lease.lost:
            raise Conflict.of(self.name("log"), "the lock on this transaction was lost; whoever recovers it ends it")

    async def is_there(self) -> bool:
        """Whether there is anything of this transaction."""
        return bool(await self.names())

    async def write(self, record: Record, *, durable: bool = True) -> None:
        """Add a line: on the disk before this returns if `durable`, else perhaps with the next that is.

        :raises AlreadyExists: if somebody else wrote a line in the meantime.
        """
        async with self._turn:
            await self._write(record, durable=durable)

    async def _write(self, record: Record, *, durable: bool) -> None:
        line = encode({**record, "mends": True} if self._torn else record)
        name = self.name("log" if self._appends else f"{self._number + 1:06}")
        if record["do"] == "commit":
            self._decision = name
        if self._appends is not None:
            self.own(name)
            self._torn = True  # until it is known to be whole
            await self._appends.append(name, line, durable=durable)
            self._torn = False
            return
        self._pending += line
        if durable:
            self.own(name)
            if self._notes is not None:
                await self._notes.note(name, self._pending)
            else:
                await put(self._driver, name, self._pending)
            self._torn = False
            self._number += 1
            self._pending = b""

    async def begin_publishing(self) -> None:
        """Write down, if the log grows, that publishing begins. This need not survive a power cut."""
        if self._appends is not None:
            name = self.name("begun")
            self.own(name)
            await self._appends.append(name, _BEGUN, durable=False)

    async def confirm(self, *records: Record | None) -> None:
        """Write lines that were read once more, before anybody acts on them, where they may be in memory alone.

        Whoever wrote them may have died before they were on the disk, or may have been told that they did not get
        there; then the system forgets them in the end, though it still shows them.
        """
        if self.certain:
            for record in records:
                if record is not None:
                    self._torn = True
                    await self.write(record)

    def own(self, name: str) -> None:
        """Remember a file that goes when the transaction ends."""
        if name not in self._files:
            self._files.append(name)

    async def read(self) -> list[Record]:
        """Return what was written, without a last line that was cut short.

        :raises Damaged: if a line was changed, or cut short where no crash could have done it, or says what no
            transaction writes; if the decision is gone after publishing began; or if something there is no file.
        :raises Unreadable: if the user may not read it.
        :raises Unsupported: if a newer version of this package wrote it.
        """
        self._alone = self._torn = False
        records: list[Record] = []
        lines = Lines(self.unit)
        names = await self.names()
        for name in names:
            suffix = name.removeprefix(self.name(""))
            if suffix not in {"log", "begun"} and not _NUMBER.fullmatch(suffix):
                continue
            data = await self._fetch(name)
            if data is None or suffix == "begun":
                continue  # a file is gone if the transaction ended in the meantime
            found, torn = decode(data, name)
            lines.check(found, name)
            if suffix == "log":
                self._torn = torn
            else:
                self._number = int(suffix)
                if torn or not found or found[-1]["do"] == "touch":  # a touch is never the last line of a file
                    raise Damaged.of(name, "this file of a journal is incomplete, and no crash can leave it so")
            if last(found, "commit"):
                self._decision = name
            records += found
        if self.name("begun") in names and last(records, "commit", "end") is None:
            await self._check_ended(records)
        return records

    async def _fetch(self, name: str) -> bytes | None:
        try:
            return await fetch(self._driver, name)
        except IsAFolder as error:
            reason = "this is no file of a journal, but a link, a folder or something else that no transaction makes"
            raise Damaged.of(name, reason) from error
        except AccessDenied as error:
            raise Unreadable.of(name, f"there is no right to read this file of a journal ({error.strerror})") from error

    async def _check_ended(self, records: Sequence[Record]) -> None:
        """Raise `Damaged` unless the log is gone: publishing began, and no decision could be read in it."""
        if self.name("log") in await self.names():
            paths = [repr(record["path"]) for record in records if record["do"] == "touch"]
            files = ", ".join([*paths[:_NAMED], *(["..."] if len(paths) > _NAMED else [])]) or "its files"
            raise Damaged.of(
                self.name("log"),
                f"the decision of this transaction is damaged or gone after publishing began: of {files}, some may be "
                "new and others old; nothing was undone, and the before-images that there were are kept",
            )

    async def end(self) -> None:
        """Remove all that goes with the transaction, and release the log. Harmless when done twice.

        Without its decision nothing is done again, so that goes first. A log that grows is released before it is gone,
        lest a crash leave a lock that no log tells of. Whatever fails, it is released.
        """
        failures: list[Exception] = []
        for do in (self._say_the_end, self.release, self._erase) if self.grows else (self._erase, self.release):
            try:
                await do()
            except Exception as error:
                failures.append(error)
        if failures:
            raise one_of(failures)

    async def _say_the_end(self) -> None:
        await self.write({"do": "end"}, durable=False)

    async def _erase(self) -> None:
        if self._decision is not None and not self.grows:
            await self.remove([self._decision])
        names = sorted(self._files if self._alone else await self.names())
        await self.remove([name for name in names if self.grows or name != self._decision])
        self.ended = True

    async def remove(self, names: Sequence[str]) -> None:
        """Remove files that go with the transaction."""
        if names and self._notes is not None:
            await self._notes.erase(names)
        elif names:
            await self._driver.delete(names, missing_ok=True)

    async def names(self) -> list[str]:
        """Return the files that go with the transaction."""
        async with aclosing(self._driver.list(self.name(""))) as entries:
            return [entry.path async for entry in entries]


def encode(record: Record) -> bytes:
    """Return a line, after a line break that ends whatever a crash left before it."""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return b"\n%s %s %s\n" % (_MARK.encode(), _checksum(body), body)


def decode(data: bytes, name: str) -> tuple[list[Record], bool]:
    """Return what the lines say, and whether the last one was cut short."""
    records: list[Record] = []
    torn = False
    for line in data.split(b"\n"):
        if not line:
            continue
        record = _decode_line(line, name)
        if record is None:
            torn = True
        elif torn and not record.get("mends"):
            raise Damaged.of(name, "a line of this journal does not fit its checksum")
        else:
            torn = False
            records.append(record)
    return records, torn


def _decode_line(line: bytes, name: str) -> Record | None:
    mark, _, rest = line.partition(b" ")
    checksum, _, body = rest.partition(b" ")
    if _checksum(body) != checksum:
        return None
    told = mark.decode(errors="replace")
    if told not in _KNOWN:
        reason = f"this journal has the format {told!r}, and this version of aiofs knows {_MARK!r}: use the newer one"
        raise Unsupported.of(name, reason)
    try:
        record: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Damaged.of(name, "a line of this journal is no JSON that a transaction writes") from error
    if not isinstance(record, dict):
        raise Damaged.of(name, "a line of this journal is no JSON object")
    return record


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode()


async def put(driver: Driver, path: str, data: bytes) -> None:
    """Create a file that nobody else writes.

    :raises AlreadyExists: if it is there.
    """

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await put_stream(driver, path, chunks())


async def put_stream(driver: Driver, path: str, chunks: AsyncIterator[bytes]) -> None:
    """Create a file that nobody else writes, from chunks.

    :raises AlreadyExists: if it is there.
    """
    lease = await driver.lock(path)
    try:
        await publish(await driver.begin(path, lease, match=ABSENT), chunks, driver.part_size)
    finally:
        await finish(lease.release())


async def publish(session: WriteSession, chunks: AsyncIterator[bytes], part_size: int) -> Entry:
    """Hand chunks to a session, and commit it; abort it if that fails."""
    try:
        parts = Parts(session, part_size)
        async for chunk in chunks:
            await parts.append(chunk)
        await parts.finish()
        return await session.commit()
    except BaseException:
        await finish(session.abort())
        raise


async def fetch(driver: Driver, path: str) -> bytes | None:
    """Return the bytes of a file; `None` if it is gone."""
    try:
        stream = await driver.read(path)
    except NotFound:
        return None
    try:
        pieces = []
        while data := await stream.chunk(STEP):  # as far as it goes now: a log may grow while it is read
            pieces.append(data)
        return b"".join(pieces)
    finally:
        await finish(stream.aclose())


def last(records: Sequence[Record], *kinds: str) -> Record | None:
    """Return the last line of one of these kinds."""
    return next((record for record in reversed(records) if record.get("do") in kinds), None)
