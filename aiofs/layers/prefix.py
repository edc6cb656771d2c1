"""Prefix: a folder of the base as a whole system."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from aiofs.driver import Walks
from aiofs.layers.forward import power_of
from aiofs.layers.mapped import Mapped
from aiofs.names import check_inside, check_path, check_prefix

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Self

    from aiofs.driver import Driver, Level, Power


class Prefix(Mapped):
    """The files whose names begin with `prefix`, usually a folder's with its `/`, by what follows it.

    :raises ValueError: if no name could begin so.
    """

    powers: ClassVar[tuple[type, ...]] = (*Mapped.powers, Walks)

    def __init__(self, prefix: str) -> None:
        if check_prefix(prefix):
            check_path(prefix + "x")
        self._prefix = prefix

    def bind(self, base: Driver) -> Self:
        """Return this layer over `base`, narrowed to the folder of the prefix."""
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

    async def walk(self, folder: str = "") -> AsyncGenerator[Level]:
        """Walk from the folder of the prefix downwards."""
        cut = len(self._prefix)
        with self.named():
            async with aclosing(power_of(self.base, Walks).walk((self._prefix + folder).removesuffix("/"))) as levels:
                async for theirs, folders, files in levels:
                    yield theirs[cut:], folders, files

    def offers(self, power: type[Power]) -> Power | None:
        """Return what exercises a power of the base; a walk is offered only if the prefix is a whole folder."""
        if power is Walks and not f"/{self._prefix}".endswith("/"):
            return None
        return super().offers(power)

    def __str__(self) -> str:
        over = f", {self.base}" if hasattr(self, "base") else ""
        return f"Prefix({self._prefix!r}{over})"
