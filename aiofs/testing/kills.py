"""Kills: the same transaction in child processes, each of which is killed at another step of it.

A step is whatever changes something for others: on local files each call into the system that changes something, and
the middle of each write; elsewhere each call of the driver. The n-th step kills the process as `kill -9` does. All
steps of the process are counted, also those of code that it did not call itself.

A `Child` is a process that opens the same store, and does what a test sends it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from aiofs.driver import Layer
from aiofs.names import is_reserved
from aiofs.system import FileLikeSystem
from aiofs.testing.chaos import Chaos
from aiofs.testing.steps import Stepped, Steps
from aiofs.transactions.transaction import FileTransaction, Transaction, driver_of, recover, transaction

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

    from aiofs.files.handle import FileLike
    from aiofs.filesystem import FileSystem
    from aiofs.locks import HeldLock
    from aiofs.modes import BinaryMode
    from aiofs.testing.chaos import Verb
    from aiofs.testing.harness import Harness

Connect = Callable[[], Mapping[str, FileLikeSystem]]
"""Opens the stores by name; a single one has the name ""."""
Part = Literal["commit", "recover", "body"]
State = dict[str, dict[str, bytes]]
PATIENCE = 60.0
_CHANGING = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.chmod"}
STANDARD_ERROR = 2
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class KillSwitch:
    """Counts the steps of this process, and kills it at the `nth`; never if that is 0."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.count: int = 0
        self.armed: bool = False

    def arm(self) -> None:
        """Begin to count."""
        self.armed = True
        sys.addaudithook(self._count_event)
        for name in ("write", "pwrite"):
            setattr(os, name, self._in_halves(getattr(os, name)))

    def tick(self) -> bool:
        """Count a step, and return whether it is the last one."""
        if not self.armed:
            return False
        self.count += 1
        return self.count == self.nth

    def step(self) -> None:
        """Count a step, and kill the process if it is the last one."""
        if self.tick():
            die()

    def _count_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _CHANGING or (event == "open" and isinstance(args[2], int) and args[2] & _WRITING):
            self.step()

    def _in_halves(self, write: Callable[..., int]) -> Callable[..., int]:
        def half(fd: int, data: bytes, *where: int) -> int:
            if self.armed and fd > STANDARD_ERROR:
                self.step()
                if self.tick():
                    write(fd, memoryview(data)[: len(data) // 2], *where)
                    die()
            return write(fd, data, *where)

        return half


def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Outcome:
    """How a child ended."""

    killed: bool
    steps: int
    """How many steps it made, if it was not killed."""


OLD: dict[str, bytes] = {
    "kept": b"never touched",
    "over/written": b"the old bytes" * 9,
    "appended": b"one",
    "moved/from": b"moved",
    "moved/onto": b"to be covered",
    "removed/file": b"to go",
}


async def seed(stores: Mapping[str, FileLikeSystem]) -> None:
    """Write the files that there are before the transaction."""
    for name, system in stores.items():
        for path, data in OLD.items():
            await system.write_bytes(path, data + name.encode())


async def change(tx: FileTransaction | Transaction, names: list[str]) -> None:
    """Create, overwrite, append to, edit, move and remove files in all stores."""
    for name in names:
        fs = tx[name] if isinstance(tx, Transaction) else tx
        await fs.write_bytes("new/deep/file", b"new" + name.encode())
        await fs.write_bytes("over/written", b"the new bytes" * 7)
        async with fs.open("appended", "a") as file:
            await file.write(b", two")
        async with fs.open("moved/onto", "r+") as file:
            await file.seek(3)
            await file.write(b"BE")
        await fs.move("moved/from", "moved/to/here")
        await fs.rm("removed/file")


async def state_of(stores: Mapping[str, FileLikeSystem]) -> State:
    """Return all files of all stores."""
    return {name: {path: await fs.read_bytes(path) async for path in fs.ls()} for name, fs in stores.items()}


async def orphans_of(stores: Mapping[str, FileLikeSystem]) -> list[str]:
    """Return all hidden files of all stores."""
    found: list[str] = []
    for name, system in stores.items():
        found += [f"{name}:{entry.path}" async for entry in system.over().driver.list() if is_reserved(entry.path)]
    return found


async def perform(stores: Mapping[str, FileLikeSystem], part: Part, switch: KillSwitch) -> None:
    """Do the transaction, or recover it, and count the steps of one part."""
    watched = {name: _watched(system, switch) for name, system in stores.items()}
    subject = watched.get("", watched)
    if part == "recover":
        switch.arm()
        await recover(subject)
        return
    async with transaction(subject, auto_commit=False) as tx:
        if part == "body":
            switch.arm()
        await change(tx, list(stores))
        if part == "commit":
            switch.arm()
        await tx.commit()


def _watched(system: FileLikeSystem, switch: KillSwitch) -> FileSystem:
    """Return the system, with its calls counted unless it makes calls into the operating system."""
    driver = driver_of(system)
    while isinstance(driver, Layer):
        driver = driver.base
    is_local = type(driver).__module__.startswith("aiofs.backends.osfiles")
    return system.over() if is_local else system.over(Stepped(Steps(switch.step)))


def _child(connect: Connect, part: Part, nth: int, answer: Connection) -> None:
    switch = KillSwitch(nth)

    async def work() -> None:
        stores = connect()
        await perform(stores, part, switch)
        switch.armed = False
        for system in stores.values():
            await system.aclose()

    asyncio.run(work())
    answer.send(switch.count)


class ChildProcesses:
    """Starts child processes that share their imports, so that each one starts quickly.

    :param shared: names of more modules that the children need, such as those that their `Connect` uses
    """

    def __init__(self, *shared: str) -> None:
        methods = multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            modules = ("aiofs.testing.kills", "aiofs.backends.osfiles", "aiofs.stores", *shared)
            self._context.set_forkserver_preload(list(modules))

    def warm_up(self) -> None:
        """Start the process from which children are forked, and wait for it."""
        child = self.start(os.getpid)
        child.join()
        child.close()

    def start(self, target: Callable[..., object], *args: object) -> Any:
        """Start a child that calls `target`, and return it."""
        child = self._context.Process(target=target, args=args)
        child.start()
        return child

    def pipe(self) -> tuple[Connection, Connection]:
        """Return the two ends of a pipe, to read from and to write to; either may be an argument of a child."""
        reading, writing = self._context.Pipe(duplex=False)
        return reading, writing

    def run(self, connect: Connect, part: Part, nth: int = 0) -> Outcome:
        """Let a child do its part, and kill it at the n-th step.

        :raises RuntimeError: if it ends in another way.
        """
        (outcome,) = self.run_all(connect, part, [nth])
        return outcome

    def run_all(self, connect: Connect, part: Part, deaths: list[int]) -> list[Outcome]:
        """Let several children do their part at the same time."""
        children = []
        for nth in deaths:
            answer, childs_end = self.pipe()
            child = self.start(_child, connect, part, nth, childs_end)
            childs_end.close()
            children.append((child, answer))
        return [self._ended(child, answer) for child, answer in children]

    def _ended(self, child: Any, answer: Connection) -> Outcome:
        child.join(PATIENCE)
        try:
            if child.exitcode is None:
                child.kill()
                child.join()
                raise RuntimeError("a child did not end")
            if child.exitcode == -signal.SIGKILL:
                return Outcome(killed=True, steps=0)
            if child.exitcode:
                raise RuntimeError(f"a child ended with exit status {child.exitcode}")
            return Outcome(killed=False, steps=answer.recv())
        finally:
            answer.close()
            child.close()


Dress = tuple[Any, ...]
PATIENT = 300.0
KINDS = (BlockingIOError, FileExistsError, FileNotFoundError)


class Child:
    """A process with its own connection to the store under test."""

    def __init__(self, processes: ChildProcesses, connect: Callable[[], FileLikeSystem], layers: Dress = ()) -> None:
        self._processes = processes
        self._recipe = (connect, layers)
        self._process: Any = None

    @classmethod
    def of(cls, store: Harness, child_processes: ChildProcesses) -> Self:
        """Return a child over the data of `store`, whose `spawn` or `connect` must be picklable."""
        return cls(child_processes, store.spawn or store.connect, tuple(store.layers))

    async def __aenter__(self) -> Self:
        orders, self._orders = self._processes.pipe()
        self._answers, answers = self._processes.pipe()
        self._process = await asyncio.to_thread(self._processes.start, serve, self._recipe, orders, answers)
        orders.close()
        answers.close()
        await self.call("hello")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.close()
        self.go_on()
        self.kill()
        await self.gone()
        self._answers.close()
        self._process.close()

    async def ask(self, verb: str, *args: str) -> dict[str, Any]:
        """Send the child an order and return its answer, which may be an error."""
        answer = await self._answer_to(verb, *args)
        assert answer is not None, f"the child died during {verb!r}"
        return answer

    async def call(self, verb: str, *args: str) -> Any:
        """Send the child an order and return its result; an error fails the test."""
        answer = await self.ask(verb, *args)
        assert "error" not in answer, answer
        return answer["result"]

    async def dies(self, verb: str, *args: str) -> int | None:
        """Send the child an order during which it dies; return its exit code."""
        answer = await self._answer_to(verb, *args)
        assert answer is None, f"the child lived on after {verb!r}: {answer!r}"
        await self.gone()
        ended: int | None = self._process.exitcode
        return ended

    async def _answer_to(self, *order: str) -> dict[str, Any] | None:
        """Send an order and return the answer; `None` if the child died."""
        await asyncio.to_thread(self._orders.send, order)
        try:
            answer: dict[str, Any] = await asyncio.to_thread(self._answers.recv)
        except EOFError:
            return None
        return answer

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()

    def stop(self) -> None:
        """Stop it with SIGSTOP."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Continue it with SIGCONT, if it lives."""
        if self._process.is_alive():
            os.kill(self._process.pid, signal.SIGCONT)

    async def gone(self) -> None:
        """Wait until it is dead."""
        await asyncio.to_thread(self._process.join)


class Servant:
    """Runs in the child, and carries out its orders."""

    def __init__(self, fs: FileSystem, chaos: Chaos) -> None:
        self._fs = fs
        self._chaos = chaos
        self._file: FileLike | None = None
        self._held = AsyncExitStack()
        self._lock: HeldLock | None = None

    async def obey(self, verb: str, *args: str) -> Any:
        """Carry out one order, and return its result."""
        match verb, args:
            case "open", (path, mode):
                self._file = await self._fs.open(path, cast("BinaryMode", mode))
            case "write", (text,):
                return await self._opened.write(text.encode())
            case "close", ():
                await self._opened.close()
            case "abort", ():
                await self._opened.abort()
            case "write whole", (path, text):
                await self._fs.write_bytes(path, text.encode())
            case (("append waiting" | "count"), (path, what)):
                await self._write_with_others(verb, path, what)
            case "die at", (step, when):
                self._chaos.kill(cast("Verb", step), after=when == "after")
            case "read", (path,):
                return (await self._fs.read_bytes(path)).decode()
            case "hello", ():
                return os.getpid()
            case _:
                return await self._obey_more(verb, *args)
        return None

    async def _obey_more(self, verb: str, *args: str) -> Any:
        match verb, args:
            case "open partial", (path, token):
                self._file = await self._fs.open(path, "w", partial=token)
                return await self._opened.tell()
            case "checkpoint", ():
                checkpoint = await self._opened.checkpoint()
                return checkpoint.token, checkpoint.length
            case "lock", (name,):
                self._lock = await self._held.enter_async_context(self._fs.lock(name))
                return self._lock.fence
            case "check lock", ():
                assert self._lock is not None, "no lock was taken yet"
                await self._lock.check()
            case _:
                raise ValueError(f"a child does not know the order {verb!r}")
        return None

    async def _write_with_others(self, verb: str, path: str, what: str) -> None:
        if verb == "append waiting":
            await self._fs.append_bytes(path, what.encode(), wait=PATIENT)
            return
        for _ in range(int(what)):
            await self._fs.update(path, lambda old: b"%d" % (int(old) + 1), create=b"0", wait=PATIENT)

    @property
    def _opened(self) -> FileLike:
        assert self._file is not None, "nothing was opened yet"
        return self._file


def serve(recipe: tuple[Callable[[], FileLikeSystem], Dress], orders: Connection, answers: Connection) -> None:
    """Open the store and carry out orders until the pipe is closed. The child runs this."""
    asyncio.run(_serve(*recipe, orders, answers))


async def _serve(connect: Callable[[], FileLikeSystem], layers: Dress, orders: Connection, answers: Connection) -> None:
    async with connect() as system:
        chaos = Chaos()
        servant = Servant(system.over(chaos, *layers), chaos)
        with suppress(EOFError):
            while True:
                order = await asyncio.to_thread(orders.recv)
                answers.send(await _answer(servant, order))


async def _answer(servant: Servant, order: tuple[str, ...]) -> dict[str, Any]:
    try:
        return {"result": await servant.obey(*order)}
    except OSError as error:
        kind = next((kind for kind in KINDS if isinstance(error, kind)), type(error))
        return {"error": kind.__name__, "words": str(error), "filename": error.filename}
