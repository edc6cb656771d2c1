"""The same operations on the same file by the builtin `open` and by ours: the same results, errors, positions, bytes.

Whatever the page cache holds: all of the file, none of it, or a page here and there.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import os
import random
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiofs import aiofiles
from aiofs.localio import devices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Step = tuple[Any, ...]

MODES = ("r", "r+", "w", "w+", "a", "a+", "x", "x+")
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "shift_jis", "utf-32-le")
NEWLINES = (None, "", "\n", "\r", "\r\n")
ALPHABET = "aé表ß\n\r \x85\u2028\x0b"
BIG = "y" * 5000
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
BROKEN = (b"", b"", b"", b"\xff", b"\x81")
TIMES = st.sampled_from([1, 3, 200, 3000])
CACHES = st.sampled_from(["whole", "whole", "patchy", "absent, disk near", "absent, disk far", "memory"])


@dataclass
class Opened:
    """How a file is opened, and what stands in it before."""

    mode: str
    buffering: int
    encoding: str | None = None
    errors: str | None = None
    newline: str | None = None
    piece: bytes = b""
    times: int = 1
    tail: bytes = b""

    @property
    def content(self) -> bytes:
        return self.piece * self.times + self.tail

    @property
    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("mode", "buffering", "encoding", "errors", "newline")}


@st.composite
def binary_files(draw: st.DrawFn) -> Opened:
    return Opened(
        draw(st.sampled_from(MODES)) + "b",
        draw(st.sampled_from([-1, -1, -1, 0, 2, 16, 5000])),
        piece=draw(st.one_of(st.binary(max_size=60), st.sampled_from([b"line\n", b"\n", b"x" * 3000 + b"\n"]))),
        times=draw(TIMES),
        tail=draw(st.binary(max_size=20)),
    )


@st.composite
def text_files(draw: st.DrawFn) -> Opened:
    encoding = draw(st.sampled_from(ENCODINGS))
    return Opened(
        draw(st.sampled_from(MODES)),
        draw(st.sampled_from([-1, -1, -1, 1, 2, 16, 5000])),
        encoding,
        draw(st.sampled_from(["strict", "replace", "ignore", "surrogateescape"])),
        draw(st.sampled_from(NEWLINES)),
        draw(st.text(ALPHABET, max_size=30)).encode(encoding, "replace"),
        draw(TIMES),
        draw(st.text(ALPHABET, max_size=20)).encode(encoding, "replace") + draw(st.sampled_from(BROKEN)),
    )


sizes = st.one_of(st.integers(-2, 40), st.none(), st.sampled_from([4096, 8191, 8192, 65_536, 70_000]))
few = st.integers(0, 40)
LAST = [("close",), ("readline", -1), ("read", 1), ("write", b""), ("flush",), ("tell",), ("close",)]
COMMON = (
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("readline"), st.one_of(st.just(-1), st.just(-1), few)),
    st.tuples(st.just("readlines"), st.one_of(st.just(-1), st.none(), few)),
    st.tuples(st.just("lines"), st.integers(1, 300)),
    st.tuples(st.just("tell")),
    st.tuples(st.just("flush")),
    st.tuples(st.just("truncate"), st.one_of(st.none(), st.integers(-1, 9000))),
    st.tuples(st.just("seek"), st.integers(-10, 9000)),
    st.tuples(st.just("seek"), st.integers(-40, 40), st.integers(0, 3)),
    st.tuples(st.just("return")),
)
binary_steps = st.lists(
    st.one_of(
        *COMMON,
        st.tuples(st.just("read1"), st.integers(-1, 9000)),
        st.tuples(st.just("peek"), few),
        st.tuples(st.just("readinto"), st.integers(0, 9000)),
        st.tuples(st.just("write"), st.one_of(st.binary(max_size=300), st.just(BIG.encode()), st.just("no bytes"))),
        st.tuples(st.just("writelines"), st.lists(st.binary(max_size=20), max_size=4)),
    ),
    max_size=14,
)
text_steps = st.lists(
    st.one_of(
        *COMMON,
        st.tuples(st.just("write"), st.one_of(st.text(ALPHABET, max_size=300), st.just(BIG), st.just(b"no text"))),
        st.tuples(st.just("writelines"), st.lists(st.text(ALPHABET, max_size=20), max_size=4)),
    ),
    max_size=14,
)


class Program:
    """A few steps with a file; what it sees is in `seen`."""

    def __init__(self, path: Path, steps: list[Step]) -> None:
        self.path = path
        self.steps = steps
        self.seen: list[object] = []
        self.place = 0

    def failed(self, error: Exception) -> None:
        words = "" if isinstance(error, AttributeError) else str(error).replace(str(self.path), "the path")
        self.seen.append((type(error), getattr(error, "errno", None), words))

    def saw(self, name: str, result: object) -> None:
        if name == "tell" and isinstance(result, int):
            self.place = result
        self.seen.append((name, result))

    def ended(self, file: Any) -> None:
        self.seen += [file.closed, self.path.read_bytes()]


class Blocking(Program):
    """With the builtin `open`."""

    def run(self, arguments: dict[str, Any]) -> None:
        try:
            file = builtins.open(self.path, **arguments)  # noqa: SIM115 - closing is a step, too
        except (OSError, ValueError, LookupError) as error:
            self.failed(error)
            return
        for step in [*self.steps, *LAST]:
            try:
                self.saw(step[0], self.do(file, *step))
            except (OSError, ValueError, TypeError, AttributeError) as error:
                self.failed(error)
        self.ended(file)

    def do(self, file: Any, name: str, *arguments: Any) -> object:
        if name == "lines":
            return self.lines(file, *arguments)
        if name == "readinto":
            buffer = bytearray(*arguments)
            return file.readinto(buffer), buffer
        if name == "return":
            return file.seek(self.place)
        return getattr(file, name)(*arguments)

    def lines(self, file: Any, count: int) -> object:
        while count and (line := file.readline()):
            self.seen.append(line)
            count -= 1
        return count


class Asynchronous(Program):
    """With ours."""

    async def run(self, arguments: dict[str, Any]) -> None:
        try:
            file: Any = await aiofiles.open(self.path, **arguments)
        except (OSError, ValueError, LookupError) as error:
            self.failed(error)
            return
        for step in [*self.steps, *LAST]:
            try:
                self.saw(step[0], await self.do(file, *step))
            except (OSError, ValueError, TypeError, AttributeError) as error:
                self.failed(error)
        self.ended(file)

    async def do(self, file: Any, name: str, *arguments: Any) -> object:
        if name == "lines":
            return await self.lines(file, *arguments)
        if name == "readinto":
            buffer = bytearray(*arguments)
            return await file.readinto(buffer), buffer
        if name == "return":
            return await file.seek(self.place)
        return await getattr(file, name)(*arguments)

    async def lines(self, file: Any, count: int) -> object:
        async for line in file:
            self.seen.append(line)
            count -= 1
            if not count:
                break
        return count


@contextmanager
def page_cache(kind: str, folder: Path) -> Iterator[None]:
    """Have the files in `folder` lie as `kind` says."""
    number = folder.stat().st_dev
    known = devices._known.pop(number, None)
    preadv, chance = os.preadv, random.Random(1)

    def patchy(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if flags and chance.random() < 0.4:
            raise BlockingIOError(errno.EAGAIN, "not in the page cache")
        if flags and chance.random() < 0.5:
            buffers = [buffers[0][: chance.randrange(1, 5000)]]
        return preadv(descriptor, buffers, offset, flags)

    if kind == "patchy":
        os.preadv = patchy
    elif kind != "whole":
        near = kind != "absent, disk far"
        devices._known[number] = devices.Device(nowait=False, memory=kind == "memory", local=near)
    try:
        yield
    finally:
        os.preadv = preadv
        devices._known.pop(number, None)
        if known is not None:
            devices._known[number] = known


def compare(folder: Path, opened: Opened, steps: list[Step], cache: str) -> None:
    if cache not in {"whole", "memory"}:  # where bytes come late, these return fewer: any number is as good
        steps = [step for step in steps if step[0] not in {"peek", "read1"}]
    programs = Blocking(folder / "theirs", steps), Asynchronous(folder / "ours", steps)
    for program in programs:
        program.path.unlink(missing_ok=True)
        if not opened.mode.startswith("x"):
            program.path.write_bytes(opened.content)
            os.utime(program.path, (time.time() - 60, time.time() - 60))
    programs[0].run(opened.arguments)
    with page_cache(cache, folder):
        asyncio.run(programs[1].run(opened.arguments))
    assert programs[1].seen == programs[0].seen


check = settings(max_examples=400 if FULL else 120, deadline=None, suppress_health_check=list(HealthCheck))


@check
@given(opened=binary_files(), steps=binary_steps, cache=CACHES)
def test_bytes(tmp_path: Path, opened: Opened, steps: list[Step], cache: str) -> None:
    compare(tmp_path, opened, steps, cache)


@check
@given(opened=text_files(), steps=text_steps, cache=CACHES)
def test_text(tmp_path: Path, opened: Opened, steps: list[Step], cache: str) -> None:
    compare(tmp_path, opened, steps, cache)


@pytest.mark.parametrize("cache", ["whole", "absent, disk near", "absent, disk far", "memory"])
@pytest.mark.parametrize("between", [("read", 10), ("readline", -1), ("lines", 1), ("seek", 12), ("readinto", 3)])
@pytest.mark.parametrize("mode", ["r+b", "a+b"])
def test_bytes_written_amid_what_was_read(tmp_path: Path, mode: str, between: Step, cache: str) -> None:
    few, many = [("write", b"few")] * 5, [("write", b"many" * 12)] * 175  # more than a buffer
    for after in ([("write", BIG.encode())], many, [("read", 5)]):
        steps = [("seek", 3), ("lines", 1), *few, between, ("tell",), *after, between, ("flush",), *few]
        compare(tmp_path, Opened(mode, -1, piece=b"a line\n", times=100), steps, cache)


@pytest.mark.parametrize("cache", ["whole", "absent, disk near", "absent, disk far", "memory"])
@pytest.mark.parametrize("last", [("write", "here\n"), ("truncate", None)])
@pytest.mark.parametrize("count", [1, 300, 2000])
def test_text_written_where_lines_were_read_to(tmp_path: Path, count: int, last: Step, cache: str) -> None:
    for mode in ("r+", "a+"):
        steps = [("seek", 0), ("lines", count), last, ("flush",), ("lines", 3), ("tell",)]
        compare(tmp_path, Opened(mode, -1, piece=b"a line of some length, not a short one\n", times=9000), steps, cache)


@pytest.mark.parametrize("cache", ["whole", "memory"])
@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_one_read_after_lines_brings_as_much(tmp_path: Path, size: int, cache: str) -> None:
    steps = [step for count in range(1, 9) for step in (("lines", count), ("read1", 9))]
    compare(tmp_path, Opened("rb", size, piece=b"of8\n" * 2 + b"a line\n", times=100), steps, cache)


ODD_ARGUMENTS: list[dict[str, Any]] = [
    *({"mode": mode} for mode in ("", "b", "+", "U", "rw", "rr", "rbt", "b+", "r\0", 3, None)),
    *({"mode": "rb", name: "x"} for name in ("encoding", "errors", "newline")),
    *({"mode": "r", "newline": newline} for newline in ("q", "\n\r", 5)),
    *({"mode": "r", "buffering": size} for size in (0, -2, "many", 2.5)),
    *({"mode": "rb", "buffering": size} for size in (-2, 1)),
    *({"encoding": encoding} for encoding in ("no such", 5)),
    *({"errors": errors} for errors in ("no such", 5)),
    {"file": ""},
    {"file": "a\0b"},
    {"file": 1.5},
    {"file": None},
    {"file": -1},
    {"file": 99_999},
    {"file": "no/such/folder"},
    {"file": "."},
    {"file": ".", "mode": "w"},
    {"file": "\ud800"},
    {"closefd": False},
    {"opener": 5},
    {"opener": lambda _path, _flags: -1},
]


@pytest.mark.parametrize("arguments", ODD_ARGUMENTS, ids=lambda arguments: re.sub(" at 0x\\w+", "", str(arguments)))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.may_block
async def test_odd_arguments(tmp_path: Path, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text\n")
    arguments = {"file": "file"} | arguments
    expected: object
    try:
        with builtins.open(**arguments) as file:
            expected = type(file), file.name, file.mode, file.read()
    except Exception as error:  # noqa: BLE001 - whatever it is, ours is the same
        expected = type(error), str(error)
    found: object
    try:
        async with aiofiles.open(**arguments) as ours:
            found = type(ours._stream), ours.name, ours.mode, await ours.read()
    except Exception as error:  # noqa: BLE001
        found = type(error), str(error)
    assert found == expected
