"""Whatever a server sends is read, or refused as nonsense; nothing else happens."""

from __future__ import annotations

import contextlib
import dataclasses
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiofs.backends.fastdfs import FileId
from aiofs.backends.fastdfs.client import answers, wire
from aiofs.backends.fastdfs.client.errors import ProtocolError
from servers.fastdfs.naming import Chance, Trunk, new_name, slave_name
from servers.fastdfs.recordings import EXCHANGES

DECODERS = [
    answers.nothing,
    answers.store_place,
    answers.store_places,
    answers.place,
    answers.places,
    answers.file_info,
    answers.file_id,
    answers.metadata,
    answers.logged_name,
    answers.groups,
    answers.one_group,
    answers.storages,
    wire.AnswerHeader.parse,
]
RECORDED = sorted({exchange.answer for exchange in EXCHANGES}, key=len)
LENGTHS = [0, 39, 40, 62, 69, 70, 105, 113, 226, 487, 517, 612, 644]
fuzz = st.one_of(
    st.binary(max_size=700),
    st.sampled_from(LENGTHS).flatmap(lambda length: st.binary(min_size=length, max_size=length)),
    st.sampled_from(RECORDED),
)
EXTENSIONS = st.text(string.ascii_letters + string.digits + "-_", max_size=6)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.__qualname__)
@given(data=st.data())
def test_any_bytes(decoder: Any, data: st.DataObject) -> None:
    body = bytearray(data.draw(fuzz))
    for place in data.draw(st.lists(st.integers(0, max(0, len(body) - 1)), max_size=4)):
        if body:
            body[place] = data.draw(st.integers(0, 255))
    if decoder == wire.AnswerHeader.parse:
        body = bytearray(bytes(body).ljust(10, b"\0")[:10])
    with contextlib.suppress(ProtocolError):
        decoder(bytes(body))


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 255), st.integers(0, 255))
@example(-1, 100, 0)
@example(1 << 62, 100, 0)
@example(1, 100, 2)
def test_any_header(length: int, command: int, status: int) -> None:
    header = wire.HEADER.pack(length, command, status)
    right = command == 100 and (length >= 0 or status)
    if right:
        assert wire.AnswerHeader.parse(header) == wire.AnswerHeader(length, status)
    else:
        with pytest.raises(ProtocolError):
            wire.AnswerHeader.parse(header)


@given(st.one_of(st.text(max_size=150), st.from_regex(r"[a-z1]{1,17}/M[0-9A-F]{2}/00/00/[A-Za-z0-9_.-]{20,60}\Z")))
def test_any_text_as_id(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(FileId.parse(text)) == text


@given(
    source=st.binary(min_size=4, max_size=4),
    size=st.integers(0, (1 << 55) - 1),
    crc=st.integers(0, (1 << 32) - 1),
    extension=EXTENSIONS,
    appender=st.booleans(),
    trunk=st.booleans(),
    path_index=st.integers(0, 255),
)
def test_any_name_that_a_storage_makes(  # noqa: PLR0917  (hypothesis gives them by name)
    source: bytes, size: int, crc: int, extension: str, appender: bool, trunk: bool, path_index: int
) -> None:
    place = Trunk(7, 1 << 20, 1 << 31) if trunk and not appender and size < 1 << 32 else None
    name = new_name(source, size, crc, extension, Chance(), appender=appender, path_index=path_index, trunk=place)
    file = FileId.parse(f"group1/{name}")
    assert file.path_index == path_index
    assert (file.source if isinstance(file.source, str) else file.source.to_bytes(4, "little")) == (
        ".".join(map(str, source)) if source[3] else source
    )
    if appender:
        assert (file.kind, file.size, file.crc32, file.trunk) == ("appender", None, None, None)
    else:
        assert (file.kind, file.size, file.crc32) == ("normal", size, crc)
        assert (file.trunk and dataclasses.astuple(file.trunk)) == (place and dataclasses.astuple(place))


@given(extension=EXTENSIONS, prefix=st.text(string.ascii_letters + "-_", min_size=1, max_size=16), other=EXTENSIONS)
def test_any_slave(extension: str, prefix: str, other: str) -> None:
    master = new_name(bytes([10, 0, 0, 1]), 5, 6, extension, Chance())
    file = FileId.parse(f"group1/{slave_name(master, prefix, other)}")
    assert (file.kind, file.size, file.crc32) == ("slave", None, None)
