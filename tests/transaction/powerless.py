"""A store without powers, but that of saying what was left in it: transactions see to everything by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.driver import Layer
from aiofs.powers import Sweeps

if TYPE_CHECKING:
    from aiofs.driver import Power


class Powerless(Layer):
    """Hides the powers of a store."""

    def offers(self, power: type[Power]) -> Power | None:
        return super().offers(power) if power is Sweeps else None
