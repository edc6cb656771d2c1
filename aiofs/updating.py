"""Updating: a file is read, changed, and published over the version that was read, so no change of others is lost."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from aiofs.driver import ABSENT, Entry
from aiofs.errors import AlreadyExists, Conflict, NotFound, Unsupported
from aiofs.files.reading import drain
from aiofs.kit import BytesStream, pour
from aiofs.lifetimes import finish
from aiofs.waiting import give_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.driver import Driver, Lease
    from aiofs.waiting import Waiter


SAME_VERSION = 5
"""How often in a row publishing over the same version may be refused. Where a version is a digest of the bytes, others
may have written the same bytes again. If it is refused more often, the store has another reason."""


class Update:
    """One call of `FileSystem.update`. With a `form`, which is encoding and errors, `change` and `create` take text.

    The file is first read without its lock, as a change that leaves the bytes as they are needs no lock. If somebody
    else changed the file meanwhile, the next round holds the lock, so two are enough if all writers respect locks.
    """

    def __init__(
        self, driver: Driver, path: str, change: Callable[[Any], Any], create: Any, form: tuple[str, str] | None
    ) -> None:
        self._driver = driver
        self._path = path
        self._change = change
        self._form = form
        self._create = None if create is None else self._encoded(create, "create")
        self._seen: str | None = None  # the version of which `_new` was made
        self._new = b""
        if not callable(change):
            raise TypeError(f"change must be a function that takes the old content and returns the new, not {change!r}")
        if not driver.capabilities.conditional:
            reason = f"{driver} does not compare versions in the step that publishes, so it cannot be updated"
            raise Unsupported.of(path, reason)

    async def run(self, waiter: Waiter) -> Entry:
        """Change the file, again if somebody else changed it meanwhile, and return its new entry."""
        lease: Lease | None = None
        refused: OSError | None = None
        tried: str | None = None
        times = 0  # in a row that `tried` was refused
        try:
            while True:
                entry, data = await self._read()
                version = self._version_of(entry)
                if refused is not None and version == tried and times == SAME_VERSION:
                    raise refused  # nobody else changed the file
                new = await self._new_bytes(version, data)
                if entry is not None and new == data:
                    return entry
                if lease is None:
                    waiter.waited = False
                    lease = await waiter.lock(self._driver, self._path)
                    if waiter.waited:
                        continue  # the writer who had the lock has most likely changed the file
                try:
                    return await self._publish(lease, entry, new)
                except (Conflict, AlreadyExists) as error:
                    if waiter.left <= 0:
                        raise waiter.too_late(self._path) from error
                    self._seen = None
                    times = times + 1 if version == tried else 1
                    refused, tried = (None, None) if lease.lost else (error, version)
                if lease.lost:
                    lost, lease = lease, None
                    await give_back(lost)
                await waiter.pause()
        finally:
            if lease is not None:
                await give_back(lease)

    async def _read(self) -> tuple[Entry | None, bytes]:
        """Return the file and its bytes; `None` and the bytes of `create` if it is missing."""
        try:
            stream = await self._driver.read(self._path)
        except NotFound:
            if self._create is None:
                raise
            return None, self._create
        try:
            return stream.entry, await drain(stream, 0, None)
        finally:
            await finish(stream.aclose())

    def _version_of(self, entry: Entry | None) -> str:
        version = ABSENT if entry is None else entry.version
        if version is None:
            raise Unsupported.of(self._path, f"{self._driver} does not know the version of this file")
        return version

    async def _new_bytes(self, version: str, data: bytes) -> bytes:
        """Return what `change` makes of this version. It is not called again for the version of the last round."""
        if version != self._seen:
            self._new = await self._changed(data)
            self._seen = version
        return self._new

    async def _changed(self, data: bytes) -> bytes:
        old = data if self._form is None else data.decode(*self._form)
        new = self._change(old)
        if inspect.isawaitable(new):
            new = await new
        if new is old:
            return data
        encoded = self._encoded(new, "what change returns")
        return data if self._form is not None and new == old else encoded

    def _encoded(self, content: Any, what: str) -> bytes:
        if self._form is None:
            try:
                return bytes(memoryview(content))
            except TypeError:
                reason = f"{what} must be bytes, not {type(content).__name__}; for text, give encoding="
                raise TypeError(reason) from None
        if not isinstance(content, str):
            raise TypeError(f"{what} must be str, as an encoding was given, not {type(content).__name__}")
        return content.encode(*self._form)

    async def _publish(self, lease: Lease, entry: Entry | None, new: bytes) -> Entry:
        driver, path = self._driver, self._path
        match = ABSENT if entry is None else entry.version
        metadata = None if entry is None else entry.kept(driver.capabilities)
        session = await driver.begin(path, lease, match=match, metadata=metadata)
        return await pour(BytesStream(Entry(path, len(new)), new), session, driver.part_size, lease)
