"""Powers: what a store can do beyond the six verbs of `aiofs.driver`. A store without any of them works, too.

A power is a small protocol. File systems and transactions ask a driver for it with `Driver.offers`, and a session with
`isinstance`. Without it they do the same at more cost, or refuse what only the store could do. First come the powers of
drivers, then those of sessions, then those that only transactions ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, runtime_checkable

from aiofs.driver import amounts_to

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from aiofs.driver import Driver, Entry, Lease, Part, PartialSession, ReadStream, WriteSession

Level = tuple[str, list[str], list[str]]
"""A folder, and the names of the folders and of the files in it."""


@amounts_to("read", "begin")
@runtime_checkable
class Copies(Protocol):
    """The store copies by itself."""

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Make `target` (locked by `lease`; `match` is about it) the same as `source` in one atomic step."""
        ...


@amounts_to("begin", "delete")
@runtime_checkable
class Moves(Protocol):
    """The store renames by itself."""

    async def move(self, source: str, target: str, leases: tuple[Lease, Lease]) -> Entry:
        """Give `source` the name `target`, in one atomic step, under leases of both."""
        ...


@amounts_to("delete")
@runtime_checkable
class ChecksRemoval(Protocol):
    """The store can find out whether a file may be removed, before a move copies it or a transaction continues."""

    async def check_may_remove(self, path: str) -> None:
        """Raise `AccessDenied`, naming the permission, if the file may not be removed; harmless if there is none.

        :raises Unsupported: if this is something that only `delete` removes, like a link.
        """
        ...


@amounts_to("list")
@runtime_checkable
class Walks(Protocol):
    """The store has folders, and walking them takes less than listing each of them."""

    def walk(self, folder: str = "") -> AsyncGenerator[Level]:
        """Yield `(folder, folders in it, files in it)` from `folder` downwards, without the package's own files.

        A folder without any file below it is left out. The caller may remove folders from a list: they are not entered.
        """
        ...


@amounts_to("read", "begin")
@runtime_checkable
class Presigns(Protocol):
    """The store makes URLs with which anybody can read or write one file for some time."""

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        """Return a URL that is valid for `expires` seconds."""
        ...


@amounts_to("read", "begin")
@runtime_checkable
class ChecksUrls(Protocol):
    """A program of the user's serves the URLs that `Presigns` makes, and this tells it whether one is good."""

    def check_url(self, url: str, method: str) -> str:
        """Return the name of the file that the URL is for. Does no I/O.

        :raises AccessDenied: if it is not good for this method now; the error has no name of a file.
        """
        ...


