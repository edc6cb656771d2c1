"""Lines of text that are handed out of memory leave a handle where the builtin's file would stand."""

from __future__ import annotations

import builtins
import io
import itertools
import os
import random
from typing import TYPE_CHECKING

import pytest

from aiofs import aiofiles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.may_block

ENDS = ("\n", "\r\n", "\r")
LINES = ("", "x", "a line", "é" * 30, "x\x0b\x1c\x85y\u2028z", "long" * 3000, "ß" * 9000)
NEWLINES = (None, "", "\n", "\r", "\r\n")
ENCODINGS = ("utf-8", "utf-8-sig", "latin-1", "shift_jis")
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
ROUNDS = 4 if FULL else 1
TIMES = 3000 if FULL else 200


def some_text(chance: random.Random) -> str:
    """Runs of lines that are alike, one run unlike the next."""
    runs = []
    for _ in range(chance.randrange(1, 7)):
        line = chance.choice(LINES) + chance.choice(ENDS)
        runs.append(line * chance.choice([1, 7, 300] if len(line) > 100 else [1, 7, 3000]))
    return "".join(runs) + chance.choice(["", "no end", "half an end\r"])


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("newline", NEWLINES)
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_lines_mix_with_everything_else(tmp_path: Path, encoding: str, newline: str | None) -> None:
    chance = random.Random(f"{encoding} {newline!r}")
    path = tmp_path / "file"
    for _ in range(ROUNDS):
        path.write_bytes(some_text(chance).encode(encoding, "replace"))
        options = {"encoding": encoding, "newline": newline}
        places = [0]
        with builtins.open(path, **options) as theirs:
            async with aiofiles.open(path, **options) as file:
                for _ in range(40):
                    match chance.choice(("lines", "lines", "lines", "read", "tell", "seek", "newlines", "flush")):
                        case "lines":
                            count = chance.choice((1, 3, 200, 2000))
                            for line in [*itertools.islice(iter(theirs.readline, ""), count - 1), theirs.readline()]:
                                assert await anext(file, "") == line
                        case "read":
                            size = chance.choice((0, 1, 100, 7000))
                            assert await file.read(size) == theirs.read(size)
                        case "tell":
                            places.append(theirs.tell())
                            assert await file.tell() == places[-1]
                        case "seek":
                            place = chance.choice(places)
                            assert await file.seek(place) == theirs.seek(place)
                        case "newlines":
                            assert file.newlines == theirs.newlines
                        case "flush":
                            await file.flush()
                            theirs.flush()
                assert await file.readlines() == theirs.readlines()
                assert await anext(file, "the end") == "the end"


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("newline", NEWLINES)
async def test_lines_go_on_where_the_file_grows_after_half_an_end(tmp_path: Path, newline: str | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\r")
    with builtins.open(path, newline=newline) as theirs, path.open("ab", 0) as growing:
        async with aiofiles.open(path, newline=newline) as file:
            for more in (b"\nthree\r", b"four\nfive\r", b"\n\n", b"six\nseven\r\neight"):
                expected = list(iter(theirs.readline, ""))
                assert [line async for line in file] == expected
                assert await file.tell() == theirs.tell()
                growing.write(more)
            assert [line async for line in file] == list(iter(theirs.readline, ""))


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("before", [b"", b"line\r", b"line\n"])
@pytest.mark.parametrize("newline", [None, ""])
async def test_half_a_character_may_keep_an_end_back(tmp_path: Path, newline: str | None, before: bytes) -> None:
    path = tmp_path / "file"
    for character in "é表😀":
        for size in range(8192 - 5, 8192 + 1):
            begun = before * 30 + b"x" * (size - 30 * len(before))
            path.write_bytes(begun + f"\r{character * 2}\r\n{character}\nend\r".encode() * TIMES)
            with builtins.open(path, newline=newline) as theirs:
                async with aiofiles.open(path, newline=newline) as file:
                    assert [await anext(file) for _ in range(32)] == [theirs.readline() for _ in range(32)]
                    assert await file.tell() == theirs.tell()
                    assert [line async for line in file] == theirs.readlines()


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("newline", NEWLINES)
async def test_the_two_halves_of_an_end_may_meet_where_bytes_are_left_out(tmp_path: Path, newline: str | None) -> None:
    path = tmp_path / "file"
    for middle in (b"\xff", b"\xff" * 9, b"\xff" * 9000, b"\xff" * 20 + b"x"):
        path.write_bytes((b"one\r" + middle + b"\ntwo\r\nthree\r" + middle) * (TIMES // len(middle) + 2))
        with builtins.open(path, errors="ignore", newline=newline) as theirs:
            async with aiofiles.open(path, errors="ignore", newline=newline) as file:
                assert [line async for line in file] == theirs.readlines()


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("newline", [None, ""])
async def test_a_seek_that_fails_loses_no_line(tmp_path: Path, newline: str | None) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\rb\r" * 6_000)
    with builtins.open(path, newline=newline) as theirs:
        async with aiofiles.open(path, newline=newline) as file:
            for _ in range(6):
                assert [await anext(file) for _ in range(1500)] == [theirs.readline() for _ in range(1500)]
                with pytest.raises(io.UnsupportedOperation):
                    await file.seek(10, 2)
            assert [line async for line in file] == theirs.readlines()
