"""LeasedDriver: local files whose locks another file system keeps, for folders that several machines share.

The staging file is not a lock here: a writer that has the lease removes the staging file of another one and makes its
own. So a writer whose lease was lost notices that before it publishes. No prepared write waits in the folder:
transactions keep the bytes in their journal.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from aiofs.backends.osfiles import locks, staging, sweeping
from aiofs.backends.osfiles.attributes import HAS_OWNERS, Ownership, permissions_of
from aiofs.backends.osfiles.driver import OSDriver, made_in_worker
from aiofs.backends.osfiles.names import LEASED, digest_of, parents_of
from aiofs.backends.osfiles.places import errors_about
from aiofs.backends.osfiles.staging import new_leased_stage
from aiofs.backends.osfiles.writing import OSSession, Stage
from aiofs.driver import Driver, WriteSession
from aiofs.errors import AccessDenied, Conflict, Damaged, Locked, NotAFolder, NotFound, Unsupported
from aiofs.kit import check_lease, is_locked, keeper_url, store_url
from aiofs.lifetimes import finish
from aiofs.locks import LeaseElsewhere
from aiofs.names import lock_of_path, path_of_lock
from aiofs.powers import CopiesPermissions, KeepsPartial, Parks, Removes
from aiofs.properties import OWNERSHIP, PERMISSIONS
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence

    from aiofs.driver import Capabilities, Entry, Lease
    from aiofs.powers import Leftover

T = TypeVar("T")
Power = TypeVar("Power")
_LOCAL_ONLY = (KeepsPartial, CopiesPermissions, Parks, Removes)
"""The powers that need a lock in the folder."""


class LeasedDriver(OSDriver):
    """Local files below one folder, whose locks are those of the driver `keeper`."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        keeper: Driver,
        *,
        durable: bool = True,
        close_keeper: bool = False,
        permissions: int | None = None,
    ) -> None:
        super().__init__(root, durable=durable, locks="host", permissions=permissions)
        self._keeper = keeper
        self._close_keeper = close_keeper
        locks = keeper.capabilities.locks
        self.capabilities: Capabilities = replace(
            self.capabilities, locks=locks, fences=keeper.capabilities.fences, resume=False, holds=False, partial=False
        )

    def address(self, folder: str) -> str:
        """Return the `file://` URL of the root; with a URL of a folder, locks would have other names."""
        if folder:
            raise Unsupported.of(
                None, f"folder {folder!r} of {self} has no URL: with one, its locks would have other names"
            )
        return store_url("file", "", self._root.path, {**self._settings(), "locks": keeper_url(self._keeper)})

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the local path; the store is also known by its root and its keeper, which make the names of locks."""
        return ("file", self._root.given, self._keeper.locate("")), super().locate(path)[1]

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        try:
            return LeaseElsewhere(path, await self._keeper.lock(_lock_of(path)))
        except OSError as error:
            error.filename = path  # the keeper names the lock
            raise

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes in a staging file."""
        metadata = metadata or {}
        ownership = _ownership_of(path, metadata.get(OWNERSHIP))
        stage = await self._stage(path)
        if metadata or self._new_permissions is not None:
            try:
                await hop(self._grant_to, stage, ownership, metadata)
            except BaseException:
                await finish(stage.release())
                raise
        return LeasedSession(stage, lease, match, durable=self._durable)

    async def ownership(self, path: str, like: str | None = None) -> str | None:
        """Return the owner and the permissions of a new file at `path`, or of a copy of the file `like`."""
        return await hop(self._ownership, path, like)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Refuse, as nothing is prepared here."""
        return await Driver.resume(self, token)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files, and the folders that have no file left."""
        _check_held(leases)
        async with AsyncExitStack() as held:
            for path in sorted(set(paths) - {lease.path for lease in leases}):
                held.push_async_callback((await self.lock(path)).release)
            await hop(self._remove_stages, paths)
            await hop(self._delete, paths, set(paths), match, missing_ok)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Copy within the kernel."""
        return await self._staged(lease, lambda stage: self._copy(self, source, None, target, stage, match))

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Copy from another folder within the kernel."""

        def work(stage: Stage) -> Entry:
            return self._copy(origin, source.path, source.version, target, stage, match)

        return await self._staged(lease, work)

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Rename."""
        _check_held(leases)
        await hop(self._remove_stages, [source])
        entry = await self._staged(leases[1], lambda stage: self._move(source, target, stage))
        await hop(self._root.prune, parents_of(source))
        return entry

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Rename the before-image to the file's name."""

        def work(stage: Stage) -> Entry:
            with errors_about(path):
                return staging.restore_image(stage, tag, match, durable=self._durable)

        return await self._staged(lease, work)

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield staging files and before-images. Their names do not say to which file they belong."""
        async for leftover in super().leftovers(prefix):
            if leftover.stays or (name := _lock_beside(leftover.path)) is None:
                yield leftover
            else:
                yield replace(leftover, live=await is_locked(self._keeper.lock(name)), holder=None)

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove one unless somebody has its lock."""
        if (name := _lock_beside(leftover.path)) is None:
            return await super().sweep(leftover)
        try:
            lease = await self._keeper.lock(name)
        except Locked:
            return False
        try:
            return await hop(sweeping.sweep_leased, self._root, leftover.path)
        finally:
            await finish(lease.release())

    def offers(self, power: type[Power]) -> Power | None:
        """Return the driver if it has an optional power, except those that need a lock in the folder."""
        return None if power in _LOCAL_ONLY else super().offers(power)

    async def aclose(self) -> None:
        """Close the driver that keeps the locks, if it is this one's own."""
        if self._close_keeper:
            await self._keeper.aclose()

    def _grant_to(self, stage: Stage, ownership: Ownership | None, metadata: Mapping[str, str]) -> None:
        """Give the staging file the owner of a journal, and the permissions that were asked for, or the journal's."""
        if ownership is not None:
            stage.set_ownership(ownership)
        if ownership is None or PERMISSIONS in metadata:
            self._grant(stage, metadata)

    def _remove_stages(self, paths: Sequence[str]) -> None:
        """Remove the staging files of dead writers; the caller holds the leases of these files."""
        for path in paths:
            with suppress(NotFound, NotAFolder, AccessDenied), errors_about(path), self._root.place(path) as place:
                name = place.beside(LEASED + digest_of(place.leaf))
                status = place.status(name)
                if status is not None:
                    locks.check_is_ours(place, name, status)
                    os.unlink(name, dir_fd=place.fd)

    def _ownership(self, path: str, like: str | None) -> str | None:
        if not HAS_OWNERS:
            return None
        with suppress(NotFound):  # a copy of a file that the transaction itself makes is a new file
            if like is not None:
                stream = self._open(like, 0, 0, None)
                try:
                    owner = os.fstat(stream.fd).st_uid if like == path else os.geteuid()
                    return str(Ownership(owner, permissions_of(stream.fd)))
                finally:
                    stream.abandon()
        with errors_about(path):
            stage = new_leased_stage(self._root, path)
            try:
                new = stage.place.status() is None
                self._grant(stage, {})
                return str(Ownership(os.geteuid(), stage.permissions())) if new else None
            finally:
                stage.release_now()

    async def _stage(self, path: str) -> Stage:
        def make() -> Stage:
            with errors_about(path):
                return new_leased_stage(self._root, path)

        return await made_in_worker(Stage.release_now, make)

    async def _staged(self, lease: Lease, work: Callable[[Stage], T]) -> T:
        """Do the work with a new staging file, and release that."""
        stage = await self._stage(lease.path)
        try:
            _check_held([lease])
            return await hop(work, stage)
        finally:
            await finish(stage.release())


