"""Text files of every store are, byte for byte, what builtins' `open` would have made of the same calls."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiofs import MemoryFileSystem, OSFileSystem
from aiofs.layers import Gzip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs import FileSystem, TextFile
    from aiofs.modes import PlainMode

encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "shift_jis", "cp1252"])
texts = st.text("ab\n", min_size=1, max_size=12)  # of an empty text before a BOM, builtins make this or that
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), texts),
        st.tuples(st.just("read"), st.integers(1, 10)),
        st.tuples(st.just("readline"), st.just(-1)),
        st.tuples(st.just("rewind"), st.just(0)),
    ),
    max_size=8,
)
sessions = st.lists(st.tuples(st.sampled_from(["w", "a", "r", "r+"]), steps), min_size=1, max_size=4)


stores = pytest.mark.parametrize("store", ["memory", "files", "gzip"])


@contextmanager
def opened(store: str) -> Iterator[FileSystem]:
    with tempfile.TemporaryDirectory() as folder:
        if store == "files":
            yield OSFileSystem(folder, durable=False)
        else:
            yield MemoryFileSystem() if store == "memory" else MemoryFileSystem().over(Gzip())


def allowed(mode: str, verb: str) -> bool:
    return verb == "rewind" or mode == "r+" or (mode == "r") == (verb != "write")


def their_step(file: IO[Any], mode: str, verb: str, value: int | str) -> object:
    if mode != "a":
        file.seek(0 if verb == "rewind" else file.tell())
    return getattr(file, verb)(value) if verb != "rewind" else None


async def our_step(file: TextFile, mode: str, verb: str, value: int | str) -> object:
    if verb == "rewind":
        if mode != "a":
            await file.seek(0)
        return None
    return await getattr(file, verb)(value)


async def ours(fs: FileSystem, options: Any, mode: PlainMode, what: list[tuple[str, int | str]]) -> object:
    async with fs.open("file", mode, **options) as file:
        return [await our_step(file, mode, verb, value) for verb, value in what]


def theirs(path: Path, options: Any, mode: PlainMode, what: list[tuple[str, int | str]]) -> object:
    with path.open(mode, **options) as file:
        return [their_step(file, mode, verb, value) for verb, value in what]


def expected(
    old: bytes, options: Any, sessions: list[tuple[PlainMode, list[tuple[str, int | str]]]]
) -> Iterator[tuple[object, bytes]]:
    """What builtins' `open` returns, and the file then, session after session."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(old)
        for mode, what in sessions:
            try:
                result = theirs(path, options, mode, what)
            except UnicodeError as error:  # as in a utf-16 file whose middle was overwritten
                result = type(error)
            yield result, path.read_bytes()


@stores
@given(sessions, encodings, st.sampled_from([None, "\n", "\r", "\r\n"]))
@settings(max_examples=60)
async def test_every_store_keeps_text_as_builtins_do(
    store: str, sessions: list[tuple[PlainMode, list[tuple[str, int | str]]]], encoding: str, newline: str | None
) -> None:
    options = {"encoding": encoding, "newline": newline}
    sessions = [(mode, [step for step in wanted if allowed(mode, step[0])]) for mode, wanted in sessions]
    old = "one\r\ntwo\n".encode(encoding)
    with opened(store) as fs:
        await fs.write_bytes("file", old)
        for (mode, what), (result, data) in zip(sessions, expected(old, options, sessions), strict=True):
            if isinstance(result, type):
                with pytest.raises(result):
                    await ours(fs, options, mode, what)
                break
            assert await ours(fs, options, mode, what) == result
            assert await fs.read_bytes("file") == data


@stores
async def test_lines_of_a_large_file(store: str) -> None:
    lines = [f"line {number} of é and \u2028 and \x85\n" for number in range(50_000)]
    with opened(store) as fs:
        async with fs.open("file", "w", encoding="utf-8") as file:
            await file.writelines(lines)
        async with fs.open("file", encoding="utf-8") as file:
            assert [line async for line in file] == lines


@stores
async def test_an_encoding_error_keeps_the_old_text(store: str) -> None:
    with opened(store) as fs:
        await fs.write_text("file", "old")

        async def write() -> None:
            async with fs.open("file", "w", encoding="ascii") as file:
                await file.write("new")
                await file.write("é")

        with pytest.raises(UnicodeEncodeError):
            await write()
        assert await fs.read_text("file") == "old"
