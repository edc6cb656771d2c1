"""PartialWriter: a file that is open for writing, and whose checkpoints survive the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.driver import ABSENT
from aiofs.errors import AlreadyExists, Conflict, NotFound, Spoiled, Unsupported
from aiofs.files.handle import in_turn
from aiofs.files.writing import Writer
from aiofs.kit import check_lease, check_match
from aiofs.lifetimes import finish
from aiofs.partials import Checkpoint, PartialToken, partial_outdated
from aiofs.powers import KeepsPartial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.driver import Driver, Lease, PartialSession
    from aiofs.modes import Mode


class PartialWriter(Writer):
    """A file opened with `partial=`. An exception in its block keeps what `checkpoint` made safe; `abort` does not."""

    def __init__(  # noqa: PLR0917 -- what a writer needs, and the base
        self, name: str, mode: str, lease: Lease, session: PartialSession, part_size: int, token: PartialToken
    ) -> None:
        super().__init__(name, mode, lease, session, part_size)
        self._partial = session
        self._begun = token
        self._token = token.text()

    async def continue_from_checkpoint(self) -> None:
        """Set the position behind the bytes of the last checkpoint, and take those that fill no part."""
        self._parts.skip(self._partial.sent)
        await self._parts.append(self._partial.rest)
        self._position = self._parts.size

    @in_turn
    async def checkpoint(self) -> Checkpoint:
        """Make all that was written safe, and return the token with which another process can continue."""
        self._guard()
        if self._failure is not None:
            raise Spoiled.of(self._name, "an earlier write failed, so nothing more can be made safe") from self._failure
        if self._lease is not None:
            check_lease(self._lease, self._name)
        await self._changing(self._parts.keep(self._partial))
        return Checkpoint(self._token, self._parts.size)

    async def leave(self) -> None:
        """Close without publishing. What `checkpoint` made safe stays, and its token continues the write."""
        await super().abort()

    async def abort(self) -> None:
        """Close without publishing, and remove what `checkpoint` made safe."""
        self._partial.kept = False
        await super().abort()

    async def _publish(self) -> None:
        try:
            await super()._publish()
        except AlreadyExists as error:
            if self._begun.exclusive:
                raise
            raise Conflict.of(
                self._name, "this file was made after the partial write began; nothing was overwritten"
            ) from error

    async def _release(self) -> None:
        session = self._session
        try:
            if session is not None and self._partial.kept:
                self._session = None
                await session.leave()
        finally:
            await super()._release()


def keeper_of_partials(driver: Driver, path: str) -> KeepsPartial:
    """Return the store's power to begin and continue partial writes.

    :raises Unsupported: if the store, or a layer over it, cannot.
    """
    keeps = driver.offers(KeepsPartial)
    if keeps is None:
        raise Unsupported.of(path, f"partial= is refused: {driver} cannot keep a partial write for another process")
    return keeps


async def begin_partial(  # noqa: PLR0917 -- what `open` was given
    driver: Driver, path: str, mode: Mode, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
) -> PartialWriter:
    """Begin a write that another process can continue. It replaces version `match`, or the one that is there now.

    :raises AlreadyExists: if `match` is `ABSENT`, and there is a file.
    :raises Conflict: if the file is not the version `match`.
    """
    version = await _version_of(driver, path)
    check_match(path, match, version)
    base = version or ABSENT
    session = await keeper_of_partials(driver, path).begin_partial(path, lease, match=base, metadata=metadata)
    token = PartialToken(base, match == ABSENT, session.token)
    return PartialWriter(path, mode.spelled, lease, session, driver.part_size, token)


async def continue_partial(driver: Driver, path: str, mode: Mode, lease: Lease, token: PartialToken) -> PartialWriter:
    """Continue a write behind its last checkpoint.

    :raises NotFound: if there is no write with this token.
    :raises ValueError: if the token is of another path or store.
    :raises Conflict: if the file was changed since the write began.
    """
    session = await keeper_of_partials(driver, path).continue_partial(path, lease, token.where, match=token.match)
    try:
        if (await _version_of(driver, path) or ABSENT) != token.match:
            raise partial_outdated(path)
    except BaseException:
        await finish(session.leave())
        raise
    writer = PartialWriter(path, mode.spelled, lease, session, driver.part_size, token)
    try:
        await writer.continue_from_checkpoint()
    except BaseException:
        await finish(writer.leave())
        raise
    return writer


async def _version_of(driver: Driver, path: str) -> str | None:
    try:
        return (await driver.stat(path)).version
    except NotFound:
        return None
