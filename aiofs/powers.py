"""Powers that transactions ask a driver for, beside those in driver.py. Without one, they do the same at more cost.

They are asked for with `Driver.offers`, like the others. A driver that has them makes transactions cheaper or lets
them promise more; none of them is needed to be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aiofs.driver import amounts_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.driver import Entry, Lease, ReadStream, WriteSession


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
    """The store can keep what a file is now, and put it back, without the client seeing the bytes.

    A snapshot is found by the path and a `tag` that is used once: nothing else has to be remembered. Its file has a
    reserved name.
    """

    async def keep(self, path: str, tag: str) -> None:
        """Keep the file as it is now. What is kept under this tag already stays; a missing file is not kept."""
        ...

    async def read_image(self, path: str, tag: str) -> ReadStream:
        """Open what was kept for reading.

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
        """Forget the snapshot. Harmless where there is none."""
        ...


@amounts_to("begin")
@runtime_checkable
class Appends(Protocol):
    """The store can add to the end of a file in place, at the cost of little more than the bytes: for journals."""

    async def append(self, path: str, data: bytes, *, durable: bool) -> None:
        """Add `data` to the file, made with its folders if it is not there; on the disk before returning if `durable`.

        There is no lock, and a crash may leave a part of `data` at the end: the caller must handle both.
        """
        ...


@amounts_to("lock")
@runtime_checkable
class Parks(Protocol):
    """To hold a lock takes something of which there is not much, like an open file; but a lock can be left, and kept.

    What is parked keeps all writers out like a prepared write, also when its process is dead, and is aborted like one.
    """

    @property
    def most_locks(self) -> int:
        """How many locks one transaction may hold at a time."""
        ...

    async def park(self, path: str, lease: Lease) -> None:
        """Leave the lock, which stays."""
        ...

    async def unpark(self, path: str, fence: str) -> Lease | None:
        """Take back the lock that had this fence, as if it had never been left; `None` if it is not there."""
        ...


@amounts_to("lock")
@runtime_checkable
class Likens(Protocol):
    """Files have permissions of their own, and a copy must not let anybody in whom its source keeps out."""

    async def liken(self, path: str, lease: Lease, source: str) -> None:
        """Give what was begun for the path, and what is published of it, the permissions that `source` has.

        Comes before any bytes. The lease may have another fence afterwards.

        :raises NotFound: if there is no such source.
        """
        ...


@amounts_to("lock")
@runtime_checkable
class Permits(Protocol):
    """Files have owners, and another user than the writer may publish new bytes that wait in a journal."""

    async def permissions(self, path: str, like: str | None = None) -> str | None:
        """Return the owner and the permissions of the file if it were made now, or copied from `like`.

        `begin` takes this text in its metadata, under `aiofs.properties.OWNERSHIP`. `None`: the store needs none.
        """
        ...


@amounts_to("begin", "delete")
@runtime_checkable
class Notes(Protocol):
    """The store can create and remove small files of names that nobody else writes, one request each: for journals.

    It is to be offered only where a lease is held until it is given back, also after a session under it was committed.
    """

    async def note(self, path: str, data: bytes) -> None:
        """Create the file, without a lock.

        :raises AlreadyExists: if it is there.
        """
        ...

    async def erase(self, paths: Sequence[str]) -> None:
        """Remove such files, without looking for locks. Harmless where they are gone."""
        ...
