"""Preparing: what a transaction staged is written to the stores, still invisible, before the transaction decides."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs.driver import ABSENT
from aiofs.errors import Conflict, NotFound
from aiofs.files.reading import whole_chunks
from aiofs.lifetimes import finish
from aiofs.powers import Likens, Permits, Removes, Snapshots
from aiofs.transactions.content import StoredRange, write_content
from aiofs.transactions.errors import name_file, named, with_others
from aiofs.transactions.journal import put_stream
from aiofs.transactions.publish import Work, each, unfinished
from aiofs.transactions.records import Step
from aiofs.transactions.staging import ParkedLock
from aiofs.transactions.steps import (
    SMALL,
    JournaledBytes,
    JournaledFile,
    PreparedStep,
    RemovalStep,
    RewriteStep,
    StepSession,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiofs.driver import Driver, Entry, WriteSession
    from aiofs.transactions.content import StagedContent, StagedReader
    from aiofs.transactions.journal import JournalLog
    from aiofs.transactions.records import Record
    from aiofs.transactions.staging import StagedFile, UnitDriver

Todo = tuple[int, "UnitDriver", str, "StagedFile"]


class Preparation:
    """Turns what is staged into steps that wait for the decision."""

    def __init__(self, drivers: Iterable[UnitDriver], log: JournalLog, journal: Driver) -> None:
        self._drivers = list(drivers)
        self._log = log
        self._journal = journal
        self._works: dict[int, Work] = {}
        self.failures: list[Exception] = []
        """What could not be undone after `run` had raised."""

    async def run(self) -> list[Work]:
        """Return the steps, in the order in which their paths were first changed.

        :raises Conflict: if a file was changed after the transaction had read it.
        """
        staged = [(driver, path, item) for driver in self._drivers for path, item in driver.staged.items()]
        todo: list[Todo] = [(number, *item) for number, item in enumerate(staged)]
        if any(_leaves_traces(driver, item) for _, driver, _, item in todo):
            leases = [(driver.name, *held) for driver in self._drivers for held in driver.leases.items()]
            held = [[store, path, lease.fence] for store, path, lease in leases]
            await self._log.write({"do": "plan", "held": held})
        try:
            await each(todo, self._prepare)
        except BaseException as error:
            self.failures = await finish(abort_all(list(self._works.values())))
            if not self.failures:
                raise
            reason = "not all that was prepared could be undone; its journal stays, and recover() ends it"
            if isinstance(error, Exception):
                raise unfinished(self._log, error, self.failures, reason) from error
            with_others(error, self.failures, reason)
            raise
        return [self._works[number] for number in sorted(self._works)]

    async def _prepare(self, todo: Todo) -> None:
        with named(todo[2]):
            await self._prepare_file(*todo)

    async def _prepare_file(self, number: int, driver: UnitDriver, path: str, staged: StagedFile) -> None:
        base, before = await self._look(driver.base, path, staged)
        if staged.base is not None and base != staged.base:
            raise Conflict.of(path, "the file was changed after the transaction had read it")
        if staged.content is None and base == ABSENT:
            return
        step = Step(driver.name, path, base, f"{self._log.unit}-{number}", before)
        lease = driver.leases[path]
        if isinstance(lease, ParkedLock):
            driver.leases[path] = await lease.back()
        session = await self._session(driver, step, staged)
        work = Work(step, driver.base, self._journal, session, driver.leases[path], fresh=True)
        self._works[number] = work
        step.token = await _token(session)
        if isinstance(lease, ParkedLock):
            work.session, work.lease = PreparedStep(driver.base, step.token["token"]), None
            await driver.leases.pop(path).release()

    async def _look(self, driver: Driver, path: str, staged: StagedFile) -> tuple[str, Record | None]:
        """Return the version that will be replaced, and a token with its bytes if the decision will have them."""
        if driver.capabilities.holds:
            return await version_of(driver, path), None
        try:
            stream = await driver.read(path, 0, SMALL)
        except NotFound:
            return ABSENT, None
        try:
            stream.check_replaceable()
            entry = stream.entry
            small = entry.size is not None and entry.size <= SMALL and not _removal_has_parts(driver, staged)
            data = b"".join([chunk async for chunk in whole_chunks(stream)]) if small else b""
        finally:
            await finish(stream.aclose())
        if not small:
            return _known(driver, entry), None
        permissions_change = staged.content is None or staged.like is not None
        permissions = await _permissions(driver, path, path) if permissions_change else None
        return _known(driver, entry), JournaledBytes(data, entry.kept(driver.capabilities), permissions).token()

    async def _session(self, driver: UnitDriver, step: Step, staged: StagedFile) -> WriteSession:
        """Return a session to which everything is written."""
        base, path, lease = driver.base, step.path, driver.leases[step.path]
        if staged.content is None:
            removes = base.offers(Removes) if base.capabilities.holds else None
            if removes is not None:
                return await removes.begin_removal(path, lease, match=step.base)
            return RemovalStep(base, path, lease, step.base)
        metadata = staged.entry.kept(base.capabilities)
        reader = driver.reader(staged.content)
        try:
            permissions = await _permissions(base, path, staged.like)
            if staged.content.size <= SMALL and not base.capabilities.holds:
                source = JournaledBytes(await reader.read(0, staged.content.size), metadata, permissions)
                return RewriteStep(base, path, lease, step.base, source)
            if not base.capabilities.resume:
                name = await self._beside_journal(step, reader, staged.content)
                source = JournaledFile(self._journal, name, metadata, permissions)
                return RewriteStep(base, path, lease, step.base, source)
            session = await base.begin(path, lease, match=step.base, metadata=metadata)
            try:
                await self._liken(driver, path, staged.like)
                await write_content(staged.content, session, reader, base.part_size, StoredRange(path, step.base, 0, 0))
            except BaseException:
                await finish(session.abort())
                raise
            return session
        finally:
            await reader.aclose()

    async def _liken(self, driver: UnitDriver, path: str, source: str | None) -> None:
        """Give a copy no more rights than its source has. If this changes the fence of its lock, log the new one."""
        likens = driver.base.offers(Likens)
        if likens is None or source is None:
            return
        lease = driver.leases[path]
        before = lease.fence
        with suppress(NotFound):  # the transaction made it; or it was removed, and reading it raises that
            await likens.liken(path, lease, source)
        if lease.fence != before:
            await self._log.write({"do": "held", "store": driver.name, "path": path, "fence": lease.fence})

    async def _beside_journal(self, step: Step, reader: StagedReader, content: StagedContent) -> str:
        """Write a large file, which its store cannot prepare, to a file beside the log, and return the name of that."""
        name = self._log.name(f"data-{step.tag.rpartition('-')[2]}")
        self._log.own(name)
        await put_stream(self._journal, name, reader.chunks(content.size, self._journal.part_size))
        return name


def _removal_has_parts(driver: Driver, staged: StagedFile) -> bool:
    """Whether this is a removal that the store does in two steps, as FastDFS does: first the name, then the bytes.

    A process that is killed in between leaves bytes without a name. A snapshot remembers them: recovery removes them.
    """
    return staged.content is None and not driver.capabilities.certain and driver.offers(Snapshots) is not None


def _leaves_traces(driver: UnitDriver, staged: StagedFile) -> bool:
    """Whether preparing leaves something in the store, or beside the journal, that only the plan can find."""
    return driver.base.capabilities.holds or (staged.content is not None and staged.content.size > SMALL)


async def _permissions(driver: Driver, path: str, like: str | None) -> str | None:
    """Return the owner and permissions that the file will have, if its store has the power `Permits`."""
    permits = driver.offers(Permits)
    return None if permits is None else await permits.permissions(path, like)


async def _token(session: WriteSession) -> dict[str, Any]:
    token = await session.prepare()
    if isinstance(session, StepSession):
        return token
    return {"by": "store", "token": token, "version": token.get("version"), "removal": bool(token.get("removal"))}


async def abort_all(works: Sequence[Work]) -> list[Exception]:
    """Abort what was prepared, from the last to the first, and return what failed."""
    failures: list[Exception] = []
    for work in reversed(works):
        try:
            await work.session.abort()
        except Exception as error:
            failures.append(name_file(error, work.step.path) if isinstance(error, OSError) else error)
    return failures


async def version_of(driver: Driver, path: str) -> str:
    """Return the version that is there; `ABSENT` if there is no file.

    :raises Conflict: if the store knows no versions.
    """
    try:
        entry = await driver.stat(path)
    except NotFound:
        return ABSENT
    return _known(driver, entry)


def _known(driver: Driver, entry: Entry) -> str:
    if entry.version is None:
        raise Conflict.of(entry.path, f"{driver} knows no versions of its files, and a transaction needs them")
    return entry.version
