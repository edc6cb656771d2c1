"""Commit: what a transaction staged is prepared, then decided, then published, or undone where a store refuses it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from aiofs.driver import ABSENT, Driver, Entry, Lease, WriteSession
from aiofs.errors import Conflict, LeftBehind, NotFound, Overtaken, Unfinished, one_of, with_others
from aiofs.files.reading import whole_chunks
from aiofs.kit import failures_of
from aiofs.lifetimes import finish
from aiofs.powers import CopiesPermissions, HasOwners, Removes, Snapshots
from aiofs.properties import PERMISSIONS
from aiofs.transactions.content import StoredRange, write_content
from aiofs.transactions.journal import entry_at, name_file, named, put_stream
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
    images_for,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from aiofs.transactions.content import StagedContent, StagedReader
    from aiofs.transactions.journal import JournalLog
    from aiofs.transactions.records import Record
    from aiofs.transactions.staging import StagedFile, UnitDriver

WIDTH = 8
"""How many steps are done at the same time."""
Item = TypeVar("Item")
Todo = tuple[int, "UnitDriver", str, "StagedFile"]


@dataclass(slots=True, eq=False)
class Work:
    """One step, with everything that doing or undoing it takes."""

    step: Step
    driver: Driver
    journal: Driver
    session: WriteSession
    lease: Lease | None = None
    published: str | None = None
    """The version that was published; `None` if that is not known."""
    fresh: bool = False
    """Whether nothing can have been published yet."""

    @property
    def images(self) -> Snapshots:
        """The object that keeps the before-images of the store."""
        return images_for(self.driver, self.journal)

    @property
    def has_image(self) -> bool:
        """Whether the before-image is kept outside of the decision."""
        return self.step.base != ABSENT and self.step.before is None

    async def keep_image(self) -> None:
        """Keep the before-image, if the file still is what the step replaces."""
        if self.has_image and (self.fresh or await self.present() == self.step.base):
            await self.images.keep(self.step.path, self.step.tag)

    async def publish(self) -> None:
        """Do the step. If that fails in a store whose answers can be lost, look whether only the answer was lost.

        In other stores a failure is a failure even if the file is there: it may not be on the disk.
        """
        try:
            entry = await self.session.commit()
        except OSError:
            if self.driver.capabilities.certain or not await self._was_done():
                raise
            await self.session.abort()  # it needs nothing that the session still has
        else:
            self.published = ABSENT if self.step.removes else entry.version

    async def present(self) -> str | None:
        """Return the version that is there; `ABSENT` if there is no file, `None` if the store knows no versions."""
        entry = await entry_at(self.driver, self.step.path)
        return ABSENT if entry is None else entry.version

    async def is_done(self) -> bool:
        """Whether the file is what this step published."""
        entry = await entry_at(self.driver, self.step.path)
        version = ABSENT if entry is None else entry.version
        if version is not None and version in {self.published, self.step.version}:
            return True
        return entry is not None and isinstance(self.session, RewriteStep) and await self.session.is_done(entry)

    async def _was_done(self) -> bool:
        try:
            return await self.is_done()
        except OSError:
            return False

    async def undo(self) -> None:
        """Put back what was there before, unless it is there.

        :raises Overtaken: if somebody else changed the file since.
        """
        path, base = self.step.path, self.step.base
        await self.abort()
        lease = await self.driver.lock(path)
        try:
            version = await self.present()
            if version == base:
                return
            if version is None or not await self.is_done():
                raise Overtaken.of(path, "somebody else changed this file since; it stays as they left it")
            if base == ABSENT:
                await self.driver.delete([path], leases=[lease], match=version)
            elif self.step.before is not None:
                source = JournaledBytes.of(self.step.before)
                await RewriteStep(self.driver, path, lease, version, source).commit()
            else:
                await self._restore(lease, version)
        finally:
            await finish(lease.release())

    async def _restore(self, lease: Lease, version: str) -> None:
        path = self.step.path
        try:
            await self.images.restore(path, self.step.tag, lease, match=version)
        except NotFound:
            if "ttl" not in self.driver.capabilities.properties:
                raise
            # The before-image had the file's time to live: both went away by themselves.
            await self.driver.delete([path], leases=[lease], match=version)

    async def cannot_be_undone(self) -> bool:
        """Whether the step is done, or may be, and there is no before-image."""
        if self.step.base == ABSENT or self.step.before is not None:
            return False
        try:
            return await self.is_done()
        except OSError:
            return True

    async def abort(self) -> None:
        """Remove what is staged, and release the lock."""
        try:
            await self.session.abort()
        finally:
            if self.lease is not None:
                await self.lease.release()

    async def leave(self) -> None:
        """Release the lock, and leave the step to a recovery."""
        try:
            await self.session.leave()
        finally:
            if self.lease is not None:
                await self.lease.release()


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
            await each_raising_all(todo, self._prepare)
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
        permissions = await _ownership(driver, path, path) if permissions_change else None
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
            permissions = await _ownership(base, path, staged.like)
            if staged.content.size <= SMALL and not base.capabilities.holds:
                source = JournaledBytes(await reader.read(0, staged.content.size), metadata, permissions)
                return RewriteStep(base, path, lease, step.base, source)
            if not base.capabilities.resume:
                name = await self._beside_journal(step, reader, staged.content)
                source = JournaledFile(self._journal, name, metadata, permissions)
                return RewriteStep(base, path, lease, step.base, source)
            fence = lease.fence
            session = await base.begin(path, lease, match=step.base, metadata=metadata)
            try:
                if PERMISSIONS not in (metadata or {}):
                    await _copy_permissions(base, path, lease, staged.like)
                if lease.fence != fence:
                    await self._log.write({"do": "held", "store": driver.name, "path": path, "fence": lease.fence})
                await write_content(staged.content, session, reader, base.part_size, StoredRange(path, step.base, 0, 0))
            except BaseException:
                await finish(session.abort())
                raise
            return session
        finally:
            await reader.aclose()

    async def _beside_journal(self, step: Step, reader: StagedReader, content: StagedContent) -> str:
        """Write a large file, which its store cannot prepare, to a file beside the log, and return the name of that."""
        name = self._log.name(f"data-{step.tag.rpartition('-')[2]}")
        self._log.own(name)
        await put_stream(self._journal, name, reader.chunks(content.size, self._journal.part_size))
        return name


async def _copy_permissions(driver: Driver, path: str, lease: Lease, source: str | None) -> None:
    """Give a copy no more rights than its source has. This may change the fence of its lock."""
    copies = driver.offers(CopiesPermissions)
    if copies is not None and source is not None:
        with suppress(NotFound):  # the transaction made it; or it was removed, and reading it raises that
            await copies.copy_permissions(path, lease, source)


def _removal_has_parts(driver: Driver, staged: StagedFile) -> bool:
    """Whether this is a removal that the store does in two steps, as FastDFS does: first the name, then the bytes.

    A process that is killed in between leaves bytes without a name. A snapshot remembers them: recovery removes them.
    """
    return staged.content is None and not driver.capabilities.certain and driver.offers(Snapshots) is not None


def _leaves_traces(driver: UnitDriver, staged: StagedFile) -> bool:
    """Whether preparing leaves something in the store, or beside the journal, that only the plan can find."""
    return driver.base.capabilities.holds or (staged.content is not None and staged.content.size > SMALL)


async def _ownership(driver: Driver, path: str, like: str | None) -> str | None:
    """Return the owner and permissions that the file will have, if its store has the power `HasOwners`."""
    owners = driver.offers(HasOwners)
    return None if owners is None else await owners.ownership(path, like)


async def _token(session: WriteSession) -> dict[str, Any]:
    token = await session.prepare()
    if isinstance(session, StepSession):
        return token
    return {"by": "store", "token": token, "version": token.get("version"), "removal": bool(token.get("removal"))}


async def version_of(driver: Driver, path: str) -> str:
    """Return the version that is there; `ABSENT` if there is no file.

    :raises Conflict: if the store knows no versions.
    """
    entry = await entry_at(driver, path)
    return ABSENT if entry is None else _known(driver, entry)


def _known(driver: Driver, entry: Entry) -> str:
    if entry.version is None:
        raise Conflict.of(entry.path, f"{driver} knows no versions of its files, and a transaction needs them")
    return entry.version


class Publication:
    """The steps of one decided transaction, and its log."""

    def __init__(self, works: Sequence[Work], log: JournalLog) -> None:
        self._works = works
        self._log = log
        self.overtaken: list[Overtaken] = []
        """The files that somebody else changed since; they stay as they are."""

    async def run(self) -> None:
        """Publish everything.

        If a store refuses a step, this undoes everything and then raises the refusal.

        :raises Unfinished: if that cannot be undone now; the journal stays.
        :raises LeftBehind: if everything is published, and only traces are left.
        """
        try:
            await self._log.begin_publishing()
            await self._publish(self._works)
        except Exception as cause:
            await self._undo_because(cause)
        await self.clear()

    async def undo(self, cause: Exception | None = None) -> None:
        """Put everything back, except what somebody else changed since: that is in `overtaken` then.

        :raises Unfinished: if that cannot be done now, because of `cause` if there is one.
        :raises LeftBehind: if everything is put back, and only traces are left.
        """
        failures: list[Exception] = []
        for work in reversed(self._works):
            try:
                await work.undo()
            except Overtaken as error:
                self.overtaken.append(error)
            except Exception as error:
                failures.append(name_step(error, work))
        if failures:
            raise await self._unfinished(cause or failures[0], failures)
        await self.clear()

    async def clear(self) -> None:
        """Remove the before-images and the log.

        :raises LeftBehind: if that fails.
        """
        try:
            kept = [work for work in self._works if work.has_image] if len(self._works) > 1 else []
            await each_raising_all(kept, lambda work: work.images.drop(work.step.path, work.step.tag))
            await self._log.end()
        except Exception as error:
            raise LeftBehind.of(
                self._log.name("log"), "the transaction has ended, but not all traces of it could be removed"
            ) from error

    async def _publish(self, works: Sequence[Work]) -> None:
        if len(self._works) > 1:  # a single step is done or not: nothing is ever put back
            await each_raising_all(works, Work.keep_image)
        await each_raising_all([work for work in works if not work.step.removes], Work.publish)
        await each_raising_all([work for work in works if work.step.removes], Work.publish)

    async def _undo_because(self, cause: Exception) -> NoReturn:
        """Undo everything, as a store refused a step, and raise the refusal."""
        if len(self._works) == 1 and await self._works[0].cannot_be_undone():
            raise await self._unfinished(cause, []) from None
        published = {str(number): work.published for number, work in enumerate(self._works)}
        try:
            await self._log.write({"do": "undo", "published": published})
            self._log.check_held()  # else another process may have published everything
        except Exception as error:
            raise await self._unfinished(cause, [error]) from None
        try:
            await self.undo(cause)
        except LeftBehind as error:
            raise with_others(cause, [error], "the transaction was undone, but traces of it are left") from None
        raise with_others(cause, self.overtaken, "the transaction was undone, except for this file") from None

    async def _unfinished(self, cause: Exception, errors: Sequence[Exception]) -> Unfinished:
        """Leave everything to `recover`, and return the error that says so."""
        return unfinished(self._log, cause, [*errors, *await leave_all(self._works)])


_NEITHER = "the transaction is neither published nor undone; its journal stays, and recover() ends it"


def unfinished(
    log: JournalLog, cause: Exception, errors: Sequence[BaseException], reason: str = _NEITHER
) -> Unfinished:
    """Return the error of a transaction that `recover` has to end, because of `cause` and then `errors`."""
    error = with_others(Unfinished.of(log.name("log"), f"{reason} ({cause})"), [cause, *errors])
    error.__cause__ = cause
    return error


async def abort_all(works: Sequence[Work]) -> list[Exception]:
    """Abort what was prepared, from the last to the first, and return what failed."""
    return await _failures(reversed(works), lambda work: work.session.abort())


async def leave_all(works: Sequence[Work]) -> list[Exception]:
    """Leave all steps to a recovery, and return what failed."""
    return await _failures(works, Work.leave)


async def _failures(works: Iterable[Work], do: Callable[[Work], Awaitable[None]]) -> list[Exception]:
    """Do something for each step, one after another, and return what failed."""
    failures: list[Exception] = []
    for work in works:
        try:
            await do(work)
        except Exception as error:
            failures.append(name_step(error, work))
    return failures


async def each_raising_all(items: Iterable[Item], do: Callable[[Item], Awaitable[Any]]) -> None:
    """Do something for all items, several at a time, and raise one error with all failures in it, in their order.

    After a failure no more are begun; those that were begun are finished. `kit.each` raises only the first failure.
    """
    known = list(items)
    try:
        failures = await failures_of(known, do, WIDTH)
    except BaseExceptionGroup as group:  # for a BaseException that is no Exception
        raise with_others(group.exceptions[0], group.exceptions[1:]) from None
    if failures:
        raise one_of([name_step(failures[number], known[number]) for number in sorted(failures)])


def name_step(error: Exception, item: object) -> Exception:
    """Have `error` name the file of a step, if it names no file of the user, and return it."""
    if isinstance(error, OSError) and isinstance(item, Work):
        name_file(error, item.step.path)
    return error
