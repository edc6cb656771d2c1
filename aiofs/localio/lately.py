"""What was found out about a path, believed for a moment."""

from __future__ import annotations

from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

BELIEVED, MOST = 1.0, 4096
"""For how many seconds, and of how many paths."""
NEVER = (0.0, None)


class Lately(Generic[T]):
    """Something about each of the paths that were looked at lately."""

    def __init__(self) -> None:
        self._found: dict[str | bytes, tuple[float, T]] = {}

    def get(self, path: str | bytes) -> T | None:
        """Return what was found, if that is not long ago."""
        until, found = self._found.get(path, NEVER)
        return found if until > monotonic() else None

    def remember(self, path: str | bytes, found: T) -> None:
        """Believe from now on that this is so."""
        if len(self._found) >= MOST:
            self._found.clear()
        self._found[path] = monotonic() + BELIEVED, found
