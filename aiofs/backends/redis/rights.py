"""What a user may not do: found out before anything is done that would have to be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.redis.names import NEVER
from aiofs.errors import AccessDenied

if TYPE_CHECKING:
    from aiofs.backends.redis.connection import Connection


class Rights:
    """What a user of a connection was found to be allowed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._may_remove = False

    async def check_may_remove(self, path: str, what: str) -> None:
        """Raise `AccessDenied` if keys may not be removed, which is asked once, about one that is never there."""
        if self._may_remove:
            return
        try:
            await self._connection.ask(path, "UNLINK", NEVER)
        except AccessDenied as error:
            reason = f"{error.strerror}: {what} needs the command UNLINK ('+unlink' in the user's access list)"
            raise AccessDenied.of(path, reason) from error.__cause__
        self._may_remove = True
