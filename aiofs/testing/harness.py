"""Harness: how the suite opens a store, the helpers that behaviours share, and what a behaviour needs of a store."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from aiofs.driver import Capabilities, Driver, Layer
from aiofs.filesystem import FileSystem
from aiofs.names import is_reserved
from aiofs.powers import Sweeps
from aiofs.properties import DESCRIPTIONS
from aiofs.testing.chaos import Chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence
    from pathlib import Path
    from types import TracebackType

    from aiofs.system import FileLikeSystem

T = TypeVar("T")
Connect = Callable[[], "FileLikeSystem"]
ENOUGH_TICKS = 100_000
PATIENCE = 10.0


class Stop(Exception):
    """What a behaviour raises in a block, as the program of a user may."""


def holds_all(_name: str) -> bool:
    """Return false: the store can hold every name."""
    return False


@dataclass(kw_only=True)
class Harness:
    """One store, for one behaviour. Only `connect` is required."""

    connect: Connect
    """Opens a new connection to the same data."""
    layers: Sequence[Layer] = ()
    """Layers to put over every connection; they are tested together with the store."""
    seed: Connect | None = None
    """Opens a connection to the same data that may write, if one of `connect` may not."""
    spawn: Connect | None = None
    """Does what `connect` does, and can be pickled for another process. Needed if `connect` cannot be pickled."""
    lease: float = 0.0
    """After how many seconds the lock of a killed writer is free; 0 if it is free at once."""
    fenced: bool = False
    """Whether a writer that does not renew its lock in time loses it while it still runs."""
    cannot_hold: Callable[[str], bool] = holds_all
    """Returns whether the store cannot hold a name; it must refuse such a name with ValueError."""
    page: int = 10
    """How many entries a page of a listing has."""
    paged: Callable[[int], FileLikeSystem] | None = None
    """Does what `connect` does, with that many entries in a page of a listing."""
    unreachable: Connect | None = None
    """Opens a connection to a server that does not exist."""
    denied: Connect | None = None
    """Opens a connection whose credentials the server refuses."""
    secrets: Sequence[str] = ()
    """Strings that no message and no repr may contain."""
    meddle: Callable[[str, bytes], Awaitable[None]] | None = None
    """Writes a file without a lock, as a program that does not use aiofs would."""
    lapse: Callable[[], Awaitable[None]] | None = None
    """Ends the leases of dead holders; without it, the suite waits for as long as a lease lasts."""
    residue: Callable[[], Awaitable[Sequence[str]]] | None = None
    """Returns the names of all files or keys in the store itself that are not committed files."""
    root: Path | None = None
    """The folder that the store must not leave."""
    versions_differ: bool = True
    """Whether writing the same bytes again changes the version. It does not if the version is a digest."""
    model_examples: int = 12
    """How many random sequences of operations are compared with the model."""
    every_moment: bool = True
    """Whether calls are cancelled at every moment that the suite knows, or, for a slow store, at every second one."""
    can: Capabilities = field(init=False, default=Capabilities())
    """The capabilities that the suite declares."""
    fs: FileSystem = field(init=False)
    """The file system under test."""
    writer: FileSystem = field(init=False)
    """A file system over the same data that may write."""

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
        """Return another connection to the same data, with the layers under test."""
        return self.dressed(self.bare())

    def bare(self) -> FileSystem:
        """Return another connection to the same data, without the layers under test."""
        system = self.connect()
        if isinstance(system, FileSystem):
            return system
        if self._bare is None:  # a class with three methods has no locks of its own: all connections share one driver
            self._bare = self._keep(system.over())
        return FileSystem(self._bare.driver, owner=False)

    def dressed(self, system: FileLikeSystem, *below: Layer) -> FileSystem:
        """Return `system` with the layers of `below`, and the layers under test over them."""
        return self._keep(system.over(*below, *self.layers))

    def troubled(self) -> tuple[FileSystem, Chaos]:
        """Return another connection with a `Chaos` between the store and the layers under test."""
        chaos = Chaos()
        return self.dressed(self.bare(), chaos), chaos

    @property
    def driver(self) -> Driver:
        """The driver of the file system under test."""
        return self.fs.driver

    @property
    def part_size(self) -> int:
        """The size of the parts that the store is given."""
        return self.fs.driver.part_size

    async def put(self, path: str, data: bytes = b"") -> bytes:
        """Write a file, and return its bytes."""
        async with self.writer.open(path, "w") as file:
            await file.write(data)
        return data

    async def get(self, path: str) -> bytes | None:
        """Return the bytes of a file as a new connection reads them; `None` if there is no file."""
        try:
            return await self.fresh().read_bytes(path)
        except FileNotFoundError:
            return None

    async def names(self) -> list[str]:
        """Return all names that a new connection lists."""
        return [name async for name in self.fresh().ls()]

    async def stored_size(self) -> int:
        """Return the size of all files in the store itself; a layer may store more or fewer bytes than were written."""
        below = self._keep(self.bare())
        return sum([(await below.stat(name)).size or 0 async for name in below.ls()])

    async def write_at_once(self, path: str, data: bytes = b"next") -> None:
        """Check that the next writer of the path gets the lock at once, and can publish."""
        writer = self.fresh()
        async with writer.open(path, "w") as file:
            await file.write(data)
        assert await self.get(path) == data

    async def freed(self, path: str) -> None:
        """Wait until the path is not locked: a lock that was abandoned may last as long as its lease."""
        deadline = time.monotonic() + self.lease + PATIENCE
        while True:
            try:
                lease = await self.driver.lock(path)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                await self.pause()
            else:
                await lease.release()
                return

    async def pause(self) -> None:
        """Let some time pass before the next attempt to get the lock of a dead holder."""
        if self.lapse is not None:
            await self.lapse()
        await asyncio.sleep(0.1)

    async def leftovers(self) -> list[str]:
        """Return what is staged, locked or hidden in the store. It must be empty while nobody writes."""
        found = await self.findings()
        found += [entry.path async for entry in self.driver.list() if is_reserved(entry.path)]
        if self.residue is not None:
            found += await self.residue()
        return found

    async def findings(self) -> list[str]:
        """Return what the store, if it can sweep, takes for something that a writer left."""
        sweeps = self.driver.offers(Sweeps)
        return [] if sweeps is None else [f"{left.kind} of {left.path}" async for left in sweeps.leftovers()]

    async def sweep(self) -> None:
        """Sweep everything that dead writers left, if the store can sweep."""
        sweeps = self.driver.offers(Sweeps)
        if sweeps is None:
            return
        for left in [left async for left in sweeps.leftovers()]:
            await sweeps.sweep(left)

    async def meddle_with(self, path: str, data: bytes) -> None:
        """Change a file without its lock."""
        assert self.meddle is not None, "Harness(meddle=...) is required for a store that is conditional"
        await self.meddle(path, data)

    @asynccontextmanager
    async def no_leftovers(self) -> AsyncIterator[None]:
        """Check that the block leaves nothing in the store, and no open descriptor."""
        before, open_before = sorted(await self.leftovers()), descriptors()
        yield
        assert sorted(await self.leftovers()) == before
        if self.root is not None and open_before is not None:
            deadline = time.monotonic() + PATIENCE
            while descriptors() != open_before and time.monotonic() < deadline:  # noqa: ASYNC110 -- there is no event to wait for
                await asyncio.sleep(0)  # a thread may still be closing a descriptor
            assert descriptors() == open_before, "a descriptor was left open"

    def _keep(self, system: FileSystem) -> FileSystem:
        self._opened.push_async_callback(system.aclose)
        return system


def descriptors() -> list[str] | None:
    """Return the targets of open descriptors, except those in /proc; `None` if the system does not list them."""
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return None
    targets: list[str] = []
    for number in numbers:
        with suppress(FileNotFoundError):  # listing them needed a descriptor, which is closed now
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(target for target in targets if not target.startswith("/proc/"))


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until the condition holds.

    :raises AssertionError: if it does not hold after `ENOUGH_TICKS` turns of the loop.
    """
    for _ in range(ENOUGH_TICKS):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition did not become true")


