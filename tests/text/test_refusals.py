"""What a text file refuses, as builtins' `open` does, and what it says of itself."""

from __future__ import annotations

import codecs
import io

import pytest

from aiofs.files.text import TextFile
from text.samples import BytesFile


@pytest.mark.parametrize("encoding", [None, "utf-8", "latin-1", "utf-16", "shift_jis"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_bytes_are_refused_naming_the_way_out(encoding: str | None, newline: str) -> None:
    file = TextFile(BytesFile(mode="w"), encoding, newline=newline)
    with pytest.raises(TypeError, match="mode 'b'"):
        await file.write(b"abc")  # type: ignore[arg-type]
    await file.close()


async def test_what_the_mode_does_not_allow() -> None:
    reading = TextFile(BytesFile(b"abc", "r"), "utf-8")
    assert await reading.read(1) == "a"
    with pytest.raises(io.UnsupportedOperation):
        await reading.write("x")
    with pytest.raises(io.UnsupportedOperation):
        await reading.truncate()
    assert await reading.read() == "bc"
    writing = TextFile(BytesFile(mode="w"), "utf-16")
    await writing.write("a")
    for attempt in (writing.read, writing.readline, writing.readlines, writing.__anext__):
        with pytest.raises(io.UnsupportedOperation):
            await attempt()
    await writing.write("b")
    await writing.close()
    assert writing.buffer.published == "ab".encode("utf-16")  # type: ignore[attr-defined]


async def test_closed_means_closed_on_every_method() -> None:
    file = TextFile(BytesFile(b"a\nb\n"), "utf-8")
    await file.__anext__()
    await file.close()
    await file.close()
    await file.abort()
    calls = [
        file.read(), file.readline(), file.readlines(), file.__anext__(), file.write("x"), file.writelines(["x"]),
        file.seek(0), file.tell(), file.truncate(), file.flush(), file.readable(), file.writable(), file.seekable(),
        file.isatty(), file.__aenter__(),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            await call
    assert file.closed


async def test_seeks_that_text_has_not() -> None:
    file = TextFile(BytesFile(b"abc"), "utf-8")
    for offset, whence, error in [
        (1, 1, io.UnsupportedOperation),
        (-1, 2, io.UnsupportedOperation),
        (-1, 0, ValueError),
        (0, 3, ValueError),
    ]:
        with pytest.raises(error):
            await file.seek(offset, whence)
    assert await file.read(1) == "a"
    assert await file.seek(0, 1) == 1
    assert await file.read() == "bc"
    await file.seek(100)
    assert await file.read() == ""


def test_what_builtins_refuse_is_refused_before_any_io() -> None:
    for wrong, error in [
        ({"encoding": "no-such"}, LookupError),
        ({"encoding": "base64"}, LookupError),
        ({"encoding": 1}, TypeError),
        ({"errors": "no-such"}, LookupError),
        ({"newline": "x"}, ValueError),
        ({"newline": 1}, TypeError),
    ]:
        with pytest.raises(error):
            TextFile(BytesFile(), **wrong)  # type: ignore[arg-type]


def test_it_says_what_it_is() -> None:
    file = TextFile(BytesFile(b"abc", "r"), "utf-8", "replace")
    assert (file.name, file.mode, file.encoding, file.errors, file.newlines, file.line_buffering) == (
        "name.txt", "r", "utf-8", "replace", None, False,
    )  # fmt: skip
    assert repr(file) == "<TextFile name='name.txt' mode='r' encoding='utf-8'>"
    default = TextFile(BytesFile())
    assert codecs.lookup(default.encoding) == codecs.lookup(io.TextIOWrapper(io.BytesIO()).encoding)
    assert default.errors == "strict"
