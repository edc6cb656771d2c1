"""ReadOnly: the base, where nothing can be changed."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from aiofs.driver import Capabilities, Layer, Presigns
from aiofs.errors import AccessDenied, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiofs.driver import Lease, Power, WriteSession


class ReadOnly(Layer):
    """Refuses with `AccessDenied` (EROFS) whatever would write, before the base hears of it."""

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Declare that nothing can be written."""
        return replace(capabilities, writable=False)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Refuse."""
        _refuse(path, lease, match, metadata)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Refuse."""
        _refuse(token.get("path"))

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Refuse."""
        _refuse(*paths[:1], leases, match, missing_ok)

    async def lock(self, path: str) -> Lease:
        """Refuse: only writers ask."""
        _refuse(path)

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        """Have the store give a URL for reading."""
        presigns = self.base.offers(Presigns)
        if method != "GET":
            _refuse(path)
        if presigns is None:
            raise Unsupported.of(path, f"{self.base} has no presigned URLs")
        return await presigns.url(path, method, expires)

    def offers(self, power: type[Power]) -> Power | None:
        """Offer nothing but URLs, where the base has them."""
        return super().offers(power) if self.base.offers(power) is not None else None


def _refuse(path: str | None = None, *_: object) -> NoReturn:
    raise AccessDenied(errno.EROFS, "this file system is read-only", path)
