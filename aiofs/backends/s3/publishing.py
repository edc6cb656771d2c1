"""Publishing: the one request that makes new bytes the file, and everything that keeps it from overwriting others.

Every such request carries a condition on the version that it replaces. Where the caller named none, it is the version
seen while the lease was known to hold: a writer that is stopped after that look, loses its lease and wakes up cannot
overwrite what the next holder published, because the store itself compares. Each object also tells which session wrote
it, so that a request whose answer was lost is known to have succeeded, and is never repeated over somebody's work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.s3.errors import UNCLEAR
from aiofs.backends.s3.folders import is_folder
from aiofs.backends.s3.locks import ObjectLease
from aiofs.driver import ABSENT
from aiofs.errors import AlreadyExists, Conflict, IsAFolder, NotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Lease

    Send = Callable[[dict[str, str]], Awaitable[str]]

ROUNDS = 5
"""How often to look again where foreign programs, which know no locks, write the same file meanwhile."""


class Publication:
    """How one session becomes the file: under a lease, in place of `match` (`None`: of whatever is there)."""

    def __init__(self, store: Store, path: str, lease: Lease, match: str | None, writer: str) -> None:
        self._store = store
        self._path = path
        self._lease = lease
        self._match = match
        self._writer = writer

    async def base(self) -> str | None:
        """Return the version to be replaced, as it is now under the lease; `None` where no lock is kept.

        :raises Conflict: if the lease was lost.
        """
        if self._match is not None or self._store.settings.locking == "commit":
            return self._match
        version = _version(await self._store.look(self._path))
        self._check_lease()
        return version

    async def run(self, send: Send, *, size: int, checked: bool) -> str:
        """Have `send` make the request, with the condition it is to carry, and return the new version.

        `size` is how many bytes the file then has. `checked` says that every store which has conditions at all has
        them for this kind of request; where it is false, the version is looked at before as well.

        :raises Conflict: if the lease was lost, or the version to be replaced is not there any more.
        :raises AlreadyExists: if there was to be no file and there is.
        :raises IsAFolder: if there is a folder of that name, and the server can have one of them only.
        """
        traits = await self._store.traits(self._path)
        for left in reversed(range(ROUNDS)):
            expected = await self.base()
            if self._match is not None and not (checked and traits.fault is None):
                await self._check_match()
            self._check_lease()
            try:
                return await _send(send, {} if expected is None else traits.condition(expected), checked=checked)
            except UNCLEAR as error:
                facts = await self._store.look(self._path)
                if facts is not None and facts.writer == self._writer and facts.size == size:
                    return facts.version
                if isinstance(error, Conflict) and facts is None and await is_folder(self._store, self._path):
                    raise IsAFolder.of(self._path, "there is a folder of that name: use another") from error
                if not isinstance(error, Conflict | NotFound) or not left:
                    raise
                await self._check_again(facts)
        raise AssertionError  # the last round returns or raises

    async def _check_match(self) -> None:
        """Raise unless what is to be replaced is there."""
        facts = await self._store.look(self._path)
        if _version(facts) != self._match:
            raise self._refused()

    async def _check_again(self, facts: Facts | None) -> None:
        """Raise unless a refused request may be tried again: nothing was changed that was not to be changed."""
        if self._match is not None:
            if _version(facts) != self._match:
                raise self._refused()
        elif isinstance(self._lease, ObjectLease) and not await self._lease.confirm():
            raise self._lost()

    def _check_lease(self) -> None:
        if self._lease.lost:
            raise self._lost()

    def _lost(self) -> Conflict:
        return Conflict.of(self._path, "the lock was lost before the file was published; nothing was overwritten")

    def _refused(self) -> Conflict | AlreadyExists:
        if self._match == ABSENT:
            return AlreadyExists.of(self._path)
        return Conflict.of(self._path, "the file was changed meanwhile; nothing was overwritten")


async def _send(send: Send, condition: dict[str, str], *, checked: bool) -> str:
    """Have the request made, without its condition where the store has none for this kind: then the look counts."""
    try:
        return await send(condition)
    except Unsupported:
        if checked or not condition:
            raise
        return await send({})


def _version(facts: Facts | None) -> str:
    return ABSENT if facts is None else facts.version
