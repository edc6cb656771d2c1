"""A tracker: it knows groups and storages, and no files."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servers.fastdfs.naming import APPENDER, facts_of
from servers.fastdfs.storage import Refusal, framed, group_field
from servers.fastdfs.versions import CURRENT, Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.fastdfs.storage import Storage

ACTIVE = 7
OFFLINE = 5


@dataclass
class Tracker:
    """The groups, and the answers about them; connections are the cluster's."""

    storages: list[Storage]
    version: Version = CURRENT
    group_facts: dict[str, dict[str, int]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)
    prefers: Storage | None = None  # named first to whoever reads, whether or not it has the file

    def answer(self, command: int, _flags: int, body: bytes) -> tuple[bytes, bool]:
        """The bytes to send, and whether the connection stays in use behind them."""
        try:
            return framed(self._answer(command, body)), True
        except Refusal as refusal:
            return framed(b"", refusal.status), not (refusal.status == 22 and self.version.tracker_closes)

    def _answer(self, command: int, body: bytes) -> bytes:
        handlers: dict[int, Callable[[], bytes]] = {
            90: lambda: self._group_record(self._group(body)[0].group),
            91: lambda: b"".join(map(self._group_record, self._groups())),
            92: lambda: b"".join(map(self._storage_record, self._storages(body))),
            101: lambda: self._store(self._next_group(), every=False),
            102: lambda: self._find(command, body),
            103: lambda: self._find(command, body),
            104: lambda: self._store(self._group(body), every=False),
            105: lambda: self._find(command, body),
            106: lambda: self._store(self._next_group(), every=True),
            107: lambda: self._store(self._group(body), every=True),
            111: lambda: b"",
        }
        if command not in handlers:
            raise Refusal(22)
        return handlers[command]()

    def _storages(self, body: bytes) -> list[Storage]:
        wanted = body[16:].decode()
        return [storage for storage in self._group(body[:16]) if wanted in {"", storage.id}]

    def _groups(self) -> list[str]:
        return list(dict.fromkeys(storage.group for storage in self.storages))

    def _group(self, raw: bytes) -> list[Storage]:
        if len(raw) != 16:
            raise Refusal(22)
        found = [storage for storage in self.storages if group_field(storage.group) == raw]
        if not found:
            raise Refusal(2)
        return found

    def _next_group(self) -> list[Storage]:
        usable = [
            group for group in self._groups() if any(each.active for each in self.storages if each.group == group)
        ]
        if not usable:
            raise Refusal(2)
        group = usable[self._turn("") % len(usable)]
        return [storage for storage in self.storages if storage.group == group]

    def _store(self, storages: list[Storage], *, every: bool) -> bytes:
        active = [storage for storage in storages if storage.active]
        if not active:
            raise Refusal(2)
        if all(storage.full for storage in active):
            raise Refusal(28)
        chosen = active if every else [active[self._turn(active[0].group) % len(active)]]
        return group_field(chosen[0].group) + b"".join(map(self._place, chosen)) + b"\0"

    def _turn(self, what: str) -> int:
        self.turns[what] += 1
        return self.turns[what] - 1

    def _find(self, command: int, body: bytes) -> bytes:
        name = body[16:]
        if not 22 <= len(name) <= 127:
            raise Refusal(22)
        storages = [storage for storage in self._group(body[:16]) if storage.active]
        if not storages:
            raise Refusal(2)
        source, _created, size, _crc = facts_of(name.decode())
        sources = [storage for storage in storages if storage.source == source]
        mutable = bool(size & APPENDER) or len(name) not in {44, 60}
        if command == 103 or mutable:
            chosen = sources or storages
        else:
            chosen = sources + [each for each in storages if each not in sources and (each.synced or not sources)]
            chosen.sort(key=lambda storage: storage is not self.prefers)
        others = chosen[1:] if command == 105 else []
        return body[:16] + self._place(chosen[0]) + b"".join(map(self._ip, others))

    def _place(self, storage: Storage) -> bytes:
        return self._ip(storage) + struct.pack("!q", storage.port)

    def _ip(self, storage: Storage) -> bytes:
        return storage.ip.encode().ljust(45 if self.version.wide else 15, b"\0")

    def _group_record(self, group: str) -> bytes:
        storages = [storage for storage in self.storages if storage.group == group]
        active = sum(storage.active for storage in storages)
        facts: dict[str, int] = {
            "total_mb": 258019,
            "free_mb": 76419,
            "reserved_mb": 64,
            "trunk_free_mb": 0,
            "http_port": 80,
            "readable": active,
            "writable": active,
            "current_write_server": 0,
            "store_path_count": storages[0].paths,
            "subdir_count": 4,
            "current_trunk_file_id": -1,
        }
        facts |= self.group_facts.get(group, {})
        facts |= {"storage_count": len(storages), "storage_port": storages[0].port}
        if self.version.old_records:
            keys = (
                "total_mb free_mb trunk_free_mb storage_count storage_port http_port readable"
                " current_write_server store_path_count subdir_count current_trunk_file_id"
            )
        else:
            keys = (
                "total_mb free_mb reserved_mb trunk_free_mb storage_count storage_port readable writable"
                " current_write_server store_path_count subdir_count current_trunk_file_id"
            )
        numbers = [facts[key] for key in keys.split()]
        return group.encode().ljust(17, b"\0") + struct.pack(f"!{len(numbers)}q", *numbers)

    def _storage_record(self, storage: Storage) -> bytes:
        facts: dict[str, Any] = {
            "rw_mode": 6,
            "src_id": "",
            "join_time": 1795190814,
            "up_time": 1795190814,
            "total_mb": 258019,
            "free_mb": 76419,
            "reserved_mb": 64,
            "upload_priority": 10,
            "store_path_count": storage.paths,
            "subdir_count": 4,
            "current_write_path": 0,
            "http_port": 80,
            "connections": (0, 0, 0),
            "counters": (0,) * 42,
            "is_trunk_server": 0,
        }
        facts |= storage.facts
        status = bytes([ACTIVE if storage.active else OFFLINE])
        width = 46 if self.version.wide else 16
        ids = storage.id.encode().ljust(16, b"\0") + storage.ip.encode().ljust(width, b"\0")
        source: bytes = facts["src_id"].encode().ljust(16, b"\0")
        name = self.version.name.encode().ljust(self.version.version_width, b"\0")
        times = [facts["join_time"], facts["up_time"], facts["total_mb"], facts["free_mb"]]
        paths = [facts[key] for key in ("upload_priority", "store_path_count", "subdir_count", "current_write_path")]
        if self.version.old_records:
            head = status + ids + bytes(128) + source + name
            numbers = [*times, *paths, storage.port, facts["http_port"]]
        else:
            head = status + bytes([facts["rw_mode"]]) + ids + source + name
            numbers = [*times, facts["reserved_mb"], *paths, storage.port]
        return (
            head
            + struct.pack("!10q", *numbers)
            + struct.pack("!3i42q", *facts["connections"], *facts["counters"])
            + bytes([facts["is_trunk_server"]])
        )
