"""OSDriver: local files below one folder, each call in a worker thread."""

from __future__ import annotations

import asyncio
import copy
import os
import stat
import sys
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple

from aiofs import clock
from aiofs.backends.osfiles import locks, staging, sweeping
from aiofs.backends.osfiles.attributes import HAS_OWNERS
from aiofs.backends.osfiles.listing import levels_below, list_files
from aiofs.backends.osfiles.names import Root, parents_of
from aiofs.backends.osfiles.partial import STORE, OSPartial, find_file, make_file
from aiofs.backends.osfiles.places import EXISTING, check_regular, entry_of, errors_about, unlink, version_of
from aiofs.backends.osfiles.reading import OSStream, open_stream
from aiofs.backends.osfiles.writing import OSRemoval, OSSession, Stage, copy_bytes
from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, PartialSession, ReadStream, WriteSession
from aiofs.errors import NotAFolder, NotFound, Unsupported
from aiofs.kit import EndedSession, check_match, store_url
from aiofs.lifetimes import finish
from aiofs.localio import budget_of, network_of, open_below, pread_now
from aiofs.names import is_in_journal, is_reserved, lock_of_path
from aiofs.partials import DAYS, check_days, id_in
from aiofs.properties import PERMISSIONS, check_permissions, permissions_of
from aiofs.threads import hop
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping, Sequence

    from aiofs.powers import Leftover, Level, ServerFacts

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PAGE = 500
LONGEST_SEGMENT = 255
_warned: set[str] = set()
"""The roots for which the warning about locks on a network was given."""
_WINDOWS_FORBIDS = frozenset('\\:*?"<>|')


