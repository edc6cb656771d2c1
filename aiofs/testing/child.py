"""Child: the same store opened by another process, which does what it is told over its standard streams."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, Self, cast

from aiofs.testing.chaos import Chaos

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aiofs.file import FileLike
    from aiofs.filesystem import FileSystem
    from aiofs.system import FileLikeSystem
    from aiofs.testing.chaos import Verb
    from aiofs.testing.harness import Harness

Dress = tuple[Any, ...]
KINDS = (BlockingIOError, FileExistsError, FileNotFoundError)


class Child:
    """A process with a connection of its own to the store under test."""

    def __init__(self, connect: Callable[[], FileLikeSystem], layers: Dress = ()) -> None:
        self._recipe = base64.b64encode(pickle.dumps((connect, layers))).decode()
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    def of(cls, store: Harness) -> Self:
        """Return a child over the data of `store`, which must be able to say how in a pickle."""
        return cls(store.spawn or store.connect, tuple(store.layers))

    async def __aenter__(self) -> Self:
        paths = os.pathsep.join(["", os.getcwd(), *filter(None, sys.path)])
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"from {__name__} import serve; serve()",
            self._recipe,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths.lstrip(os.pathsep)},
        )
        await self.call("hello")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running
        if process.returncode is None:
            self.go_on()
            process.kill()
        await process.communicate()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "a child runs within its block"
        return self._process

    async def ask(self, verb: str, *args: str) -> dict[str, Any]:
        """Tell the child to do something and return its answer, which may be an error."""
        process = self._running
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([verb, *args]).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        assert line, f"the child died at {verb!r}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def call(self, verb: str, *args: str) -> Any:
        """Tell the child to do something and return what comes of it; an error fails the test."""
        answer = await self.ask(verb, *args)
        assert "error" not in answer, answer
        return answer["result"]

    async def dies(self, verb: str, *args: str) -> int | None:
        """Tell the child to do something that it does not live to the end of; return how the system says it ended."""
        process = self._running
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([verb, *args]).encode() + b"\n")
        line = await process.stdout.readline()
        assert not line, f"the child lived on after {verb!r}: {line!r}"
        return await process.wait()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._running.kill()

    def stop(self) -> None:
        """Let it sleep where it is."""
        self._running.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Wake it up."""
        self._running.send_signal(signal.SIGCONT)

    async def gone(self) -> None:
        """Wait until it is dead."""
        await self._running.wait()


class Servant:
    """What runs in the child."""

    def __init__(self, fs: FileSystem, chaos: Chaos) -> None:
        self._fs = fs
        self._chaos = chaos
        self._file: FileLike | None = None

    async def obey(self, verb: str, *args: str) -> Any:
        """Do one thing."""
        match verb, args:
            case "open", (path, mode):
                self._file = await self._fs.open(path, mode)
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
                raise ValueError(f"{verb} is none of the verbs of a child")
        return None

    @property
    def _opened(self) -> FileLike:
        assert self._file is not None, "nothing was opened yet"
        return self._file


def serve() -> None:
    """Be the child that the command line describes."""
    asyncio.run(_serve(sys.argv[1]))


async def _serve(recipe: str) -> None:
    connect, layers = pickle.loads(base64.b64decode(recipe))  # noqa: S301 -- from the parent's own test
    async with connect() as system:
        chaos = Chaos()
        servant = Servant(system.over(chaos, *layers), chaos)
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            sys.stdout.write(json.dumps(await _answer(servant, json.loads(line))) + "\n")
            sys.stdout.flush()


async def _answer(servant: Servant, order: list[str]) -> dict[str, Any]:
    try:
        return {"result": await servant.obey(*order)}
    except OSError as error:
        kind = next((kind for kind in KINDS if isinstance(error, kind)), type(error))
        return {"error": kind.__name__, "words": str(error), "filename": error.filename}
