"""Child: another process that opens the same store, and does what the test sends it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, cast

from aiofs.testing.chaos import Chaos

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from types import TracebackType

    from aiofs.files.handle import FileLike
    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode
    from aiofs.system import FileLikeSystem
    from aiofs.testing.chaos import Verb
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses

Dress = tuple[Any, ...]
KINDS = (BlockingIOError, FileExistsError, FileNotFoundError)


class Child:
    """A process with its own connection to the store under test."""

    def __init__(self, nursery: ChildProcesses, connect: Callable[[], FileLikeSystem], layers: Dress = ()) -> None:
        self._nursery = nursery
        self._recipe = (connect, layers)
        self._process: Any = None

    @classmethod
    def of(cls, store: Harness, nursery: ChildProcesses) -> Self:
        """Return a child over the data of `store`, whose `spawn` or `connect` must be picklable."""
        return cls(nursery, store.spawn or store.connect, tuple(store.layers))

    async def __aenter__(self) -> Self:
        orders, self._orders = self._nursery.pipe()
        self._answers, answers = self._nursery.pipe()
        self._process = await asyncio.to_thread(self._nursery.start, serve, self._recipe, orders, answers)
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
            case "die at", (step, when):
                self._chaos.kill(cast("Verb", step), after=when == "after")
            case "read", (path,):
                return (await self._fs.read_bytes(path)).decode()
            case "hello", ():
                return os.getpid()
            case _:
                raise ValueError(f"a child does not know the order {verb!r}")
        return None

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