async def cancelled_everywhere(
    work: Callable[[], Awaitable[Any]], check: Callable[[], Awaitable[None]], *, tries: int = 24, every: bool = True
) -> None:
    """Run `work` again and again, and cancel it after more turns of the loop each time; `check` after each run.

    This ends when `work` ended before it was cancelled. Without `every`, it leaves out every second of the `tries`.
    """
    ticks, more = 0, 1
    for number in range(tries):
        if number % 2 and not every:
            ticks, more = ticks + more, ticks
            continue
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


Need = Literal[
    "writable",
    "read-only",
    "shared locks",
    "conditional",
    "unconditional",
    "resume",
    "rewrite",
    "partial",
    "no partial",
    "metadata",
    "properties",
    "permissions",
    "ttl",
    "listed sizes",
    "history",
    "server",
    "credentials",
    "blockbuster",
]
_REASONS: dict[str, tuple[str, Callable[[Capabilities], bool]]] = {
    "writable": ("is read-only", lambda can: can.writable),
    "read-only": ("can be written", lambda can: not can.writable),
    "shared locks": ("locks within one process only", lambda can: can.locks == "shared"),
    "conditional": ("does not check versions when it publishes", lambda can: can.conditional),
    "unconditional": ("checks versions when it publishes", lambda can: not can.conditional),
    "resume": ("cannot hand a prepared write to another process", lambda can: can.resume),
    "rewrite": ("cannot change parts that were handed over", lambda can: can.rewrite),
    "partial": ("cannot keep a write for another process", lambda can: can.partial),
    "no partial": ("can keep a write for another process", lambda can: not can.partial),
    "metadata": ("keeps no metadata", lambda can: can.metadata),
    "properties": ("keeps no properties such as a content type", lambda can: bool(can.properties & DESCRIPTIONS)),
    "ttl": ("its files do not go away by themselves", lambda can: "ttl" in can.properties),
    "permissions": ("its files have no permission bits", lambda can: "permissions" in can.properties),
    "listed sizes": ("does not know sizes in listings", lambda can: can.listed_sizes),
}


