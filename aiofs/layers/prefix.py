"""Prefix: a folder of the base as a whole system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.layers.mapped import Mapped
from aiofs.paths import check_inside, check_path, check_prefix

if TYPE_CHECKING:
    from typing import Self

    from aiofs.driver import Driver


class Prefix(Mapped):
    """The files whose names begin with `prefix`, usually a folder's with its `/`, by what follows it.

    :raises ValueError: if no name could begin so.
    """

    def __init__(self, prefix: str) -> None:
        if check_prefix(prefix):
            check_path(prefix + "x")
        self._prefix = prefix

    def bind(self, base: Driver) -> Self:
        """Return this layer over `base`, whose names lead nowhere else either."""
        return super().bind(base.narrowed(self._prefix.count("/")))

    def inward(self, path: str) -> str:
        """Put the prefix before it.

        :raises ValueError: for a name that would lead out of it.
        """
        return self._prefix + check_inside(path)

    def beginning(self, prefix: str) -> str:
        """Put the prefix before what names begin with."""
        return self._prefix + prefix

    def outward(self, path: str) -> str | None:
        """Leave the prefix out; what then is no name is no file of this layer's."""
        rest = path.removeprefix(self._prefix)
        return rest if path.startswith(self._prefix) and rest and not rest.startswith("/") else None

    def __str__(self) -> str:
        over = f", {self.base}" if hasattr(self, "base") else ""
        return f"Prefix({self._prefix!r}{over})"
