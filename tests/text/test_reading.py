"""Text is read and sought as builtins' `open` does in the same bytes, in every newline mode."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiofs.files.text import CHUNK, TextFile
from text.samples import READS, BytesFile, Stored, builtin, fitting, newlines, stored

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


@given(stored)
@settings(deadline=None, max_examples=300 if FULL else 100)
async def test_reading_in_every_way_is_what_builtins_read(case: Stored) -> None:
    data, encoding, newline = case.data, case.encoding, case.newline
    expected = builtin(data, encoding, newline)
    assert await TextFile(BytesFile(data), encoding, newline=newline).read() == expected.read()
    expected.seek(0)
    lines = expected.readlines()
    assert [line async for line in TextFile(BytesFile(data), encoding, newline=newline)] == lines
    assert await TextFile(BytesFile(data), encoding, newline=newline).readlines() == lines
    file = TextFile(BytesFile(data), encoding, newline=newline)
    assert [await file.readline() for _ in lines] == lines
    assert await file.readline() == ""
    assert await file.read() == ""
    assert file.newlines == expected.newlines


@given(stored, st.lists(READS, max_size=20))
@settings(deadline=None, max_examples=500 if FULL else 166)
async def test_any_walk_through_a_file_reads_what_builtins_read(case: Stored, steps: list[tuple[str, int]]) -> None:
    data, encoding, newline = case.data, case.encoding, case.newline
    theirs = builtin(data, encoding, newline)
    ours = TextFile(BytesFile(data), encoding, newline=newline)
    places = [(0, 0)]
    for verb, number in steps:
        if verb == "read":
            assert await ours.read(number) == theirs.read(number)
        elif verb == "readline":
            assert await ours.readline(number) == theirs.readline(number)
        elif verb == "tell":
            places.append((await ours.tell(), theirs.tell()))
        elif verb == "back":
            mine, his = places[number % len(places)]
            assert await ours.seek(mine) == mine
            theirs.seek(his)
        elif verb == "end":
            assert await ours.seek(0, 2) == theirs.seek(0, 2) == len(data)
        else:
            await ours.seek(0)
            theirs.seek(0)


@pytest.mark.parametrize("newline", [None, "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift_jis"])
async def test_tell_is_the_byte_offset_where_the_encoding_allows_that(encoding: str, newline: str | None) -> None:
    text = fitting("a\r\nあbé\n\nx", encoding)
    theirs = builtin(text.encode(encoding), encoding, newline)
    ours = TextFile(BytesFile(text.encode(encoding)), encoding, newline=newline)
    while theirs.read(1):
        await ours.read(1)
        assert await ours.tell() == theirs.tell()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift_jis", "iso2022_jp", "utf-7"])
async def test_tell_between_the_lines_of_an_iteration(encoding: str) -> None:
    lines = [f"line {number} あ\n" for number in range(30)]
    file = TextFile(BytesFile("".join(lines).encode(encoding)), encoding)
    places = []
    async for line in file:
        places.append(await file.tell())
        assert line == lines[len(places) - 1]
    for number, place in enumerate(places):
        await file.seek(place)
        assert await file.readlines() == lines[number + 1 :]


async def test_a_line_longer_than_many_chunks() -> None:
    text = "é" * (5 * CHUNK) + "\n" + "z" * CHUNK
    file = TextFile(BytesFile(text.encode()), "utf-8")
    assert await file.readline() == text[: 5 * CHUNK + 1]
    assert await file.tell() == 10 * CHUNK + 1
    assert await file.readline() == "z" * CHUNK


async def test_as_many_lines_as_builtins_return_for_a_hint() -> None:
    data = b"one\ntwo\nthree\n"
    for hint in range(-1, len(data) + 2):
        theirs = io.TextIOWrapper(io.BytesIO(data), "utf-8")
        assert await TextFile(BytesFile(data), "utf-8").readlines(hint) == theirs.readlines(hint)


@pytest.mark.parametrize("errors", ["replace", "ignore", "surrogateescape", "backslashreplace"])
@given(data=st.binary(max_size=60), newline=newlines)
@settings(deadline=None, max_examples=100 if FULL else 33)
async def test_errors_are_handled_as_builtins_handle_them(errors: str, data: bytes, newline: str | None) -> None:
    theirs = builtin(data, "utf-8", newline, errors)
    ours = TextFile(BytesFile(data), "utf-8", errors, newline)
    first = theirs.read(3)
    assert await ours.read(3) == first
    mine, his = await ours.tell(), theirs.tell()
    rest = theirs.read()
    assert await ours.read() == rest
    await ours.seek(mine)
    theirs.seek(his)
    assert await ours.read() == theirs.read() == rest


async def test_bytes_that_do_not_decode_fail_again_when_read_again() -> None:
    file = TextFile(BytesFile(b"abc\xff\xff def"), "utf-8")
    for _ in range(2):
        with pytest.raises(UnicodeDecodeError):
            await file.read()
    cut_short = TextFile(BytesFile("abcé".encode()[:-1]), "utf-8")
    with pytest.raises(UnicodeDecodeError):
        await cut_short.read()
