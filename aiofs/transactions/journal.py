"""The journal: what each transaction under way is about to do, in files of any store.

A transaction has one log, below `.aiofs-journal/`. Its name has the number of the transaction, and it is removed when
the transaction ended. It consists of lines (`records` has their format), in this order:

    open     who began, when, and over which stores                nothing was done yet
    touch    a path that is locked, and may have staged bytes      not decided: recovery undoes
    held     the fence of a path's lock that stays in the store when this process ends
    plan     the locks that are held; what comes next may leave staged bytes      not decided: undo
    commit   the decision, with everything that finishing takes    decided: recovery finishes
    undo     the store refused to publish a file; what was published until then   recovery undoes
    abort    another process took over the undecided transaction   recovery undoes
    end      2.0.0a1 wrote it before it removed the log             recovery removes the log

Where the store can append, the log is one file that grows. Elsewhere each line that must not be lost is a file of its
own, which is created only if it does not exist: if two processes decide, the first one wins. The checksum shows that a
crash cut a line short. In a log that grows, this can happen only to the last line, and the next line that is
written then says so (`mends`). Any other line that does not fit its checksum is damage, and is reported.

A decision that is damaged looks like one that a crash cut short. So before the first file is published, a log that
grows gets a second file, `NUMBER.begun`, beside it. If this file is there and no decision can be read, the decision is
damaged. It is removed before the log is.

A log has names, versions, what stores need to resume a write, and the bytes of small files that are being written,
until the transaction ends. It never has credentials: drivers keep those.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, Conflict, Damaged, IsAFolder, NotFound, Unreadable, one_of
from aiofs.files.writing import Parts
from aiofs.lifetimes import finish
from aiofs.names import JOURNAL, is_reserved
from aiofs.powers import Appends, Notes
from aiofs.transactions.records import FOLDER, LineChecker, Step, decode, encode, last

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence

    from aiofs.driver import Driver, Entry, Lease, WriteSession
    from aiofs.transactions.records import Record

READ_SIZE = 1 << 18
_UNIT = re.compile(rf"{re.escape(FOLDER)}/([0-9a-f]{{32}})\.")
_NUMBER = re.compile(r"[0-9]{6,9}")
_MOST_NAMES = 5
"""How many files the error about a damaged log names."""
_BEGUN = b"The files of the transaction with this number are being published.\n"


@dataclass(frozen=True, slots=True)
class Decision:
    """A transaction in a journal: one that is decided and not ended yet, or one that is not decided."""

    unit: str
    """The number of the transaction."""
    by: str
    """The process that began it, and its machine."""
    since: datetime | None
    """When it began; `None` if its log does not say so."""
    stores: Mapping[str, str]
    """What its stores are, by the names that it has for them."""
    files: tuple[tuple[str, str], ...]
    """The files that it changes, or may change while it is not decided: the name of the store, and the path."""
    committed: bool
    """Whether it is decided, and its files are being published; `False` also if they are being put back."""
    steps: tuple[Step, ...] = ()
    """What happens to each file, once it is decided. `steps.read_before` reads what a file was before."""


class Journal:
    """The logs of all transactions that one driver keeps.

    >>> async for decision in Journal(fs.driver).decisions():
    ...     print(decision.unit, decision.since, decision.files, decision.committed)
    """

    def __init__(self, driver: Driver) -> None:
        self.driver: Driver = driver

    @property
    def grows(self) -> bool:
        """Whether a log is one file that lines are appended to."""
        return self.driver.offers(Appends) is not None

    async def units(self) -> list[str]:
        """Return the numbers of all transactions that have a log."""
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

    async def decisions(self) -> AsyncGenerator[Decision]:
        """Yield the transactions that have a log and did not end, as they are when their logs are read.

        No lock is taken and nothing is changed: a transaction may end, or be decided, right after that. Where each line
        of a log is a file, a transaction that is not decided may not be in the store yet.

        :raises Damaged: as well as `Unreadable` and `Unsupported`, for a log that cannot be read.
        """
        for unit in await self.units():
            records = await self.log(unit).read()
            opened, decided = last(records, "open"), last(records, "commit")
            if opened is None or last(records, "end") is not None:
                continue
            steps = tuple(Step(**step) for step in decided["steps"]) if decided else ()
            changed = [(step.store, step.path) for step in steps]
            touched = [(record["store"], record["path"]) for record in records if record["do"] == "touch"]
            yield Decision(
                unit,
                opened.get("by", ""),
                _time(opened.get("at", "")),
                opened["stores"],
                tuple(dict.fromkeys(changed or touched)),
                decided is not None and last(records, "undo") is None,
                steps,
            )

    def log(self, unit: str) -> JournalLog:
        """Return the log of a transaction, whether or not there is one yet."""
        return JournalLog(self.driver, unit)


class JournalLog:
    """The log of one transaction."""

    def __init__(self, driver: Driver, unit: str) -> None:
        self.unit: str = unit
        self._driver = driver
        self._appends = driver.offers(Appends)
        self._notes = driver.offers(Notes)
        self._files: list[str] = []
        self._alone = True  # whether no other process can have written files of this transaction
        self._pending = b""
        self._number = 0
        self._torn = False
        self._decision: str | None = None
        self._lease: Lease | None = None
        self._turn = asyncio.Lock()
        self.ended: bool = False

    def name(self, what: str) -> str:
        """Return the name of a file of the transaction."""
        return f"{FOLDER}/{self.unit}.{what}"

    @property
    def grows(self) -> bool:
        """Whether the log is one file, so that a line that need not be durable costs no request."""
        return self._appends is not None

    @property
    def certain(self) -> bool:
        """Whether an error means that the line was not written. Elsewhere only the answer may be lost."""
        return self._driver.capabilities.certain

    async def lock(self) -> None:
        """Lock the log until the transaction ends.

        :raises Locked: if the transaction is alive, or another process recovers it.
        """
        self._lease = await self._driver.lock(f"{FOLDER}/{self.unit}")

    async def release(self) -> None:
        """Release the lock. Harmless when done twice."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()

    def check_held(self) -> None:
        """Raise `Conflict` if the lock was lost: then another process ends the transaction, or did."""
        if self._lease is not None and self._lease.lost:
            raise Conflict.of(
                self.name("log"), "the lock on this transaction was lost; the process that has it ends it"
            )

    async def is_there(self) -> bool:
        """Whether there is a file of this transaction."""
        return bool(await self.names())

    async def write(self, *records: Record, durable: bool = True) -> None:
        """Add lines. If `durable`, they are on the disk when this returns, else perhaps only with the next such line.

        :raises AlreadyExists: if another process wrote a line in the meantime.
        """
        async with self._turn:
            await self._write(records, durable=durable)

    async def _write(self, records: Sequence[Record], *, durable: bool) -> None:
        first, *others = records
        lines = b"".join(map(encode, [{**first, "mends": True} if self._torn else first, *others]))
        name = self.name("log" if self._appends else f"{self._number + 1:06}")
        if last(records, "commit"):
            self._decision = name
        if self._appends is not None:
            self.own(name)
            self._torn = True  # until it is known to be whole
            await self._appends.append(name, lines, durable=durable)
            self._torn = False
            return
        self._pending += lines
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
        """If the log grows, write `NUMBER.begun`, before the first file is published. A power cut may lose it."""
        if self._appends is not None:
            name = self.name("begun")
            self.own(name)
            await self._appends.append(name, _BEGUN, durable=False)

    async def confirm(self, *records: Record | None) -> None:
        """Write these lines a second time, before recovery acts on them: they were read, but may be only in memory.

        The process that wrote them may have died before they were on the disk, or may have got an error that said so.
        The system still shows such lines, and may lose them later. Only a store that is `certain` can show such lines.
        """
        if self.certain:
            for record in records:
                if record is not None:
                    self._torn = True
                    await self.write(record)

    def own(self, name: str) -> None:
        """Remember a file that is removed when the transaction ends."""
        if name not in self._files:
            self._files.append(name)

    async def read(self) -> list[Record]:
        """Return all lines, without a last one that was cut short.

        :raises Damaged: if a line was changed, or cut short where no crash can do that, or no transaction writes such
            a line; if the decision is gone after publishing began; or if something in place of a file is not one.
        :raises Unreadable: if this user may not read the log.
        :raises Unsupported: if a newer version of this package wrote it.
        """
        self._alone = self._torn = False
        records: list[Record] = []
        checker = LineChecker(self.unit)
        names = await self.names()
        for name in names:
            suffix = name.removeprefix(self.name(""))
            if suffix not in {"log", "begun"} and not _NUMBER.fullmatch(suffix):
                continue
            data = await self._fetch(name)
            if data is None or suffix == "begun":
                continue  # a file is gone if the transaction ended in the meantime
            found, torn = decode(data, name)
            checker.check(found, name)
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
            reason = "this is not a file of a journal, but a link, a folder or something else that no transaction makes"
            raise Damaged.of(name, reason) from error
        except AccessDenied as error:
            reason = f"this user has no right to read this file of a journal ({error.strerror})"
            raise Unreadable.of(name, reason) from error

    async def _check_ended(self, records: Sequence[Record]) -> None:
        """Raise `Damaged` if the log is still there: publishing began, and no decision could be read."""
        if self.name("log") in await self.names():
            paths = [repr(record["path"]) for record in records if record["do"] == "touch"]
            files = ", ".join([*paths[:_MOST_NAMES], *(["..."] if len(paths) > _MOST_NAMES else [])]) or "its files"
            raise Damaged.of(
                self.name("log"),
                f"the decision of this transaction is damaged or gone after publishing began: of {files}, some may be "
                "new and others old; nothing was undone, and the before-images that there were are kept",
            )

    async def end(self) -> None:
        """Remove all files of the transaction, and release the log, also if removing fails. Harmless when done twice.

        Where each line is a file, the file of the decision is removed first: without a decision, no recovery
        publishes anything again.
        """
        failures: list[Exception] = []
        for do in (self._erase, self.release):
            try:
                await do()
            except Exception as error:
                failures.append(error)
        if failures:
            raise one_of(failures)

    async def _erase(self) -> None:
        if self._decision is not None and not self.grows:
            await self.remove([self._decision])
        names = sorted(self._files if self._alone else await self.names())
        await self.remove([name for name in names if self.grows or name != self._decision])
        self.ended = True

    async def remove(self, names: Sequence[str]) -> None:
        """Remove files of the transaction."""
        if names and self._notes is not None:
            await self._notes.erase(names)
        elif names:
            await self._driver.delete(names, missing_ok=True)

    async def names(self) -> list[str]:
        """Return the names of the files of the transaction."""
        async with aclosing(self._driver.list(self.name(""))) as entries:
            return [entry.path async for entry in entries]


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def name_file(error: OSError, path: str) -> OSError:
    """Have `error` name `path` if it names no file of the user, and return it; a note keeps a hidden name."""
    hidden = error.filename
    if isinstance(hidden, str) and not is_reserved(hidden):
        return error
    error.filename = path
    if isinstance(hidden, str):
        error.add_note(
            f"the error arose at {hidden!r}, which aiofs uses for transactions: give it rights and space there, "
            "or give journal= another file system"
        )
    return error


