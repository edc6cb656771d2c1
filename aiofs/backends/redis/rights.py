"""Finds out what a user may not do, before anything is changed that would have to be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.redis.names import NEVER
from aiofs.errors import AccessDenied

if TYPE_CHECKING:
    from aiofs.backends.redis.connection import Connection


class Rights:
    """Checks the rights of the user of a connection, and remembers those that it found."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._may_remove = False

    async def check_may_remove(self, path: str, what: str) -> None:
        """Raise `AccessDenied`, which says `what` needs the right, if the user may not remove keys.

        The server is asked once, by removing a key that never exists.
        """
        if self._may_remove:
            return
        try:
            await self._connection.ask(path, "UNLINK", NEVER)
        except AccessDenied as error:
            reason = f"{error.strerror}: {what} needs the command UNLINK ('+unlink' in the user's access list)"
            raise AccessDenied.of(path, reason) from error.__cause__
        self._may_remove = True