class LeasedSession(OSSession):
    """New bytes in a staging file, which is published only while the lease holds."""

    def __init__(self, stage: Stage, lease: Lease, match: str | None, *, durable: bool) -> None:
        super().__init__(stage, match, durable=durable, owns_stage=True)
        self._lease = lease

    async def prepare(self) -> dict[str, Any]:
        """Refuse, as a lock that another store keeps ends after its process is dead."""
        return await WriteSession.prepare(self)

    async def commit(self) -> Entry:
        """Publish."""
        check_lease(self._lease, self._stage.path)
        return await super().commit()

    def abandon(self) -> None:
        """Remove the staging file."""
        self._stage.abandon()


def _ownership_of(path: str, text: str | None) -> Ownership | None:
    """Return the owner and the permissions that a journal kept for a file.

    :raises Damaged: if the journal has something else there.
    """
    try:
        return None if text is None else Ownership.of(text)
    except ValueError as error:
        raise Damaged.of(path, f"its journal has {text!r} in the place of the file's owner and permissions") from error


def _check_held(leases: Sequence[Lease]) -> None:
    for lease in leases:
        if lease.lost:
            raise Conflict.of(lease.path, "the lock on this file was lost; nothing was changed")


def _lock_of(path: str) -> str:
    """Return the lock's name at the keeper. It is the same on all machines, wherever the folder is mounted."""
    folder, _, leaf = path.rpartition("/")
    name = _name(folder, digest_of(leaf))
    return name if lock_of_path(path) is None else path_of_lock(name)


def _lock_beside(path: str) -> str | None:
    """Return the name, at the keeper, of a staging file's lock; `None` if the path is not such a staging file."""
    folder, _, leaf = path.rpartition("/")
    return _name(folder, leaf.removeprefix(LEASED).partition("-")[0]) if leaf.startswith(LEASED) else None


def _name(folder: str, digest: str) -> str:
    return hashlib.blake2b(f"{folder}/{digest}".encode(), digest_size=20).hexdigest()
