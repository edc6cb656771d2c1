"""How storages name files."""

from __future__ import annotations

import base64
import re
import secrets
import struct
import time
from dataclasses import dataclass

APPENDER = 1 << 58
TRUNK = 1 << 59
SALTED = 1 << 63
FOUR_GIB = 1 << 32
PATTERN = re.compile(rb"M[0-9A-F]{2}/[0-9A-F]{2}/[0-9A-F]{2}/[^/]+")


class Chance:
    """The clock, and what a storage draws by lot for a name."""

    def now(self) -> int:
        return int(time.time())

    def salt(self) -> int:
        return secrets.randbits(23)

    def digits(self, count: int) -> str:
        return str(secrets.randbelow(10**count)).zfill(count) if count else ""


@dataclass(frozen=True)
class Trunk:
    """Where a small file lies in a trunk file."""

    file: int
    offset: int
    allocated: int


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def facts_of(name: str) -> tuple[bytes, int, int, int]:
    """Source, time, size field and checksum in a name."""
    source, created, size, crc = struct.unpack("!4sIQI", base64.urlsafe_b64decode(name[10:37] + "="))
    return source, created, size, crc


def is_appender(name: str) -> bool:
    return bool(facts_of(name)[2] & APPENDER)


def new_name(
    source: bytes,
    size: int,
    crc: int,
    extension: str,
    chance: Chance,
    *,
    appender: bool = False,
    path_index: int = 0,
    trunk: Trunk | None = None,
    tail: str | None = None,
) -> str:
    """Make the name of a new file."""
    if appender:
        field = SALTED | APPENDER | chance.salt() << 32
    elif size >= FOUR_GIB:
        field = size
    else:
        field = SALTED | (TRUNK if trunk else 0) | chance.salt() << 32 | size
    middle = encoded(struct.pack("!4sIQI", source, chance.now(), field, crc))
    if trunk is not None:
        middle += encoded(struct.pack("!III", trunk.file, trunk.offset, trunk.allocated))
    if tail is None:
        tail = chance.digits(6 - len(extension)) + "." + extension if extension else chance.digits(7)
    return f"M{path_index:02X}/00/00/{middle}{tail}"


def slave_name(master: str, prefix: str, extension: str) -> str:
    """Make the name of a slave."""
    stem = master[:-7] + master[-7:].partition(".")[0]
    return stem + prefix + (f".{extension}" if extension else "")