def needs(*what: Need) -> Callable[[T], T]:
    """Mark a behaviour, or all behaviours of a class, as one that needs these capabilities."""

    def mark(target: T) -> T:
        for function in _functions_of(target):
            function.aiofs_needs = (*getattr(function, "aiofs_needs", ()), *what)
        return target

    return mark


def reason_against(function: object, suite: type) -> str | None:
    """Return why the behaviour `function` is left out for the store of `suite`, or `None` if it is tested."""
    number = number_of(getattr(function, "__name__", ""))
    lacks = getattr(suite, "lacks", {})
    if number in lacks:
        return str(lacks[number])
    for need in getattr(function, "aiofs_needs", ()):
        reason = _reason(need, suite)
        if reason is not None:
            return reason
    return None


def number_of(name: str) -> int | None:
    """Return the number in the name of a behaviour, `test_NN_name`."""
    head, _, rest = name.partition("_")
    digits = rest.partition("_")[0]
    return int(digits) if head == "test" and digits.isdecimal() else None


def _reason(need: str, suite: type) -> str | None:
    if need == "server":
        return None if getattr(suite, "server", False) else "there is no server that could be away"
    if need == "history":
        return None if getattr(suite, "history", False) else "keeps no old versions"
    if need == "credentials":
        return None if getattr(suite, "credentials", False) else "it takes no credentials that could be refused"
    if need == "blockbuster":
        return None if importlib.util.find_spec("blockbuster") else "blockbuster, which detects it, is not installed"
    words, holds = _REASONS[need]
    return None if holds(suite.declares) else words  # type: ignore[attr-defined]


def _functions_of(target: Any) -> list[Any]:
    if inspect.isclass(target):
        return [value for name, value in vars(target).items() if name.startswith("test_")]
    return [target]
