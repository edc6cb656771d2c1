"""Locks that another store keeps (`locks=`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.s3.locks import digest
from aiofs.locks import LeaseElsewhere

if TYPE_CHECKING:
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Driver, Lease


class LocksElsewhere:
    """Locks that another store keeps, which may keep those of several buckets."""

    def __init__(self, keeper: Driver, store: Store) -> None:
        self.keeper = keeper
        self._store = store

    async def lock(self, path: str) -> Lease:
        """Get the right to write the path.

        :raises Locked: if somebody else has it.
        """
        # A digest, as the keeper may not take every key: to it, what has a slash may be in a folder of what has none.
        name = f"{self._store.settings.bucket}/{digest(self._store.key(path))}"
        try:
            return LeaseElsewhere(path, await self.keeper.lock(name))
        except OSError as error:
            error.filename = path  # the keeper says what it calls the lock
            raise
