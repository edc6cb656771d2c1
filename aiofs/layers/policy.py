"""Layers that refuse operations, files that are too large, and names."""

from __future__ import annotations

import errno
import operator
import re
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aiofs.driver import Capabilities, Layer, has, verbs_of
from aiofs.errors import AccessDenied, TooLarge
from aiofs.layers.forward import ForwardedSession, power_of
from aiofs.powers import ChecksUrls, KeepsHistory, Moves, Presigns, Snapshots, Sweeps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from aiofs.driver import Entry, Lease, Part, Power, ReadStream, WriteSession

Verb = Literal["read", "list", "write", "remove"]
_VERBS = frozenset({"read", "list", "write", "remove"})
_NEEDED: Mapping[str, Verb] = {"stat": "read", "read": "read", "list": "list", "begin": "write", "delete": "remove"}
"""What must be allowed for each verb of a driver. `Allow.lock` checks by itself."""


class Allow(Layer):
    """Allows some of "read", "list", "write" and "remove", and refuses the others before it calls the base.

    :raises ValueError: for any other verb.
    """

    reason: ClassVar[str] = "this file system does not allow that"
    code: ClassVar[int] = errno.EACCES

    def __init__(self, *verbs: Verb) -> None:
        if not _VERBS.issuperset(verbs):
            raise ValueError(f"verbs {verbs!r}: use some of {sorted(_VERBS)}")
        self._verbs = frozenset(verbs)

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, writable=capabilities.writable and {"write", "remove"} <= self._verbs)

    async def stat(self, path: str) -> Entry:
        """Describe the file; "read" must be allowed."""
        self._need("read", path)
        return await super().stat(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        self._need("read", path)
        return await super().read(path, start, stop, match=match)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        self._need("write", path)
        return await super().begin(path, lease, match=match, metadata=metadata)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session; "write" must be allowed."""
        self._need("write", token.get("path"))
        return await super().resume(token)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        self._need("remove", *paths[:1])
        await super().delete(paths, leases=leases, match=match, missing_ok=missing_ok)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        self._need("list")
        async with aclosing(super().list(prefix, after=after, delimiter=delimiter)) as entries:
            async for entry in entries:
                yield entry

    async def lock(self, path: str) -> Lease:
        """Lock the path; "write" or "remove" must be allowed."""
        if "remove" not in self._verbs:
            self._need("write", path)
        return await super().lock(path)

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        self._need("read" if method == "GET" else "write", path)
        return await power_of(self.base, Presigns).url(path, method, expires)

    def check_url(self, url: str, method: str) -> str:
        """Check a signed URL; what it is for must be allowed. The error does not name the file."""
        name = power_of(self.base, ChecksUrls).check_url(url, method)
        self._need("read" if method == "GET" else "write")
        return name

    async def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the versions of the file; "read" must be allowed."""
        self._need("read", path)
        async with aclosing(power_of(self.base, KeepsHistory).history(path)) as entries:
            async for entry in entries:
                yield entry

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        self._need("read", path)
        return await power_of(self.base, KeepsHistory).read_version(path, version_id, start, stop)

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        self._need("write", path)
        return await power_of(self.base, KeepsHistory).restore_version(path, version_id, lease)

    def offers(self, power: type[Power]) -> Power | None:
        """Return the driver that has the power, if all the verbs that it needs are allowed."""
        offered = self.base.offers(power)
        if offered is not None and has(self, power):  # its methods check by themselves
            return self
        needed = {_NEEDED[verb] for verb in verbs_of(power) if verb in _NEEDED}
        return offered if needed <= self._verbs else None

    def _need(self, verb: Verb, path: str | None = None) -> None:
        if verb not in self._verbs:
            raise AccessDenied(self.code, self.reason, path)


class ReadOnly(Allow):
    """Refuses every write with `AccessDenied` (EROFS) before it calls the base."""

    reason = "this file system is read-only"
    code: ClassVar[int] = errno.EROFS

    def __init__(self) -> None:
        super().__init__("read", "list")


class WriteOnly(Allow):
    """Allows only writes: files can be neither read, nor listed, nor removed, as in a letter box."""

    reason = "this file system is write-only"

    def __init__(self) -> None:
        super().__init__("write")


class Limit(Layer):
    """Refuses a file of more than `size` bytes with `TooLarge` while it is written; nothing of it is published.

    Copies are checked too, so their bytes come through this process even if the store could copy by itself.
    """

    forwarded: ClassVar[tuple[type, ...]] = (
        Moves,
        KeepsHistory,
        Snapshots,
    )  # their bytes were checked when they were written

    def __init__(self, size: int) -> None:
        if operator.index(size) < 0:
            raise ValueError(f"size must be 0 or more, not {size}")
        self._size = size

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that parts cannot be changed later: they were counted when they were written."""
        return replace(capabilities, rewrite=False)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        session = await super().begin(path, lease, match=match, metadata=metadata)
        return _LimitedSession(session, path, self._size)


class _LimitedSession(ForwardedSession):
    def __init__(self, base: WriteSession, path: str, size: int) -> None:
        super().__init__(base)
        self._path = path
        self._limit = self._left = size

    async def write(self, part: Part) -> None:
        """Write the next part.

        :raises TooLarge: if the file becomes too large.
        """
        self._left -= len(part)
        if self._left < 0:
            raise TooLarge.of(self._path, f"the file is larger than the {self._limit} bytes allowed here")
        await super().write(part)


class Matching(Layer):
    """Holds only files whose whole name matches a regular expression, or for which a function returns true.

    Other names raise `ValueError` before anything happens, and are not listed.
    """

    forwarded: ClassVar[tuple[type, ...]] = (Sweeps,)

    def __init__(self, names: str | re.Pattern[str] | Callable[[str], bool]) -> None:
        self._names = names
        self._matcher = names if callable(names) else re.compile(names)

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a name that does not match, or that the base refuses."""
        if not self._matches(path):
            raise ValueError(f"path {path!r} does not match {self._names!r}, as all names of this file system must")
        super().check_name(path)

    def _matches(self, path: str) -> bool:
        matcher = self._matcher
        return matcher.fullmatch(path) is not None if isinstance(matcher, re.Pattern) else bool(matcher(path))

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """List the files that match. A listing of one level also shows all folders."""
        async with aclosing(super().list(prefix, after=after, delimiter=delimiter)) as entries:
            async for entry in entries:
                if entry.is_folder or self._matches(entry.path):
                    yield entry
