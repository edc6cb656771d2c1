"""The reference model: what files are, in a few lines, and a machine that compares a store with it step by step."""

from __future__ import annotations

import asyncio
import io
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiofs.testing.harness import Harness

PATHS = ("a", "b c", "folder/a", "folder/deep/é")
CHANGING = ("w", "x", "a", "r+")

paths: st.SearchStrategy[str] = st.sampled_from(PATHS)
handles: st.SearchStrategy[int] = st.integers(0, 7)
offsets: st.SearchStrategy[int] = st.integers(-20, 300) | st.sampled_from((0, 1, 65_536, 70_000))
pieces: st.SearchStrategy[bytes] = st.binary(max_size=40) | st.sampled_from((b"", b"line\n" * 20, b"x" * 70_000, b"\n"))


@dataclass(eq=False)  # two handles of one file are two
class HandleModel:
    """What an open file is: its bytes, a position, and whether it is the one writer of its path."""

    path: str
    mode: str
    data: bytearray
    position: int = 0
    stale: bool = False
    """Whether its path was changed since it was opened to read."""

    @property
    def changes(self) -> bool:
        """Whether it is open for writing."""
        return self.mode in CHANGING

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        stop = len(self.data) if size < 0 else self.position + size
        data = bytes(self.data[self.position : stop])
        self.position += len(data)
        return data

    def readline(self) -> bytes:
        """Return the next line."""
        end = self.data.find(b"\n", self.position) + 1
        return self.read((end or len(self.data)) - self.position if self.position < len(self.data) else 0)

    def write(self, data: bytes) -> int:
        """Put bytes at the position, with zeros before it; in mode `a` at the end."""
        if not data:
            return 0
        if self.mode == "a":
            self.position = len(self.data)
        self.data += bytes(max(0, self.position - len(self.data)))
        self.data[self.position : self.position + len(data)] = data
        self.position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int) -> int:
        """Move.

        :raises ValueError: before the start.
        """
        target = offset + (0, self.position, len(self.data))[whence]
        if target < 0:
            raise ValueError(target)
        self.position = target
        return target

    def truncate(self, size: int | None) -> int:
        """Cut, or grow with zeros."""
        target = self.position if size is None else size
        if target < 0:
            raise ValueError(target)
        del self.data[target:]
        self.data += bytes(target - len(self.data))
        return target


@dataclass
class StoreModel:
    """What a store is: names and bytes, and who writes them."""

    files: dict[str, bytes] = field(default_factory=dict)
    images: list[HandleModel] = field(default_factory=list)

    def open(self, path: str, mode: str) -> HandleModel:
        """Open a file as the contract says."""
        if mode in CHANGING:
            self.refuse_writer(path)
        if mode in {"r", "r+"} and path not in self.files:
            raise FileNotFoundError(path)
        if mode == "x" and path in self.files:
            raise FileExistsError(path)
        image = HandleModel(path, mode, bytearray(b"" if mode in {"w", "x"} else self.files.get(path, b"")))
        image.position = len(image.data) if mode == "a" else 0
        self.images.append(image)
        return image

    def close(self, image: HandleModel, *, publish: bool) -> None:
        """End a file, with or without publishing."""
        self.images.remove(image)
        if publish and image.changes:
            self.publish(image.path, bytes(image.data))

    def publish(self, path: str, data: bytes | None) -> None:
        """Make a new version, or none."""
        for image in self.images:
            image.stale = image.stale or image.path == path
        if data is None:
            self.files.pop(path, None)
        else:
            self.files[path] = data

    def refuse_writer(self, path: str) -> None:
        """Raise if somebody writes the path."""
        if any(image.path == path and image.changes for image in self.images):
            raise BlockingIOError(path)

    def rm(self, *paths: str) -> None:
        """Remove all of the paths, or none."""
        for path in paths:
            self.refuse_writer(path)
        for path in paths:
            if path not in self.files:
                raise FileNotFoundError(path)
        for path in paths:
            self.publish(path, None)

    def copy(self, source: str, target: str, *, remove: bool) -> None:
        """Copy or move."""
        if source == target:
            if source not in self.files:
                raise FileNotFoundError(source)
            return
        self.refuse_writer(target)
        if remove:
            self.refuse_writer(source)
        if source not in self.files:
            raise FileNotFoundError(source)
        self.publish(target, self.files[source])
        if remove:
            self.publish(source, None)