@contextmanager
def named(path: str | None) -> Iterator[None]:
    """Have errors that leave the block name a file of the user: `path`, where they name none."""
    try:
        yield
    except OSError as error:
        if path is not None:
            name_file(error, path)
        raise


def name_journal(error: OSError, where: object) -> OSError:
    """Have `error` name the file system of the journal, unless it names a file of the user, and return it."""
    hidden = error.filename
    if isinstance(hidden, str) and hidden and not is_reserved(hidden):
        return error
    error.strerror = (
        f"{error.strerror or type(error).__name__}; {hidden or JOURNAL!r} is the journal of transactions in this file "
        "system, and aiofs must read and write it to begin or recover one: make that possible, or give journal= "
        "another file system"
    )
    error.filename = str(where)
    return error


async def put(driver: Driver, path: str, data: bytes) -> None:
    """Create a file.

    :raises AlreadyExists: if there is one.
    """

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await put_stream(driver, path, chunks())


async def put_stream(driver: Driver, path: str, chunks: AsyncIterator[bytes]) -> None:
    """Create a file from chunks.

    :raises AlreadyExists: if there is one.
    """
    lease = await driver.lock(path)
    try:
        await publish(await driver.begin(path, lease, match=ABSENT), chunks, driver.part_size)
    finally:
        await finish(lease.release())


async def publish(session: WriteSession, chunks: AsyncIterator[bytes], part_size: int) -> Entry:
    """Write chunks to a session and commit it; abort it if that fails."""
    try:
        parts = Parts(session, part_size)
        async for chunk in chunks:
            await parts.append(chunk)
        await parts.finish()
        return await session.commit()
    except BaseException:
        await finish(session.abort())
        raise


async def entry_at(driver: Driver, path: str) -> Entry | None:
    """Describe the file that is there; `None` if there is none."""
    try:
        return await driver.stat(path)
    except NotFound:
        return None


async def fetch(driver: Driver, path: str) -> bytes | None:
    """Return the bytes of a file; `None` if there is none."""
    try:
        stream = await driver.read(path)
    except NotFound:
        return None
    try:
        pieces = []
        while data := await stream.chunk(READ_SIZE):  # to the end as it is now: a log may grow while it is read
            pieces.append(data)
        return b"".join(pieces)
    finally:
        await finish(stream.aclose())
