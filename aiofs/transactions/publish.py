"""Publishing a decided transaction, or undoing it where a store refuses: for its own process and for `recover`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from aiofs.driver import ABSENT, Driver, Entry, Lease, WriteSession
from aiofs.errors import AiofsError, NotFound
from aiofs.kit import EndedSession
from aiofs.lifetimes import finish
from aiofs.transactions.errors import LeftBehind, Overtaken, Unfinished, name_file, one_of, with_others
from aiofs.transactions.steps import JournaledBytes, PreparedStep, RewriteStep, images_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from aiofs.powers import Snapshots
    from aiofs.transactions.journal import JournalLog
    from aiofs.transactions.records import Step

WIDTH = 8
"""How many steps are done at the same time."""
Item = TypeVar("Item")


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
        entry = await self._entry()
        return ABSENT if entry is None else entry.version

    async def is_done(self) -> bool:
        """Whether the file is what this step published."""
        entry = await self._entry()
        version = ABSENT if entry is None else entry.version
        if version is not None and version in {self.published, self.step.version}:
            return True
        return entry is not None and isinstance(self.session, RewriteStep) and await self.session.is_done(entry)

    async def waits(self) -> bool:
        """Whether the step may still have to be done: it was not done, or that is not known."""
        if isinstance(self.session, EndedSession) or await self.is_done():
            return False
        if isinstance(self.session, PreparedStep) and not await self.session.is_there():
            return False
        return await self.present() in {self.step.base, None}

    @property
    def may_have_gone(self) -> bool:
        """Whether the step creates a file that somebody may have removed after it was published, if it is missing."""
        return self.step.base == ABSENT and not self.driver.capabilities.holds

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
                await self.images.restore(path, self.step.tag, lease, match=version)
        finally:
            await finish(lease.release())

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

    async def _entry(self) -> Entry | None:
        try:
            return await self.driver.stat(self.step.path)
        except NotFound:
            return None


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

    async def resume(self) -> None:
        """Publish what a dead process had decided.

        That process may have published everything and reported it, and others may have changed the files since. So this
        undoes only if a step still waits to be published, and a store refuses that step or another one. If a store is
        unreachable, it raises `Unfinished`, and a later recovery continues. The steps that wait are published last,
        after the state of all others is known: once they are published, nobody can see that they had waited.
        """
        try:
            await self._log.begin_publishing()
            waiting = [work for work in self._works if await work.waits()]
        except Exception as error:
            raise await self._unfinished(error, []) from None
        settled = [work for work in self._works if work not in waiting]
        refused = await self._refused(settled)
        was_published = len(refused) < len(settled) and all(work.may_have_gone for work in waiting)
        if waiting and refused and not was_published:
            await self._undo_because(one_of([*refused.values()]))
        try:
            await self._publish(waiting)
        except Exception as cause:
            if _may_pass(cause):
                raise await self._unfinished(cause, []) from None
            await self._undo_because(cause)
        await self._leave_overtaken([*refused])
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
                failures.append(_named(error, work))
        if failures:
            raise await self._unfinished(cause or failures[0], failures)
        await self.clear()

    async def clear(self) -> None:
        """Remove the before-images and the log.

        :raises LeftBehind: if that fails.
        """
        try:
            kept = [work for work in self._works if work.has_image] if len(self._works) > 1 else []
            await each(kept, lambda work: work.images.drop(work.step.path, work.step.tag))
            await self._log.end()
        except Exception as error:
            raise LeftBehind.of(
                self._log.name("log"), "the transaction has ended, but not all traces of it could be removed"
            ) from error

    async def _publish(self, works: Sequence[Work]) -> None:
        if len(self._works) > 1:  # a single step is done or not: nothing is ever put back
            await each(works, Work.keep_image)
        await each([work for work in works if not work.step.removes], Work.publish)
        await each([work for work in works if work.step.removes], Work.publish)

    async def _refused(self, settled: Sequence[Work]) -> dict[Work, Exception]:
        """Return the steps whose files are not as the transaction decided, each with the refusal of its store.

        `settled` are the steps that do not wait. This asks the store to publish them again. That changes nothing: the
        version that such a step replaces is not there any more.
        """
        refused: dict[Work, Exception] = {}

        async def ask(work: Work) -> None:
            try:
                await work.publish()
            except OSError as error:
                refused[work] = _named(error, work)

        try:
            await each(settled, ask)
        except Exception as error:
            raise await self._unfinished(error, []) from None
        passing = [error for error in refused.values() if _may_pass(error)]
        if passing:
            raise await self._unfinished(passing[0], passing[1:])
        return {work: refused[work] for work in settled if work in refused}

    async def _leave_overtaken(self, refused: Sequence[Work]) -> None:
        """Release the steps whose files somebody else changed since."""
        try:
            for work in refused:
                await work.abort()
                reason = "somebody else changed this file since it was published; it stays as they left it"
                self.overtaken.append(Overtaken.of(work.step.path, reason))
        except Exception as error:
            raise await self._unfinished(error, []) from None

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


async def leave_all(works: Sequence[Work]) -> list[Exception]:
    """Leave all steps to a recovery, and return what failed."""
    failures: list[Exception] = []
    for work in works:
        try:
            await work.leave()
        except Exception as error:
            failures.append(_named(error, work))
    return failures


async def each(items: Iterable[Item], do: Callable[[Item], Awaitable[Any]]) -> None:
    """Do something for all items, several at a time. After a failure no more are begun; those begun are finished."""
    left = enumerate(items)
    failures: dict[int, Exception] = {}

    async def work() -> None:
        for number, item in left:
            if failures:
                return
            try:
                await do(item)
            except Exception as error:
                failures[number] = _named(error, item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(WIDTH):
                group.create_task(work())
    except BaseExceptionGroup as group:  # for a BaseException that is no Exception
        raise with_others(group.exceptions[0], group.exceptions[1:]) from None
    if failures:
        raise one_of([failures[number] for number in sorted(failures)])


def _may_pass(error: Exception) -> bool:
    """Whether the store may accept the same at another time."""
    others = [other for other in vars(error).get("others", ()) if isinstance(other, Exception)]
    return (isinstance(error, AiofsError) and error.retryable) or any(map(_may_pass, others))


def _named(error: Exception, item: object) -> Exception:
    if isinstance(error, OSError) and isinstance(item, Work):
        name_file(error, item.step.path)
    return error
