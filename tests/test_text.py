"""Text is what builtins' `open` makes of the same bytes: read, sought and written, in every newline mode."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiofs.file import FileLike
from aiofs.text import CHUNK, TextFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "utf-7",
    "latin-1",
    "cp1252",
    "shift_jis",
    "iso2022_jp",
]
NEWLINES = [None, "", "\n", "\r", "\r\n"]
TRAPS = "ab é€ \n\r\x0b\x0c\x1c\x85\u2028\u3042\u30a2\U0001f600"

encodings = st.sampled_from(ENCODINGS)
newlines = st.sampled_from(NEWLINES)


class BytesFile(FileLike):
    """Bytes in memory; what `close` published is in `published`."""

    def __init__(self, data: bytes = b"", mode: str = "r+", *, most: int = -1) -> None:
        super().__init__("name.txt", mode)
        self.raw = io.BytesIO(data)
        self.published: bytes | None = None
        self.most = most
        self.aborted = False
        self.full = False

    async def read(self, size: int | None = -1) -> bytes:
        self._guard()
        if self._mode not in {"r", "r+"}:
            self._cannot("read")
        return self.raw.read(size)

    async def write(self, data: ReadableBuffer) -> int:
        self._guard()
        if self._mode == "r":
            self._cannot("write")
        if data and self.full:
            raise OSError(28, "no space left", self._name)
        return self.raw.write(data)

    async def seek(self, offset: int, whence: int = 0) -> int:
        self._guard()
        return self.raw.seek(offset, whence)

    async def tell(self) -> int:
        self._guard()
        return self.raw.tell()

    async def truncate(self, size: int | None = None) -> int:
        self._guard()
        return self.raw.truncate(size)

    async def close(self) -> None:
        if not self._closed:
            self.published = self.raw.getvalue()
        self._closed = True

    async def abort(self) -> None:
        self._closed = self.aborted = True


def fitting(text: str, encoding: str) -> str:
    """Leave out what the encoding has not."""
    kept = []
    for character in text:
        try:
            character.encode(encoding)
        except UnicodeError:
            continue
        kept.append(character)
    return "".join(kept)


class Stored(NamedTuple):
    """A text file, the newline it is opened with, and how many characters come before the interesting ones."""

    ending: str
    encoding: str
    newline: str | None
    before: int

    @property
    def data(self) -> bytes:
        filling = fitting("ab\u3042\r\n", self.encoding) * (self.before // 4 + 1)
        return (filling[: self.before] + fitting(self.ending, self.encoding)).encode(self.encoding)


borders = st.sampled_from([0, 0, CHUNK // 8, CHUNK // 4, CHUNK // 2, CHUNK]).flatmap(
    lambda border: st.integers(max(0, border - 4), border)
)
stored = st.builds(Stored, st.text(TRAPS, max_size=40), encodings, newlines, borders)


def builtin(data: bytes, encoding: str, newline: str | None, errors: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline)


@given(stored)
@settings(deadline=None, max_examples=300)
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


READS = st.one_of(
    st.tuples(st.just("read"), st.sampled_from([0, 1, 2, 3, 7, CHUNK // 4, CHUNK - 1, CHUNK, CHUNK + 1])),
    st.tuples(st.just("readline"), st.sampled_from([-1, 0, 1, 2, 5, 100])),
    st.tuples(st.just("tell"), st.just(0)),
    st.tuples(st.just("back"), st.integers(0, 10)),
    st.tuples(st.just("end"), st.just(0)),
    st.tuples(st.just("start"), st.just(0)),
)


@given(stored, st.lists(READS, max_size=20))
@settings(deadline=None, max_examples=500)
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


@given(st.lists(st.text(TRAPS, max_size=30), max_size=12), encodings, newlines)
@settings(deadline=None, max_examples=300)
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
@settings(deadline=None, max_examples=200)
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
@settings(deadline=None, max_examples=300)
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


async def test_a_line_longer_than_many_chunks() -> None:
    text = "é" * (5 * CHUNK) + "\n" + "z" * CHUNK
    file = TextFile(BytesFile(text.encode()), "utf-8")
    assert await file.readline() == text[: 5 * CHUNK + 1]
    assert await file.tell() == 10 * CHUNK + 1
    assert await file.readline() == "z" * CHUNK


@pytest.mark.parametrize("errors", ["replace", "ignore", "surrogateescape", "backslashreplace"])
@given(data=st.binary(max_size=60), newline=newlines)
@settings(deadline=None, max_examples=100)
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