class OSDriver(Driver):
    """Local files. A staging file beside the file is its lock, among all processes, and is renamed to publish it."""

    capabilities: Capabilities = Capabilities(
        locks="shared",
        fences=True,
        resume=True,
        holds=True,
        pinned=True,
        rewrite=True,
        properties=frozenset({"permissions"} if HAS_OWNERS else ()),
        partial=True,
        file_and_folder=False,
        certain=True,
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durable: bool = True,
        locks: Literal["host"] | None = None,
        permissions: int | None = None,
        keep_partial: float = DAYS,
    ) -> None:
        if permissions is not None:
            check_permissions(permissions)
            if not HAS_OWNERS:
                raise Unsupported.of(None, "this system has no permission bits: leave out permissions=")
        self._root = Root(root)
        self._days = keep_partial
        self._kept_for = check_days(keep_partial)
        self._durable = durable
        self._new_permissions = permissions
        self._network = network_of(self._root.given) if locks is None else None
        if locks == "host" or self._network is not None:
            # On a network another machine may hold the same lock, so the number may not grow.
            self.capabilities = replace(self.capabilities, locks="host", fences=self._network is None)

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a name that the system cannot hold."""
        for segment in path.split("/"):
            if len(segment.encode()) > LONGEST_SEGMENT:
                raise ValueError(f"path {path!r}: a segment has more than {LONGEST_SEGMENT} bytes")
            if sys.platform == "win32" and (_WINDOWS_FORBIDS & set(segment) or segment[-1] in ". "):
                raise ValueError(f"path {path!r}: Windows cannot hold the segment {segment!r}")

    async def stat(self, path: str) -> Entry:
        """Describe the file."""
        return await hop(self._stat, path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading and read its first bytes: at once if they are in memory, else in one thread hop."""
        root = self._root
        follow = not is_in_journal(path)
        found = open_below(root.known, root.parts_of(path)) if root.known and follow else None
        if found is None:
            return await made_in_worker(OSStream.abandon, self._open, path, start, stop, match)
        budget = budget_of(asyncio.get_running_loop())
        stream = open_stream(path, found[0], start, stop, match, read=partial(pread_now, scratch=budget.scratch))
        try:
            await budget.spend_and_pause()
        except BaseException:
            stream.abandon()
            raise
        return stream

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes in the staging file that is the lease."""
        stage = self._stage_of(lease)
        if metadata is None and self._new_permissions is None:
            await hop(stage.empty)
        else:
            await hop(self._empty, stage, metadata or {})
        return OSSession(stage, match, durable=self._durable)

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin new bytes in a file that stays when the process is killed."""
        identity = clock.token()
        lock = self._stage_of(lease)
        asked = (metadata or {}).get(PERMISSIONS)
        if asked is None and match == ABSENT and self._new_permissions is not None:
            asked = f"{self._new_permissions:o}"
        make = partial(make_file, self._root, path, identity, private=asked is not None)
        session = OSPartial(lock, await made_in_worker(Stage.release_now, make), identity, match, durable=self._durable)
        session.grant(asked)
        return session

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue in the file that another process left."""
        identity = id_in(token, STORE, path)
        lock = self._stage_of(lease)
        file, size = await made_in_worker(_leave_found, find_file, self._root, path, identity)
        session = OSPartial(lock, file, identity, match, durable=self._durable)
        session.grant(token.get(PERMISSIONS))
        session.continue_from(size)
        return session

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared write; one that was published or aborted meanwhile does nothing more."""
        fields = Token(token)
        match = fields.text_or_none("match")
        kind = OSRemoval if fields.truth("removal") else OSSession
        stage = await made_in_worker(_leave_stage, self._take_over, fields.path, token)
        if stage is None:
            return EndedSession(self, fields.path)
        return kind(stage, match, durable=self._durable, owns_stage=True)

    async def begin_removal(self, path: str, lease: Lease, *, match: str) -> WriteSession:
        """Begin to remove the file; the staging file that is the lease keeps other writers out."""
        stage = self._stage_of(lease)
        await hop(self._check_no_link, path)
        await hop(stage.empty)
        return OSRemoval(stage, match, durable=self._durable)

    async def check_may_remove(self, path: str) -> None:
        """Raise `Unsupported` for a link: its lock is that of its target, so the target would be removed instead."""
        await hop(self._check_no_link, path)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files, and the folders that have no file left."""
        await hop(self._delete, paths, {lease.path for lease in leases}, match, missing_ok)
        for lease in leases:
            self._prune_with(lease)

    async def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the files; the names in a folder are read together when the listing reaches it."""
        entries = list_files(self._root, prefix, after, one_level=delimiter is not None)
        try:
            while page := await hop(_page, entries):
                for entry in page:
                    yield entry
        finally:
            await hop(entries.close)

    async def walk(self, folder: str = "") -> AsyncGenerator[Level]:
        """Yield each folder that has files, from the top down, with the names in it."""
        levels = levels_below(self._root, folder)
        try:
            while (level := await hop(next, levels, None)) is not None:
                yield level
        finally:
            await hop(levels.close)

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path."""
        return await made_in_worker(Stage.release_now, self._lock, path)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Copy within the kernel."""
        return await hop(self._copy, self, source, None, target, self._stage_of(lease), match)

    def origin(self, path: str) -> tuple[Driver, str]:
        return self, path

    def can_copy_from(self, origin: Driver) -> bool:
        """Whether it is another folder of local files."""
        return isinstance(origin, OSDriver)

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Copy from another folder within the kernel."""
        stage = self._stage_of(lease)
        return await hop(self._copy, origin, source.path, source.version, target, stage, match)

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Rename."""
        entry = await hop(self._move, source, target, self._stage_of(leases[1]))
        self._prune_with(leases[0])
        return entry

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file under a second name."""
        await hop(self._about, path, partial(staging.keep_image, self._root, path, tag, durable=self._durable))

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the second name for reading."""
        return await made_in_worker(OSStream.abandon, self._open_image, path, tag)

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Rename the before-image to the file's name."""
        work = partial(staging.restore_image, self._stage_of(lease), tag, match, durable=self._durable)
        return await hop(self._about, path, work)

    async def drop(self, path: str, tag: str) -> None:
        """Remove the second name."""
        await hop(self._about, path, partial(staging.drop_image, self._root, path, tag))

    @property
    def most_locks(self) -> int:
        """How many staging files a transaction may hold open."""
        return locks.most_locks()

    async def park(self, path: str, lease: Lease) -> None:
        """Leave the staging file under the name of a prepared write."""
        await hop(self._about, path, partial(staging.park, self._stage_of(lease)))

    async def unpark(self, path: str, fence: str) -> Lease | None:
        """Take the staging file back under its own name."""
        return await made_in_worker(_leave_stage, self._about, path, partial(staging.unpark, self._root, path, fence))

    async def copy_permissions(self, path: str, lease: Lease, source: str) -> None:
        """Give the staging file that is the lease, and the published file, the permissions of `source`."""
        await hop(self._liken, source, self._stage_of(lease))

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        """Write at the end of the file."""
        work = partial(staging.append, self._root, path, data, durable=durable and self._durable)
        await hop(self._about, path, work)

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        """Yield staging files, prepared and partial writes, before-images. Their names do not say of which file."""
        found = sweeping.leftovers(self._root, prefix, self._kept_for)
        while page := await hop(_page, found):
            for leftover in page:
                yield leftover

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove one unless somebody holds it."""
        return await hop(sweeping.sweep, self._root, leftover.token, self._kept_for)

    def address(self, folder: str) -> str:
        """Return the `file://` URL. A relative root is made absolute."""
        settings = self._settings()
        if self._network is None and self.capabilities.locks == "host":
            settings["locks"] = "host"
        if self._days != DAYS:
            settings["keep_partial"] = self._days
        return store_url("file", "", PurePath(self._root.path, folder).as_posix(), settings)

    def local_path(self, path: str) -> str:
        """Return the path below the root as it was given: relative ones are as relative as in pathlib."""
        return str(PurePath(self._root.given, path))

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the local path; all local files are in one store."""
        return "file", PurePath(self._root.given, path).as_posix()

    async def probe(self, removed: Sequence[str]) -> ServerFacts:
        """Return what the disk is set to do; removed files leave nothing."""
        del removed
        advice = [] if self._network is None else [_advice(self._root.path, self._network)]
        return {"durable": self._durable, "ordered": True, "keeps_versions": False, "advice": advice}

    def identity(self, path: str) -> Hashable:
        """Return the path, also of files whose locks are kept elsewhere."""
        return OSDriver.locate(self, path)

    def narrowed(self, depth: int) -> Driver:
        """Return a driver of these files where no link leads a name out of the folder of its first `depth` segments."""
        if not depth:
            return self
        driver = copy.copy(self)
        driver._root = self._root.narrowed(depth)  # noqa: SLF001 -- of the same class
        return driver

    def __str__(self) -> str:
        return f"files below {self._root.given}"

    def _stage_of(self, lease: Lease) -> Stage:
        if not isinstance(lease, Stage):
            raise TypeError(f"{lease!r} is not a lease of this driver")
        return lease

    def _settings(self) -> dict[str, object]:
        """Return the settings of the URL, except where the locks are."""
        settings: dict[str, object] = {} if self._durable else {"durable": False}
        return settings if self._new_permissions is None else {**settings, "permissions": f"{self._new_permissions:o}"}

    def _empty(self, stage: Stage, metadata: Mapping[str, str]) -> None:
        """Empty the staging file, and give it the permissions that were asked for."""
        stage.empty()
        self._grant(stage, metadata)

    def _grant(self, stage: Stage, metadata: Mapping[str, str]) -> None:
        asked = metadata.get(PERMISSIONS)
        if asked is not None:
            stage.grant(permissions_of(asked))
        elif self._new_permissions is not None and not is_reserved(stage.path):
            stage.grant(self._new_permissions, new_only=True)

    def _lock(self, path: str) -> Stage:
        if self._network is not None:
            _warn_once(self._root.path, self._network)
        with errors_about(path):
            if lock_of_path(path) is None:
                return staging.new_stage(self._root, path)
            return staging.take_named_lock(self._root, path, durable=self._durable, numbered=self.capabilities.fences)

    def _stat(self, path: str) -> Entry:
        with errors_about(path), _missing_below_files(path), self._root.place(path) as place:
            status = place.status()
        if status is None:
            raise NotFound.of(path)
        check_regular(path, status)
        return entry_of(path, status)

    def _open(self, path: str, start: int, stop: int | None, match: str | None) -> OSStream:
        follow = not is_in_journal(path)
        with errors_about(path), _missing_below_files(path), self._root.place(path, follow=follow) as place:
            if not follow and (status := place.status()) is not None:
                check_regular(path, status)
            try:
                fd = os.open(place.leaf, os.O_RDONLY | EXISTING, dir_fd=place.fd)
            except FileNotFoundError:
                raise NotFound.of(path) from None
            return open_stream(path, fd, start, stop, match, read=os.pread)

    def _prune_with(self, lease: Lease) -> None:
        """Make the release of this lock also remove the folders of its removed file, if they are empty then."""
        self._stage_of(lease).place.made = parents_of(lease.path)

    def _open_image(self, path: str, tag: str) -> OSStream:
        with errors_about(path):
            return open_stream(path, staging.open_image(self._root, path, tag), 0, None, None, read=os.pread)

    def _about(self, path: str, work: Callable[[], T]) -> T:
        with errors_about(path):
            return work()

    def _take_over(self, path: str, token: Mapping[str, Any]) -> Stage | None:
        with errors_about(path):
            stage = staging.take_over(self._root, token, growing="stage" not in token)
            if stage is None and self._durable:  # the process that ended it may have died before syncing
                with suppress(NotFound, NotAFolder), self._root.place(path) as place:
                    place.sync_way()
                    place.sync()
            return stage

    def _delete(self, paths: Sequence[str], held: set[str], match: str | None, missing_ok: bool) -> None:
        there = [path for path in paths if self._check_removable(path, held, match, missing_ok)]
        last_of = {path.rpartition("/")[0]: path for path in there}  # each folder is synced once
        for path in there:
            is_last = last_of[path.rpartition("/")[0]] == path
            with errors_about(path), self._root.place(path, follow=False) as place:
                with suppress(FileNotFoundError):  # somebody else removed it in this moment
                    unlink(place)
                if self._durable and is_last:
                    place.sync()
            if is_last:
                self._root.prune(parents_of(path))

    def _check_removable(self, path: str, held: set[str], match: str | None, missing_ok: bool) -> bool:
        """Return whether the file is there; raise if it may not be removed."""
        try:
            with errors_about(path), _missing_below_files(path), self._root.place(path, follow=False) as place:
                staging.check_not_locked(self._root, place, held)
                status = place.status()
                if status is None:
                    raise NotFound.of(path)
                if not stat.S_ISLNK(status.st_mode) and not is_in_journal(path):
                    check_regular(path, status)
                place.check_match(match)
        except NotFound:
            if missing_ok:
                return False
            raise
        return True

    def _check_no_link(self, path: str) -> None:
        with suppress(NotFound, NotAFolder), errors_about(path), self._root.place(path, follow=False) as place:
            status = place.status()
            if status is not None and stat.S_ISLNK(status.st_mode):
                raise Unsupported.of(
                    path,
                    "this is a symbolic link, and no transaction removes or moves one: name the file that it leads to, "
                    "or remove the link with rm outside of the transaction",
                )

    def _copy(  # noqa: PLR0917 -- the source and the target, with what goes with each
        self, origin: Driver, source: str, version: str | None, target: str, stage: Stage, match: str | None
    ) -> Entry:
        """Copy version `version`, or the present one for `None`, of a file of another folder, or of this one.

        :raises Conflict: also if another program changed the bytes of the source in place meanwhile.
        """
        assert isinstance(origin, OSDriver)  # noqa: S101 -- `can_copy_from` looked
        stream = origin._open(source, 0, 0, version)  # noqa: SLF001 -- of the same class
        try:
            with errors_about(target):
                stage.empty()
                stage.copy_permissions(stream.fd)
                copy_bytes(stream.fd, stage.fd, 0, stream.entry.size or 0, 0)
            check_match(source, stream.entry.version, version_of(os.fstat(stream.fd)))
            with errors_about(target):
                stage.seal(durable=self._durable)
                return stage.publish(match, durable=self._durable)
        finally:
            stream.abandon()

    def _liken(self, source: str, stage: Stage) -> None:
        stream = self._open(source, 0, 0, None)
        try:
            stage.copy_permissions(stream.fd)
        finally:
            stream.abandon()

    def _move(self, source: str, target: str, stage: Stage) -> Entry:
        with errors_about(source), self._root.place(source, follow=False) as old:
            status = old.status()
            if status is None:
                raise NotFound.of(source)
            if not is_in_journal(source):
                check_regular(source, status)
            new = stage.place
            if self._durable:
                new.sync_way()  # before moving: a power cut must not take away the folder with the file
            os.replace(old.leaf, new.leaf, src_dir_fd=old.fd, dst_dir_fd=new.fd)
            if status.st_nlink > 1:
                old.drop_other_name(new, status)
            if self._durable:
                new.sync()
                old.sync()
        return entry_of(target, status)


