"""A storage: files in memory, and every answer as real ones give it."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servers.fastdfs.naming import (
    APPENDER,
    PATTERN,
    Chance,
    Trunk,
    facts_of,
    is_appender,
    new_name,
    slave_name,
)
from servers.fastdfs.replication import Outbox, clock
from servers.fastdfs.versions import CURRENT, Version

if TYPE_CHECKING:
    from collections.abc import Callable

DEAF: None = None
EXTENSION = re.compile(rb"(?!\.)[A-Za-z0-9_.-]*\Z")
LONGEST_NAME = 127
SHORTEST_NAME = 44
LARGEST_METADATA = 256 * 1024
FOR_EVER = 1 << 58


class Refusal(Exception):
    """A request is answered with a status, and no body. A few announce the length of one all the same."""

    def __init__(self, status: int, announced: int = 0) -> None:
        super().__init__(status)
        self.status = status
        self.announced = announced


class NoAnswer(Exception):
    """A request is never answered."""


def framed(body: bytes | bytearray, status: int = 0) -> bytes:
    return struct.pack("!qBB", len(body), 100, status) + body


def group_field(group: str) -> bytes:
    return group.encode().ljust(16, b"\0")


@dataclass
class File:
    """One file of a storage."""

    data: bytearray
    modified: int


@dataclass
class Storage:
    """The files of one storage, and its answers; connections are the cluster's."""

    group: str
    ip: str
    port: int = 23000
    version: Version = CURRENT
    number: int | None = None  # the id in names, where the cluster has storage ids
    paths: int = 1
    trunk: bool = False  # small files are merged
    full: bool = False
    chance: Chance = field(default_factory=Chance)
    active: bool = True  # as the trackers see it
    synced: bool = True  # the trackers think that replicas of other storages' files are up to date
    lag: float | None = None  # seconds until the others follow; None: when `replicate` is called
    log_delay: float = 0.0  # seconds until the log of names has a new name
    removed_while_read: set[str] = field(default_factory=set)  # names that go when they are downloaded next
    facts: dict[str, Any] = field(default_factory=dict)  # for the records that trackers give
    files: dict[str, File] = field(default_factory=dict)
    metadata: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[int, str, str]] = field(default_factory=list)
    peers: list[Storage] = field(default_factory=list)
    outbox: Outbox = field(default_factory=Outbox)
    noted: dict[str, float] = field(default_factory=dict)  # when names came into the log

    @property
    def source(self) -> bytes:
        if self.number is not None:
            return self.number.to_bytes(4, "little")
        return bytes(int(part) for part in self.ip.split("."))

    @property
    def id(self) -> str:
        return self.ip if self.number is None else str(self.number)

    def answer(self, command: int, flags: int, body: bytes) -> tuple[bytes, bool]:
        """The bytes to send, and whether the connection stays in use behind them.

        :raises NoAnswer: if there are none.
        """
        handler = self._handlers().get(command)
        for storage in (self, *self.peers):
            if storage.lag is not None:
                storage.outbox.deliver(storage.lag)
        try:
            if handler is None:
                raise Refusal(22)
            if command == 26:
                return handler(flags, body), False
            return framed(handler(flags, body)), True
        except Refusal as refusal:
            return struct.pack("!qBB", refusal.announced, 100, refusal.status), refusal.status != 22

    def _handlers(self) -> dict[int, Callable[[int, bytes], bytes]]:
        return {
            11: self._upload,
            12: self._delete,
            13: self._set_metadata,
            14: self._download,
            15: self._get_metadata,
            21: self._upload_slave,
            22: self._info,
            23: self._upload_appender,
            24: self._append,
            26: self._names,
            34: self._modify,
            36: self._truncate,
            38: self._regenerate,
            111: lambda _flags, _body: b"",
        }

    def put(self, data: bytes, extension: str = "txt", *, appender: bool = False) -> str:
        """Store a file without asking; return its id."""
        fields = struct.pack("!bq", 0, len(data)) + extension.encode().ljust(6, b"\0")
        stored = self._store(fields + data, appender=appender)
        return f"{self.group}/{stored[16:].decode()}"

    # New files

    def _upload(self, _flags: int, body: bytes) -> bytes:
        return self._store(body, appender=False)

    def _upload_appender(self, _flags: int, body: bytes) -> bytes:
        return self._store(body, appender=True)

    def _store(self, body: bytes, *, appender: bool) -> bytes:
        if len(body) < 15:
            raise Refusal(22)
        path_index, size = struct.unpack_from("!bq", body)
        extension, data = body[9:15].rstrip(b"\0"), body[15:]
        if size != len(data) or not -1 <= path_index < self.paths or not EXTENSION.match(extension):
            raise Refusal(22)
        if self.full:
            raise Refusal(28)
        name = new_name(
            self.source,
            size,
            zlib.crc32(data),
            extension.decode(),
            self.chance,
            appender=appender,
            path_index=max(0, path_index),
            trunk=Trunk(1, 0, -(-size // 256) * 256) if self.trunk and not appender else None,
        )
        return self._keep(name, data)

    def _keep(self, name: str, data: bytes) -> bytes:
        self.files[name] = File(bytearray(data), self.chance.now())
        self._note("C", name)
        self._spread(name)
        return group_field(self.group) + name.encode()

    def _upload_slave(self, _flags: int, body: bytes) -> bytes:
        length, size = struct.unpack_from("!qq", body)
        prefix, extension = body[16:32].rstrip(b"\0"), body[32:38].rstrip(b"\0")
        name, data = body[38 : 38 + length], body[38 + length :]
        if not prefix or size != len(data) or not EXTENSION.match(extension):
            raise Refusal(22)
        self._file(name)
        slave = slave_name(name.decode(), prefix.decode(), extension.decode())
        if slave in self.files:
            raise Refusal(17)
        return self._keep(slave, data)

    # Appenders

    def _appender(self, raw: bytes) -> File:
        if not SHORTEST_NAME <= len(raw) <= LONGEST_NAME or not PATTERN.fullmatch(raw) or not is_appender(raw.decode()):
            raise Refusal(22)
        return self._file(raw)

    def _append(self, _flags: int, body: bytes) -> bytes:
        length, size = struct.unpack_from("!qq", body)
        data = body[16 + length :]
        file = self._appender(body[16 : 16 + length])
        if size != len(data):
            raise Refusal(22)
        if not data:
            return body
        file.data += data
        return self._touched(body[16 : 16 + length])

    def _modify(self, _flags: int, body: bytes) -> bytes:
        length, offset, size = struct.unpack_from("!qqq", body)
        data = body[24 + length :]
        file = self._appender(body[24 : 24 + length])
        if size != len(data) or not 0 <= offset <= len(file.data):
            raise Refusal(22)
        if not data:
            return body
        file.data[offset : offset + size] = data
        return self._touched(body[24 : 24 + length])

    def _truncate(self, _flags: int, body: bytes) -> bytes:
        length, size = struct.unpack_from("!qq", body)
        file = self._appender(body[16 : 16 + length])
        if size == len(file.data):
            return body
        if size < len(file.data):
            del file.data[size:]
        else:
            file.data.extend(bytes(size - len(file.data)))
        return self._touched(body[16 : 16 + length])

    def _touched(self, raw: bytes) -> bytes:
        self._file(raw).modified = self.chance.now()
        self._spread(raw.decode())
        return b""

    def _regenerate(self, _flags: int, body: bytes) -> bytes:
        if not self.version.regenerates:
            raise Refusal(22)
        file = self._appender(body)
        old = body.decode()
        self._remove(old)
        data = bytes(file.data)
        name = new_name(self.source, len(data), zlib.crc32(data), "", self.chance, tail=old[-7:])
        return self._keep(name, data)

    # Reading and removing

    def _named(self, body: bytes) -> bytes:
        if body[:16] != group_field(self.group) or not PATTERN.fullmatch(body[16:]) or len(body) > 16 + LONGEST_NAME:
            raise Refusal(22)
        return body[16:]

    def _file(self, raw: bytes) -> File:
        if not PATTERN.fullmatch(raw):
            raise Refusal(22)
        file = self.files.get(raw.decode())
        if file is None:
            raise Refusal(2)
        return file

    def _download(self, _flags: int, body: bytes) -> bytes:
        offset, length = struct.unpack_from("!qq", body)
        name = self._named(body[16:])
        if offset < 0 or length < 0:
            raise Refusal(22)
        data = self._file(name).data
        if name.decode() in self.removed_while_read:
            self.removed_while_read.discard(name.decode())
            self._remove(name.decode())
            raise Refusal(2, len(data))
        if self.version.clamps:
            if offset >= len(data):
                raise Refusal(22)
        elif offset + length > len(data):
            if not length:
                raise NoAnswer
            raise Refusal(22)
        return bytes(data[offset : offset + length] if length else data[offset:])

    def _delete(self, _flags: int, body: bytes) -> bytes:
        raw = self._named(body)
        self._file(raw)
        self._remove(raw.decode())
        return b""

    def _remove(self, name: str) -> None:
        self._forget(name)
        self.outbox.add(self.peers, lambda peer: peer._forget(name))

    def _forget(self, name: str) -> None:
        self.files.pop(name, None)
        self.metadata.pop(name, None)
        self._unnote(name)

    def _info(self, flags: int, body: bytes) -> bytes:
        raw = self._named(body)
        file = self._file(raw)
        source, _created, size, crc = facts_of(raw.decode())
        skipped = bool(flags & 1) and self.version.skips_checksum
        if len(raw) > 60 or size & APPENDER or (len(raw) not in {44, 60}):
            crc = 0 if skipped else zlib.crc32(file.data)
        ip = ".".join(map(str, source)) if self.number is None else self.ip
        signed = crc - (1 << 32) if crc & 1 << 31 else crc
        return struct.pack("!qqq", len(file.data), file.modified, signed) + ip.encode().ljust(
            46 if self.version.wide else 16, b"\0"
        )

    # Metadata

    def _set_metadata(self, _flags: int, body: bytes) -> bytes:
        if len(body) + 10 > LARGEST_METADATA:
            raise Refusal(22)
        length, size = struct.unpack_from("!qq", body)
        how, name, blob = body[16:17], self._named(body[17 : 33 + length]), body[33 + length :]
        if len(blob) != size:
            raise Refusal(22)
        self._file(name)
        pairs = _pairs(blob)
        key = name.decode()
        if how == b"M":
            pairs = _pairs(self.metadata.get(key, b"")) | pairs
        packed = b"\x01".join(name[:64] + b"\x02" + value[:256] for name, value in sorted(pairs.items()))
        if how == b"O" and len(packed) < len(blob):  # what was cut away leaves its room, and what stood there
            packed += b"\0" + blob.replace(b"\x01", b"\0")[len(packed) + 1 :]
        self._label("C", key, packed)
        self.outbox.add(self.peers, lambda peer: peer._label("c", key, packed))
        return b""

    def _label(self, operation: str, name: str, packed: bytes) -> None:
        self.metadata.pop(name, None)
        self._unnote(name + "-m")
        if packed:
            self.metadata[name] = packed
            self._note(operation, name + "-m")

    def _get_metadata(self, _flags: int, body: bytes) -> bytes:
        blob = self.metadata.get(self._named(body).decode())
        if blob is None:
            raise Refusal(2)
        return blob

    # The log of names

    def _names(self, _flags: int, body: bytes) -> bytes:
        if body[:16] != group_field(self.group) or len(body) != 17:
            raise Refusal(22)
        path, written = f"M{body[16]:02X}/", clock() - self.log_delay
        text = "".join(
            f"{when} {operation} {name}\n"
            for when, operation, name in self.log
            if name.startswith(path) and self.noted.get(name, written) <= written
        ).encode()
        return struct.pack("!qBB", FOR_EVER, 100, 0) + text + struct.pack("!q", len(text))

    def _note(self, operation: str, name: str) -> None:
        self.log.append((self.chance.now(), operation, name))
        self.noted[name] = clock()

    def _unnote(self, name: str) -> None:
        self.log = [entry for entry in self.log if entry[2] not in {name, name + "-m"}]

    # Replication

    def replicate(self) -> None:
        """Bring the others of the group that are up to date with what this storage accepted."""
        self.outbox.deliver()

    def _spread(self, name: str) -> None:
        if not self.peers:
            return
        file = File(bytearray(self.files[name].data), self.files[name].modified)
        self.outbox.add(self.peers, lambda peer: peer._take(name, file))

    def _take(self, name: str, file: File) -> None:
        if name not in self.files:
            self._note("c", name)
        self.files[name] = File(bytearray(file.data), file.modified)


def _pairs(blob: bytes) -> dict[bytes, bytes]:
    pairs = (pair.partition(b"\x02") for pair in blob.split(b"\x01") if pair)
    return {key: value for key, _, value in pairs}
