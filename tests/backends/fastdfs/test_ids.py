"""What file ids tell."""

from __future__ import annotations

import base64
import struct

import pytest

from aiofs.backends.fastdfs import FileId

NORMAL = "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt"
APPENDER = "group1/M00/00/00/CgABAWsAcB6ENLlUAAAAAKaEx8Y931.log"
SLAVE = "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904_small.txt"


def test_what_a_name_tells() -> None:
    file = FileId.parse(NORMAL)
    assert (file.group, file.path_index, file.source, file.created) == ("group1", 0, "10.0.1.1", 1795190814)
    assert (file.kind, file.size, file.crc32) == ("normal", 14, 0x0E10BA5D)
    assert str(file) == NORMAL
    assert FileId.parse(APPENDER).kind == "appender"
    assert FileId.parse(SLAVE).kind == "slave"
    assert FileId.parse(NORMAL.replace("M00", "M1A")).path_index == 26
    assert len({FileId.parse(NORMAL), FileId.parse(NORMAL), FileId.parse(SLAVE)}) == 2


@pytest.mark.parametrize(
    ("field", "kind", "size"),
    [
        (0, "normal", 0),
        (4294979641, "normal", 4294979641),  # measured: 4 GiB and more come without salt
        ((1 << 55) - 1, "normal", (1 << 55) - 1),
        (1 << 63 | 0x7FFFFF << 32 | 5, "normal", 5),
        (1 << 63 | 0xFFFFFFFF, "normal", 0xFFFFFFFF),
        (1 << 58, "appender", None),
        (1 << 63 | 1 << 58 | 77 << 32, "appender", None),
    ],
)
def test_sizes_in_names(field: int, kind: str, size: int | None) -> None:
    raw = base64.urlsafe_b64encode(struct.pack("!4sIQI", bytes([10, 0, 1, 1]), 1, field, 0xFFFFFFFF)).decode()
    file = FileId.parse(f"group1/M00/00/00/{raw.rstrip('=')}1234567")
    assert (file.kind, file.size) == (kind, size)
    assert file.crc32 == (0xFFFFFFFF if kind == "normal" else None)


@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        ("1234567", "normal"),
        ("904.txt", "normal"),
        (".tar.gz", "normal"),
        ("12345.c", "normal"),
        ("904_s.c", "slave"),
        ("904_12345", "slave"),
        ("9041234", "normal"),
        ("123456", "slave"),
        ("90412.txt", "slave"),
        ("904..tx", "slave"),
    ],
)
def test_slaves_by_their_names(tail: str, kind: str) -> None:
    assert FileId.parse(f"group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0{tail}").kind == kind