async def made_in_worker(discard: Callable[[T], object], function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Return what `function` makes in a worker; if that is cancelled, give it to `discard` before raising."""
    made: list[T] = []

    def make() -> T:
        made.append(function(*args))
        return made[0]

    try:
        return await hop(make)
    except asyncio.CancelledError:
        for lost in made:
            await finish(hop(discard, lost))
        raise


def _warn_once(root: str, network: str) -> None:
    if root not in _warned:
        _warned.add(root)
        warnings.warn(_advice(root, network), RuntimeWarning, stacklevel=2)


def _advice(root: str, network: str) -> str:
    return (
        f"{root!r} is on {network}: locks hold among the programs of this machine, and other machines may not see "
        'them. Say OSFileSystem(root, locks="host") if only this machine writes there, or give locks=, another '
        "file system that keeps them (a RedisFileSystem, say)"
    )


def _leave_found(found: tuple[Stage, int]) -> None:
    found[0].leave()


def _leave_stage(stage: Stage | None) -> None:
    if stage is not None:
        stage.leave()


def _page(entries: Iterator[T]) -> list[T]:
    return list(islice(entries, PAGE))


@contextmanager
def _missing_below_files(path: str) -> Iterator[None]:
    """Raise `NotFound` where a file is in the place of a folder on the way."""
    try:
        yield
    except NotAFolder as error:
        raise NotFound.of(path) from error
