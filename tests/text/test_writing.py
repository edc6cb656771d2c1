"""Text is written, appended and edited as builtins' `open` does, in every newline mode; a failure publishes nothing."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiofs.files.text import TextFile
from text.samples import READS, TRAPS, BytesFile, builtin, encodings, fitting, newlines

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


@given(st.lists(st.text(TRAPS, max_size=30), max_size=12), encodings, newlines)
@settings(deadline=None, max_examples=300 if FULL else 100)
async def test_writing_is_what_builtins_write(texts: list[str], encoding: str, newline: str | None) -> None:
    texts = [fitting(text, encoding) for text in texts]
    theirs = builtin(b"", encoding, newline)
    buffer = BytesFile(mode="w")
    ours = TextFile(buffer, encoding, newline=newline)
    for text in texts:
        assert await ours.write(text) == theirs.write(text)
        if len(text) % 3 == 0:
            await ours.flush()
            assert await ours.tell() == theirs.tell()
    await ours.close()
    theirs.flush()
    assert buffer.published == theirs.buffer.getvalue()  # type: ignore[attr-defined]


@given(st.text(TRAPS, max_size=20), st.text(TRAPS, max_size=20), encodings.filter("iso2022_jp".__ne__), newlines)
@settings(deadline=None, max_examples=200 if FULL else 66)
async def test_appending_writes_no_second_byte_order_mark(
    old: str, new: str, encoding: str, newline: str | None
) -> None:
    data = fitting(old, encoding).encode(encoding)
    raw = io.BytesIO(data)
    raw.seek(0, 2)
    theirs = io.TextIOWrapper(raw, encoding, newline=newline)
    buffer = BytesFile(data, "a")
    buffer.raw.seek(0, 2)
    ours = TextFile(buffer, encoding, newline=newline)
    await ours.writelines(fitting(new, encoding))
    theirs.writelines(fitting(new, encoding))
    theirs.flush()
    await ours.close()
    assert buffer.published == raw.getvalue()


EDITS = st.one_of(
    READS.filter(lambda step: step[1] != 0 or step[0] in {"start", "end"}),
    st.tuples(st.just("write"), st.text("xy\nあ", max_size=5)),
)


@given(
    st.text("abé\nあ", max_size=30),
    st.lists(EDITS, max_size=12),
    st.sampled_from(["utf-8", "utf-16", "utf-32", "latin-1"]),
)
@settings(deadline=None, max_examples=300 if FULL else 100)
@example("abc", [("read", 1), ("write", "X"), ("read", 1)], "utf-16")
async def test_reading_and_writing_alternate_at_the_position_of_tell(
    old: str, steps: list[tuple[str, int | str]], encoding: str
) -> None:
    old = fitting(old, encoding)
    theirs = builtin(old.encode(encoding), encoding, "")
    buffer = BytesFile(old.encode(encoding))
    ours = TextFile(buffer, encoding, newline="")
    for verb, value in steps:
        here = await ours.tell()
        theirs.seek(here)  # builtins only promise anything when one seeks in between
        try:
            expected = _step(theirs, verb, value)
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                await _our_step(ours, verb, value, encoding)
            break
        assert await _our_step(ours, verb, value, encoding) == expected
    theirs.flush()
    await ours.close()
    assert buffer.published == theirs.buffer.getvalue()  # type: ignore[attr-defined]


def _step(file: io.TextIOWrapper, verb: str, value: object) -> object:
    if verb == "write":
        return file.write(fitting(str(value), file.encoding))
    if verb in {"read", "readline"}:
        return getattr(file, verb)(value)
    if verb == "end":
        return file.seek(0, 2)
    return file.seek(0)


async def _our_step(file: TextFile, verb: str, value: object, encoding: str) -> object:
    if verb == "write":
        return await file.write(fitting(str(value), encoding))
    if verb in {"read", "readline"}:
        return await getattr(file, verb)(value)
    if verb == "end":
        return await file.seek(0, 2)
    return await file.seek(0)


async def test_write_after_a_line_goes_behind_that_line() -> None:
    buffer = BytesFile(b"eins\nzwei\ndrei\n")
    file = TextFile(buffer, "utf-8")
    assert await file.readline() == "eins\n"
    await file.write("ZWEI")
    assert await file.read() == "\ndrei\n"
    await file.close()
    assert buffer.published == b"eins\nZWEI\ndrei\n"


async def test_truncate_cuts_at_the_position_not_at_what_was_read_ahead() -> None:
    buffer = BytesFile("été\nhiver\n".encode())
    file = TextFile(buffer, "utf-8")
    await file.read(2)
    assert await file.truncate() == 3
    assert await file.read() == ""
    await file.close()
    assert buffer.published == "ét".encode()


async def test_a_character_that_does_not_encode_fails_at_write_and_changes_nothing() -> None:
    buffer = BytesFile(mode="w")
    file = TextFile(buffer, "ascii")
    await file.write("abc")
    with pytest.raises(UnicodeEncodeError):
        await file.write("dé")
    await file.write("f")
    await file.close()
    assert buffer.published == b"abcf"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "utf-16", "shift_jis"])
async def test_an_encoding_error_in_the_block_publishes_nothing(encoding: str) -> None:
    buffer = BytesFile(mode="w")

    async def write() -> None:
        async with TextFile(buffer, encoding) as file:
            await file.write("abc")
            await file.write("\ud800")

    with pytest.raises(UnicodeEncodeError):
        await write()
    assert buffer.aborted
    assert buffer.published is None


async def test_a_failure_to_hand_over_the_last_characters_publishes_nothing() -> None:
    buffer = BytesFile(mode="w")
    file = TextFile(buffer, "utf-8")
    await file.write("abc")
    buffer.full = True
    with pytest.raises(OSError, match="no space"):
        await file.close()
    assert buffer.aborted
    assert buffer.published is None
    await file.close()
    assert buffer.published is None


async def test_abort_and_an_exception_publish_nothing() -> None:
    buffer = BytesFile(mode="w")
    file = TextFile(buffer, "utf-8")
    await file.write("abc")
    await file.abort()
    assert buffer.aborted
    assert buffer.published is None
    buffer = BytesFile(mode="w")

    async def fail_within() -> None:
        async with TextFile(buffer, "utf-8") as file:
            await file.write("abc")
            raise KeyError

    with pytest.raises(KeyError):
        await fail_within()
    assert buffer.aborted