class Comparison(RuleBasedStateMachine):
    """Does everything twice, to a store and to the model, and compares."""

    harness: Harness
    numbers: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.model: StoreModel = StoreModel()
        self.open_files: list[tuple[HandleModel, Any]] = []
        self.opened: Any = None
        self.runner: asyncio.Runner = asyncio.Runner()
        self.system: Any = self.run(self._connect())
        self.fs: Any = self.system.at(f"model {next(self.numbers)}")

    async def _connect(self) -> Any:
        return self.harness.bare().over(*self.harness.layers)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run in this example's own loop."""
        return self.runner.run(work)

    def compare(self, expected: Callable[[], Any], work: Coroutine[Any, Any, Any]) -> Any:
        """Run both, and check that they return the same or raise the same kind of error."""
        try:
            wanted = expected()
        except (OSError, ValueError) as error:
            kinds = (type(error), *_also(error))
            try:
                got = self.run(work)
            except kinds:
                return None
            raise AssertionError(f"expected {error!r}, got {got!r}") from error
        got = self.run(work)
        assert got == wanted, f"expected {wanted!r}, got {got!r}"
        return got

    @rule(path=paths, mode=st.sampled_from(("r", *CHANGING)))
    def open(self, path: str, mode: str) -> None:
        """Open a file."""
        if len(self.open_files) == 4:  # more at a time tell nothing new
            return
        image: HandleModel | None = None

        def expected() -> None:
            nonlocal image
            image = self.model.open(path, mode)

        async def opened() -> None:
            self.opened = await self.fs.open(path, mode)

        self.compare(expected, opened())
        if image is not None:
            self.open_files.append((image, self.opened))

    @precondition(lambda self: self.open_files)
    @rule(which=handles, size=st.integers(-1, 100) | st.just(70_000))
    def read(self, which: int, size: int) -> None:
        """Read on."""
        image, file = self.chosen(which)
        if image.mode in {"r", "r+"}:
            self.reading(image, lambda: image.read(size), file.read(size))

    @precondition(lambda self: self.open_files)
    @rule(which=handles)
    def readline(self, which: int) -> None:
        """Read a line."""
        image, file = self.chosen(which)
        if image.mode in {"r", "r+"}:
            self.reading(image, image.readline, file.readline())

    @precondition(lambda self: self.open_files)
    @rule(which=handles, data=pieces)
    def write(self, which: int, data: bytes) -> None:
        """Write on."""
        image, file = self.chosen(which)
        if image.changes:
            self.changing(image, lambda: image.write(data), file.write(data))

    @precondition(lambda self: self.open_files)
    @rule(which=handles, offset=offsets, whence=st.sampled_from((0, 1, 2)))
    def seek(self, which: int, offset: int, whence: int) -> None:
        """Move."""
        image, file = self.chosen(which)
        self.reading(image, lambda: image.seek(offset, whence), file.seek(offset, whence))
        self.compare(lambda: image.position, file.tell())

    @precondition(lambda self: self.open_files)
    @rule(which=handles, size=offsets | st.none())
    def truncate(self, which: int, size: int | None) -> None:
        """Cut or grow."""
        image, file = self.chosen(which)
        if image.changes:
            self.changing(image, lambda: image.truncate(size), file.truncate(size))

    @precondition(lambda self: self.open_files)
    @rule(which=handles)
    def commit(self, which: int) -> None:
        """Close, and so publish."""
        self.ended(which, publish=True)

    @precondition(lambda self: self.open_files)
    @rule(which=handles)
    def abort(self, which: int) -> None:
        """Close without publishing."""
        self.ended(which, publish=False)

    @rule(path=paths, data=pieces)
    def write_whole(self, path: str, data: bytes) -> None:
        """Write a file in one call."""

        def expected() -> str:
            self.model.refuse_writer(path)
            self.model.publish(path, data)
            return path

        async def written() -> str:
            return str((await self.fs.write_bytes(path, data)).path)

        self.compare(expected, written())

    @rule(path=paths, start=st.integers(0, 200), length=st.none() | st.integers(0, 200))
    def read_range(self, path: str, start: int, length: int | None) -> None:
        """Read a range in one call."""
        stop = None if length is None else start + length

        def expected() -> bytes:
            if path not in self.model.files:
                raise FileNotFoundError(path)
            return self.model.files[path][start:stop]

        self.compare(expected, self.fs.read_bytes(path, start, stop))

    @rule(chosen=st.lists(paths, min_size=1, max_size=2, unique=True))
    def rm(self, chosen: list[str]) -> None:
        """Remove."""
        self.compare(lambda: self.model.rm(*chosen), self.fs.rm(*chosen))

    @rule(source=paths, copied=paths, remove=st.booleans())
    def copy(self, source: str, copied: str, remove: bool) -> None:
        """Copy or move."""
        work = self.fs.move(source, copied) if remove else self.fs.copy(source, copied)
        self.compare(lambda: self.model.copy(source, copied, remove=remove), work)

    @rule(folder=st.sampled_from(("", "folder", "folder/deep", "fold")))
    def ls(self, folder: str) -> None:
        """List."""
        below = f"{folder}/" if folder else ""

        async def listed() -> list[str]:
            return [name async for name in self.fs.ls(folder)]

        expected = sorted(name for name in self.model.files if name.startswith(below))
        self.compare(lambda: expected, listed())

    @rule(path=paths)
    def stat(self, path: str) -> None:
        """Describe."""
        data = self.model.files.get(path)
        self.compare(lambda: data is not None, self.fs.exists(path))
        if data is not None:
            assert self.run(self.fs.stat(path)).size in {len(data), None}

    def chosen(self, which: int) -> tuple[HandleModel, Any]:
        """Return one of the open files."""
        return self.open_files[which % len(self.open_files)]

    def reading(self, image: HandleModel, expected: Callable[[], Any], work: Coroutine[Any, Any, Any]) -> None:
        """Compare a read; one whose version is gone may say so, unless the store keeps versions for its readers."""
        if image.changes or not image.stale or self.harness.can.pinned:
            self.compare(expected, work)
            return
        before = image.position
        try:
            self.compare(expected, work)
        except OSError:
            image.position = before
            self.ended(self.open_files.index(next(pair for pair in self.open_files if pair[0] is image)), publish=False)

    def changing(self, image: HandleModel, expected: Callable[[], Any], work: Coroutine[Any, Any, Any]) -> None:
        """Compare a change; one of parts that are gone may be refused, unless the store says that it can."""
        before = bytes(image.data), image.position
        try:
            self.compare(expected, work)
        except io.UnsupportedOperation:
            if self.harness.can.rewrite:
                raise
            image.data, image.position = bytearray(before[0]), before[1]

    def ended(self, which: int, *, publish: bool) -> None:
        """Close or abort one of the open files."""
        image, file = self.open_files.pop(which % len(self.open_files))
        self.compare(lambda: self.model.close(image, publish=publish), file.close() if publish else file.abort())

    def teardown(self) -> None:
        """Compare all there is at the end, and leave nothing."""
        try:
            while self.open_files:
                self.ended(0, publish=False)
            for path, data in self.model.files.items():
                self.compare(lambda data=data: data, self.fs.read_bytes(path))  # type: ignore[misc]
            self.ls("")
            self.run(self.fs.rm(*self.model.files))
            self.run(self.system.aclose())
        finally:
            self.runner.close()


def run_model(harness: Harness, *, examples: int | None = None, steps: int = 30) -> None:
    """Compare the store with the model in random sequences of operations. Call it where no loop is running.

    :raises AssertionError: with the shortest sequence that shows a difference.
    """
    machine = type("Comparison", (Comparison,), {"harness": harness})
    options = settings(
        max_examples=examples or harness.model_examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=examples is None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        phases=(Phase.generate, Phase.shrink),
    )
    run_state_machine_as_test(machine, settings=options)


def _also(error: Exception) -> tuple[type[Exception], ...]:
    """Other errors that are as good: which of two reasons is found first is left open."""
    if isinstance(error, BlockingIOError):
        return (FileExistsError, FileNotFoundError)
    return ()
