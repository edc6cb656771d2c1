"""File systems whose calls wait, match or update in a wrong way, with one fault each."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.driver import ANY
from aiofs.errors import Locked
from aiofs.filesystem import FileSystem
from aiofs.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.driver import Driver, Entry, Layer, Lease
    from aiofs.lifetimes import Call


class CallTwin(FileSystem):
    """A file system that waits for locks as `waiter` does."""

    waiter: ClassVar[type[Waiter]] = Waiter

    def over(self, *layers: Layer) -> FileSystem:
        return type(self)(super().over(*layers).driver, owner=False)

    def _waiter(self, wait: float, call: Call) -> Waiter | None:
        return self.waiter(wait, call, self._check_open) if wait else None


class ForgetsToWait(CallTwin):
    def _waiter(self, wait: float, call: Call) -> Waiter | None:
        return None


class LastComesFirst(CallTwin):
    class waiter(Waiter):  # noqa: N801
        waiting: ClassVar[list[Waiter]] = []

        async def lock(self, driver: Driver, path: str) -> Lease:
            self.waiting.append(self)
            try:
                while True:
                    if self.waiting[-1] is self:
                        with suppress(BlockingIOError):
                            return await driver.lock(path)
                    await asyncio.sleep(0.001)
            finally:
                self.waiting.remove(self)


class TimesOut(CallTwin):
    class waiter(Waiter):  # noqa: N801
        def _time_is_up(self, error: Locked, path: str) -> Any:
            return TimeoutError(110, "timed out", path)


class HidesCancellation(CallTwin):
    class waiter(Waiter):  # noqa: N801
        async def lock(self, driver: Driver, path: str) -> Lease:
            try:
                return await super().lock(driver, path)
            except asyncio.CancelledError:
                raise Locked.of(path, "cancelled") from None


class TakesAnyWait(CallTwin):
    async def rm(self, *paths: Any, wait: Any = 0, **words: Any) -> None:
        await super().rm(*paths, wait=max(0.0, float(wait)), **words)


class IsBusyWhenClosed(CallTwin):
    """Those who wait while it is closed are told that somebody writes the file."""

    def _waiter(self, wait: float, call: Call) -> Waiter | None:
        def check() -> None:
            if self.closed:
                raise Locked.of(None, "busy")

        return Waiter(wait, call, check) if wait else None


class WritesAnyVersion(CallTwin):
    async def write_bytes(self, path: Any, data: Any, *, match: Any = ANY, **words: Any) -> Entry:
        return await super().write_bytes(path, data, **words)


class LooksThenWrites(CallTwin):
    async def write_bytes(self, path: Any, data: Any, *, match: Any = ANY, **words: Any) -> Entry:
        if match is not ANY:
            there = (await self.stat(path)).version if await self.exists(path) else ""
            if there != match:
                raise (Locked if match else FileExistsError)(17, "not what it was", path)
            await asyncio.sleep(0)
        return await super().write_bytes(path, data, **{"wait": 1, **words})


class CopiesOverAnyVersion(CallTwin):
    async def copy(self, source: Any, target: Any, *, match: Any = ANY, **words: Any) -> None:
        await super().copy(source, target, **words)


class TakesNoneForAnyVersion(CallTwin):
    async def rm(self, *paths: Any, match: Any = ANY, **words: Any) -> None:
        await super().rm(*paths, match=ANY if match is None else match, **words)


class ReturnsTheSizeAlone(CallTwin):
    async def append_bytes(self, path: Any, data: Any, **words: Any) -> Entry:
        return replace(await super().append_bytes(path, data, **words), version=None)


class ReturnsTheOldEntry(CallTwin):
    async def _update(self, path: Any, *rest: Any) -> Entry:
        before = await self.stat(path) if await self.exists(path) else None
        after = await super()._update(path, *rest)
        return before or after


class MakesWhatIsMissing(CallTwin):
    async def _update(self, path: Any, change: Callable[[Any], Any], create: Any, form: Any, wait: float) -> Entry:
        return await super()._update(path, change, create or b"0", form, wait)


class ReadsThenWrites(CallTwin):
    """Changes what was read, whatever came between."""

    async def _update(self, path: Any, change: Callable[[Any], Any], create: Any, form: Any, wait: float) -> Entry:
        data = await self.read_bytes(path) if create is None or await self.exists(path) else create
        await asyncio.sleep(0)
        new = change(data)
        return await self.write_bytes(path, await new if hasattr(new, "__await__") else new, wait=wait)


class TriesTwice(CallTwin):
    async def _update(self, path: Any, change: Callable[[Any], Any], create: Any, form: Any, wait: float) -> Entry:
        return await super()._update(path, change, create, form, wait or 0.1)


class LocksBeforeItCalls(CallTwin):
    """And releases nothing if the function raises."""

    async def _update(self, path: Any, change: Callable[[Any], Any], create: Any, form: Any, wait: float) -> Entry:
        lease = await self.driver.lock(path)
        change(create or b"")
        await lease.release()
        return await super()._update(path, change, create, form, wait)
