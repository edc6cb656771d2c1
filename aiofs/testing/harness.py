"""Harness: what the suite must be told about a store, and the helpers that the behaviours share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiofs.driver import Capabilities, Driver, Layer, Sweeps
from aiofs.filesystem import FileSystem
from aiofs.names import is_reserved
from aiofs.testing.chaos import Chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import TracebackType

    from aiofs.system import FileLikeSystem

Connect = Callable[[], "FileLikeSystem"]
ENOUGH_TICKS = 100_000
PATIENCE = 10.0


def holds_all(_name: str) -> bool:
    """Refuse no name."""
    return False


@dataclass(kw_only=True)
class Harness:
    """One store, ready for one behaviour. Only `connect` is needed."""

    connect: Connect
    """Opens a new connection to the same data."""
    layers: Sequence[Layer] = ()
    """What is put over each connection, and tested with it."""
    seed: Connect | None = None
    """Opens a connection that may write where `connect` may not, to the same names."""
    spawn: Connect | None = None
    """As `connect`, and can be pickled, for another process; needed where `connect` cannot be."""
    lease: float = 0.0
    """After how many seconds the lock of a dead writer is free for the next; 0 where it is free at once."""
    fenced: bool = False
    """Whether a writer that does not come to renew its lock loses it while it lives."""
    cannot_hold: Callable[[str], bool] = holds_all
    """Whether the store has no room for a name, which it must then refuse with ValueError."""
    page: int = 10
    """How many entries a page of the store's listing has."""
    paged: Callable[[int], FileLikeSystem] | None = None
    """As `connect`, with listing pages of that many entries."""
    unreachable: Connect | None = None
    """Opens a connection to a store whose server is not there."""
    denied: Connect | None = None
    """Opens a connection that the server refuses for its credentials."""
    secrets: Sequence[str] = ()
    """What no message and no repr may show."""
    meddle: Callable[[str, bytes], Awaitable[None]] | None = None
    """Writes a file as a foreign program would, without a lock."""
    residue: Callable[[], Awaitable[Sequence[str]]] | None = None
    """What a look at the store's own files or keys finds beside the committed files, for a name each."""
    root: Path | None = None
    """The folder that the store must not leave."""
    versions_differ: bool = True
    """Whether two versions of the same bytes differ; where the version is a digest they do not."""
    model_examples: int = 12
    """How many random sequences the model is compared in."""
    can: Capabilities = field(init=False, default=Capabilities())
    """What the suite declares."""
    fs: FileSystem = field(init=False)
    """The system under test."""
    writer: FileSystem = field(init=False)
    """A system over the same data that may write."""

    async def __aenter__(self) -> Self:
        self._opened = AsyncExitStack()
        self._bare: FileSystem | None = None
        self.fs = self.fresh()
        self.writer = self.fs if self.seed is None else self._keep(self.seed().over())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def fresh(self) -> FileSystem:
        """Return a second connection to the same data."""
        return self.dressed(self.bare())

    def bare(self) -> FileSystem:
        """Return a second connection without the layers that are tested."""
        system = self.connect()
        if isinstance(system, FileSystem):
            return system
        if self._bare is None:  # three methods have no locks of their own: all connections share the adapter's
            self._bare = self._keep(system.over())
        return FileSystem(self._bare.driver, owner=False)

    def dressed(self, system: FileLikeSystem, *below: Layer) -> FileSystem:
        """Return `system` under the layers that are tested, with those of `below` between."""
        return self._keep(system.over(*below, *self.layers))

    def troubled(self) -> tuple[FileSystem, Chaos]:
        """Return a second connection with trouble to be made, between the store and the layers over it."""
        chaos = Chaos()
        return self.dressed(self.bare(), chaos), chaos

    @property
    def driver(self) -> Driver:
        """What the system under test stands on."""
        return self.fs.driver

    @property
    def part_size(self) -> int:
        """How many bytes the store takes at a time."""
        return self.fs.driver.part_size

    async def put(self, path: str, data: bytes = b"") -> bytes:
        """Make a file, and return what is in it."""
        async with self.writer.open(path, "w") as file:
            await file.write(data)
        return data

    async def get(self, path: str) -> bytes | None:
        """Return what a new connection finds under the name; `None` if there is nothing."""
        try:
            return await self.fresh().read_bytes(path)
        except FileNotFoundError:
            return None

    async def names(self) -> list[str]:
        """Return all names that a new connection lists."""
        return [name async for name in self.fresh().ls()]

    async def stored_size(self) -> int:
        """Return how many bytes the store itself has in all files; layers may make more or fewer of what is written."""
        below = self._keep(self.bare())
        return sum([(await below.stat(name)).size or 0 async for name in below.ls()])

    async def write_at_once(self, path: str, data: bytes = b"next") -> None:
        """Check that nobody holds the name, and that the next writer cleans up what is staged for it."""
        writer = self.fresh()
        async with writer.open(path, "w") as file:
            await file.write(data)
        assert await self.get(path) == data

    async def freed(self, path: str) -> None:
        """Wait until nobody holds the name: what was abandoned may hold it for as long as its lease."""
        deadline = time.monotonic() + self.lease + PATIENCE
        while True:
            try:
                lease = await self.driver.lock(path)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                await lease.release()
                return

    async def leftovers(self) -> list[str]:
        """Return what is staged, locked or hidden in the store. Nothing should be while nobody writes."""
        found: list[str] = []
        driver = self.driver
        sweeps = driver.offers(Sweeps)
        if sweeps is not None:
            found += [f"{left.kind} of {left.path}" async for left in sweeps.leftovers()]
        found += [entry.path async for entry in driver.list() if is_reserved(entry.path)]
        if self.residue is not None:
            found += await self.residue()
        return found

    async def sweep(self) -> None:
        """Sweep all that is left over, as far as it lets itself be swept."""
        sweeps = self.driver.offers(Sweeps)
        if sweeps is None:
            return
        for left in [left async for left in sweeps.leftovers()]:
            await sweeps.sweep(left)

    async def meddle_with(self, path: str, data: bytes) -> None:
        """Change a file behind the back of all writers."""
        assert self.meddle is not None, "the harness must give `meddle=` where the store is conditional"
        await self.meddle(path, data)

    @asynccontextmanager
    async def no_leftovers(self) -> AsyncIterator[None]:
        """Check that the block leaves nothing behind that was not there before, open descriptors included."""
        before, open_before = sorted(await self.leftovers()), descriptors()
        yield
        assert sorted(await self.leftovers()) == before
        if self.root is not None and open_before is not None:
            deadline = time.monotonic() + PATIENCE
            while descriptors() != open_before and time.monotonic() < deadline:  # noqa: ASYNC110 -- nobody tells it
                await asyncio.sleep(0)  # a worker may still be closing what nobody wants
            assert descriptors() == open_before, "a descriptor was left open"

    def _keep(self, system: FileSystem) -> FileSystem:
        self._opened.push_async_callback(system.aclose)
        return system


def descriptors() -> list[str] | None:
    """Return what the process has open, /proc aside, of which it keeps some; `None` where the system does not say."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return None
    targets: list[str] = []
    for number in numbers:
        with suppress(FileNotFoundError):  # the list was read through one
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(target for target in targets if not target.startswith("/proc/"))


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until the condition holds.

    :raises AssertionError: if it does not hold after very many of them.
    """
    for _ in range(ENOUGH_TICKS):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for did not happen")


async def cancelled_everywhere(
    work: Callable[[], Awaitable[Any]], check: Callable[[], Awaitable[None]], *, tries: int = 24
) -> None:
    """Cancel `work` after more and more turns of the loop, until it ends before; `check` after each time."""
    ticks, more = 0, 1
    for _ in range(tries):
        task = asyncio.ensure_future(work())
        for _ in range(ticks):
            if task.done():
                break
            await asyncio.sleep(0)
        in_time = task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        await check()
        if not in_time:
            return
        ticks, more = ticks + more, ticks
