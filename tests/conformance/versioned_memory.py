"""Files in memory that keep their old versions, as a versioned bucket does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiofs.backends.memory import MemoryDriver, Stored
from aiofs.errors import NotFound
from aiofs.kit import BytesStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiofs.driver import Entry, Lease, ReadStream


class VersionedMemory(MemoryDriver):
    """Every version that was published can be listed, read and restored."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.old: dict[tuple[str, str], Stored] = {}

    def publish(self, path: str, data: bytes, *rest: Any, **more: Any) -> Entry:
        entry = super().publish(path, data, *rest, **more)
        known = replace(entry, version_id=entry.version)
        self.files.stored[path] = self.old[path, entry.version or ""] = Stored(known, data)
        return known

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        for (name, _), stored in reversed(list(self.old.items())):
            if name == path:
                yield stored.entry

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        stored = self._kept(path, version_id)
        return BytesStream(stored.entry, stored.data, start, stop)

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        return self.publish(path, self._kept(path, version_id).data, lease, None, None)

    def _kept(self, path: str, version_id: str) -> Stored:
        if (path, version_id) not in self.old:
            raise NotFound.of(path, f"there is no version {version_id}")
        return self.old[path, version_id]