@amounts_to("read", "begin")
@runtime_checkable
class KeepsHistory(Protocol):
    """The store keeps old versions of a file, under ids of its own."""

    def history(self, path: str) -> AsyncGenerator[Entry]:
        """Yield the versions of the file that can be read, the newest first; each entry has its `version_id`."""
        ...

    async def read_version(self, path: str, version_id: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open an old version for reading.

        :raises NotFound: if there is no such version.
        """
        ...

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        """Make the file, locked by `lease`, again what that version was, in one atomic step.

        :raises NotFound: if there is no such version.
        """
        ...


@amounts_to("read")
@runtime_checkable
class HasOrigin(Protocol):
    """Each file is a file of a store, with the same bytes, so another store may be able to copy it by itself."""

    def origin(self, path: str) -> tuple[Driver, str]:
        """Return the driver of the store, and the name that the file has there. No I/O."""
        ...


@amounts_to("begin")
@runtime_checkable
class CopiesFrom(Protocol):
    """The store copies by itself from other stores of its kind: from another folder, bucket or container."""

    def can_copy_from(self, origin: Driver) -> bool:
        """Whether the store reaches the files of that driver (of `HasOrigin`). No I/O."""
        ...

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Make `target` (locked by `lease`; `match` is about it) the same as a file of `origin`, in one atomic step.

        `source` is what `origin.stat` returned.

        :raises Conflict: if the source is another version by now.
        """
        ...


@amounts_to("begin")
@runtime_checkable
class KeepsPartial(Protocol):
    """The store can keep a write unfinished, for another process to continue. It keeps no lock with it.

    What was kept is a `Leftover` that `stays` until nobody has continued it for a number of days.
    """

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin new bytes for the path, under a lease that `lock` gave. `match` and `metadata` are as for `begin`."""
        ...

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue a write under a new lease, at the end of what was kept, with the `match` that it began with.

        :raises ValueError: if the token is of another path or kind of store.
        :raises NotFound: if there is no such write.
        :raises Conflict: if somebody wrote the file since, and what was kept is gone because of that.
        """
        ...


@amounts_to()
@runtime_checkable
class Joins(Protocol):
    """The file system is part of a transaction, which publishes what is written here together with all its changes."""

    @property
    def unit(self) -> object:
        """The transaction."""
        ...


@amounts_to("stat", "read", "begin", "delete", "list", "lock")
@runtime_checkable
class HasAddress(Protocol):
    """The store, as it is set up, has a URL."""

    def address(self, folder: str) -> str:
        """Return the URL with which `connect` makes the store, or a folder of it, elsewhere. It has no secrets.

        :raises Unsupported: if there is none: a client was lent, or a setting is in no URL.
        """
        ...


@amounts_to("stat", "read", "begin", "delete", "list", "lock")
@runtime_checkable
class HasLocalPaths(Protocol):
    """The files are local files, as they are: other programs can open them."""

    def local_path(self, path: str) -> str:
        """Return the local path of a file."""
        ...


class ServerFacts(TypedDict, total=False):
    """What a store finds out about its server, for `aiofs.ProbeReport`, which says what each of these means."""

    durable: bool | None
    ordered: bool | None
    keeps_versions: bool | None
    advice: Sequence[str]
    """What to set, and what to beware of: whole sentences, without the last stop."""


@amounts_to("stat", "read", "begin", "delete", "list", "lock")
@runtime_checkable
class Probes(Protocol):
    """The store can find out what its server does where the verbs do not show it."""

    async def probe(self, removed: Sequence[str]) -> ServerFacts:
        """Return what the server does. Also remove old versions of the files `removed`, which were removed before."""
        ...


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something staged that no file shows: an unpublished write, a lock, an upload."""

    path: str
    kind: str
    """What it is, in the store's words: staging file, multipart upload, lock ..."""
    modified: datetime | None
    holder: str | None
    live: bool
    """Whether its owner still holds it."""
    token: str
    """How the store finds it again."""
    stays: str = ""
    """Why it is only reported, and `sweep` does not remove it, where that is so."""
    advice: str = ""
    """What the user can do about it, with details that `kind` has no room for."""


@amounts_to("read")
@runtime_checkable
class ReadsReplicas(Protocol):
    """The store has a replica, which may be behind. Only mode r and `read_bytes` read from it."""

    async def read_replica(self, path: str, start: int = 0, stop: int | None = None) -> ReadStream:
        """Open the file for reading from the replica, or from the store if the replica does not have the file."""
        ...


@amounts_to("list", "delete")
@runtime_checkable
class Sweeps(Protocol):
    """The store can say what unfinished writers left behind, and remove it."""

    def leftovers(self, prefix: str = "") -> AsyncIterator[Leftover]:
        """Yield all that is staged for paths that begin with `prefix`.

        A store that cannot tell for which path something is staged yields all that is in the folder of the prefix.
        """
        ...

    async def sweep(self, leftover: Leftover) -> bool:
        """Remove it unless it is live; return whether it is gone."""
        ...


@runtime_checkable
class RewritesParts(Protocol):
    """A session whose parts can still be changed after they were handed over."""

    async def rewrite(self, offset: int, data: Part) -> None:
        """Overwrite bytes that were handed over; `offset + len(data)` does not pass their end."""
        ...

    async def resize(self, size: int) -> None:
        """Forget what was handed over from `size` on."""
        ...


@runtime_checkable
class CopiesRanges(Protocol):
    """A session that can copy bytes from the version that it replaces (its `match`), within the store."""

    async def copy_range(self, start: int, stop: int) -> None:
        """Take bytes `start` to `stop` of the replaced version as the next ones.

        Comes where a part begins; `stop` is a multiple of `Driver.part_size` behind `start`, or the end of the file.
        """
        ...


@runtime_checkable
class KeepsBase(Protocol):
    """A session that can add to the end of the version that it replaces (its `match`), without sending that again."""

    async def keep_base(self) -> None:
        """Begin with all bytes of the replaced version. Comes before anything is written."""
        ...


@amounts_to("delete")
@runtime_checkable
class Removes(Protocol):
    """A removal can be prepared, as new bytes can."""

    async def begin_removal(self, path: str, lease: Lease, *, match: str) -> WriteSession:
        """Begin to remove version `match` of the file: `commit` removes it, and does no harm if it is gone already.

        What its `prepare` returns `Driver.resume` takes, like any other token.
        """
        ...


@amounts_to("read", "begin")
@runtime_checkable
class Snapshots(Protocol):
    """The store can keep a file as it is now, and put it back, without sending the bytes to the client.

    The path and a `tag`, which is used once, find the snapshot: nothing else has to be remembered. The file of a
    snapshot has a reserved name.
    """

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file as it is now. If something is kept under this tag, it stays. A missing file is not kept."""
        ...

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open the snapshot for reading.

        :raises NotFound: if nothing is kept.
        """
        ...

    async def restore(self, path: str, tag: str, lease: Lease, *, match: str) -> Entry:
        """Make the file, locked by `lease` and still at version `match`, what was kept; the snapshot may be gone then.

        :raises NotFound: if nothing is kept.
        :raises Conflict: if the file is not at this version.
        :raises AlreadyExists: if `match` is `ABSENT` and there is a file.
        """
        ...

    async def drop(self, path: str, tag: str) -> None:
        """Remove the snapshot, if there is one."""
        ...


@amounts_to("begin")
@runtime_checkable
class Appends(Protocol):
    """The store can add to the end of a file in place, at the cost of little more than the bytes: for journals."""

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        """Add `data` to the file, and make the file if it is missing. With `durable` it is on the disk on return.

        There is no lock, and a crash may leave a part of `data` at the end: the caller must handle both.
        """
        ...


@amounts_to("lock")
@runtime_checkable
class Parks(Protocol):
    """A lock takes something scarce, such as an open file. It can be parked: it stays, and takes nothing.

    What is parked keeps all writers out like a prepared write, also when its process is dead, and is aborted like one.
    """

    @property
    def most_locks(self) -> int:
        """How many locks one transaction may hold at a time."""
        ...

    async def park(self, path: str, lease: Lease) -> None:
        """Give back what the lock takes, and keep the lock."""
        ...

    async def unpark(self, path: str, fence: str) -> Lease | None:
        """Take back the lock that had this fence, as it was before; return `None` if it is not there."""
        ...


@amounts_to("lock")
@runtime_checkable
class CopiesPermissions(Protocol):
    """Files have permissions, and a copy must not be readable by users who cannot read its source."""

    async def copy_permissions(self, path: str, lease: Lease, source: str) -> None:
        """Give the new file that was begun for the path the permissions of `source`, before and after it is published.

        Comes before any bytes. The lease may have another fence afterwards.

        :raises NotFound: if there is no such source.
        """
        ...


@amounts_to("lock")
@runtime_checkable
class HasOwners(Protocol):
    """Files have owners, and another user than the writer may publish new bytes that wait in a journal."""

    async def ownership(self, path: str, like: str | None = None) -> str | None:
        """Return the owner and the permissions of the file if it were made now, or copied from `like`.

        `begin` takes this text in its metadata, under `aiofs.properties.OWNERSHIP`. `None`: the store needs none.
        """
        ...


@amounts_to("begin", "delete")
@runtime_checkable
class Notes(Protocol):
    """The store can create or remove a small file with one request: for journals, whose names nobody else writes.

    A driver may offer it only if a lease stays held until it is released, also after a session under it was committed.
    """

    async def note(self, path: str, data: bytes) -> None:
        """Create the file, without a lock.

        :raises AlreadyExists: if it is there.
        """
        ...

    async def erase(self, paths: Sequence[str]) -> None:
        """Remove such files, without looking for locks. Harmless where they are gone."""
        ...
