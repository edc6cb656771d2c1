"""The records that trackers keep of groups and storages, for diagnosis."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiofs.backends.fastdfs.answers import ProtocolError, group_name, only, text

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATES = {
    0: "INIT",
    1: "WAIT_SYNC",
    2: "SYNCING",
    3: "IP_CHANGED",
    4: "DELETED",
    5: "OFFLINE",
    6: "ONLINE",
    7: "ACTIVE",
    9: "RECOVERY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """A group of storages that hold the same files. `None`: this version does not tell."""

    name: str
    total_mb: int
    free_mb: int
    reserved_mb: int | None
    trunk_free_mb: int
    storages: int
    port: int
    readable: int
    writable: int
    current_write_server: int
    store_paths: int
    subdirs: int
    current_trunk_file: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageInfo:
    """One storage as a tracker sees it. `None`: this version does not tell."""

    state: str
    rw_mode: int | None
    id: str
    ip: str
    source_id: str
    version: str
    joined: int
    started: int
    total_mb: int
    free_mb: int
    reserved_mb: int | None
    upload_priority: int
    store_paths: int
    subdirs: int
    current_write_path: int
    port: int
    connections: tuple[int, int, int]
    """Allocated, in use, and the most there were."""
    counters: tuple[int, ...]
    is_trunk_server: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """One version's record: the form of its fields, and their names; one without a name is of no use any more."""

    form: struct.Struct
    names: str

    def fits(self, body: bytes) -> bool:
        return len(body) % self.form.size == 0

    def read(self, body: bytes) -> Iterator[dict[str, Any]]:
        names = self.names.split()
        for values in self.form.iter_unpack(body):
            named = dict(zip(names, values, strict=False))
            named.pop("-", None)
            yield named | {"rest": values[len(names) :]}


_GROUP_LAYOUTS = (
    _Layout(
        struct.Struct("!17s12q"),
        "name total_mb free_mb reserved_mb trunk_free_mb storages port readable writable"
        " current_write_server store_paths subdirs current_trunk_file",
    ),
    _Layout(
        struct.Struct("!17s11q"),
        "name total_mb free_mb trunk_free_mb storages port - readable"
        " current_write_server store_paths subdirs current_trunk_file",
    ),
)

_TOTALS = "10q3i42q?"
_STORAGE = (
    "state rw_mode id ip source_id version joined started total_mb free_mb"
    " reserved_mb upload_priority store_paths subdirs current_write_path port"
)
_OLD_STORAGE = (
    "state id ip - source_id version joined started total_mb free_mb"
    " upload_priority store_paths subdirs current_write_path port -"
)
_STORAGE_LAYOUTS = (
    _Layout(struct.Struct(f"!BB16s16s16s8s{_TOTALS}"), _STORAGE),
    _Layout(struct.Struct(f"!BB16s46s16s8s{_TOTALS}"), _STORAGE),
    _Layout(struct.Struct(f"!B16s46s128s16s8s{_TOTALS}"), _OLD_STORAGE),
    _Layout(struct.Struct(f"!B16s16s128s16s6s{_TOTALS}"), _OLD_STORAGE),
)


def one_group(body: bytes) -> GroupInfo:
    """Read the record of a group."""
    return only(groups(body))


def groups(body: bytes) -> list[GroupInfo]:
    """Read the records of groups: of 113 bytes since 6.13, of 105 before."""
    for layout in _GROUP_LAYOUTS:
        if layout.fits(body) and all(_is_name(record["name"]) for record in layout.read(body)):
            return [_group(record) for record in layout.read(body)]
    raise ProtocolError(f"{len(body)} bytes are no list of groups")


def storages(body: bytes) -> list[StorageInfo]:
    """Read the records of storages: of 487 or 517 bytes since 6.13, of 644 in 6.11 and 6.12, of 612 before."""
    for layout in _STORAGE_LAYOUTS:
        if layout.fits(body):
            return [_storage(record) for record in layout.read(body)]
    raise ProtocolError(f"{len(body)} bytes are no list of storages")


def _is_name(field: bytes) -> bool:
    try:
        return bool(group_name(field))
    except ProtocolError:
        return False


def _group(record: dict[str, Any]) -> GroupInfo:
    del record["rest"]
    name = group_name(record.pop("name"))
    facts: dict[str, Any] = {"reserved_mb": None, "writable": record["readable"], **record}
    return GroupInfo(name=name, **facts)


def _storage(record: dict[str, Any]) -> StorageInfo:
    *numbers, is_trunk_server = record.pop("rest")
    state = record.pop("state")
    texts = {name: text(record.pop(name)) for name in ("id", "ip", "source_id", "version")}
    facts: dict[str, Any] = {"rw_mode": None, "reserved_mb": None, **record, **texts}
    return StorageInfo(
        **facts,
        state=_STATES.get(state, str(state)),
        connections=(numbers[0], numbers[1], numbers[2]),
        counters=tuple(numbers[3:]),
        is_trunk_server=is_trunk_server,
    )
