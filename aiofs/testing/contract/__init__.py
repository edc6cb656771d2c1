"""The contract: what every store and every layer does, in numbered behaviours."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from aiofs.driver import Capabilities
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.content import Content
from aiofs.testing.contract.life import Life, ReadOnly
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.modes import Modes
from aiofs.testing.contract.paths import Paths
from aiofs.testing.contract.processes import Processes
from aiofs.testing.contract.reading import Reading, Text
from aiofs.testing.contract.removing import Facts, Removing
from aiofs.testing.contract.seeking import Changing, Seeking
from aiofs.testing.contract.sessions import Conditions, Leftovers, Prepared
from aiofs.testing.contract.writers import Writers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.testing.harness import Harness

__all__ = ["Contract"]


class Contract(
    Content,
    Reading,
    Text,
    Seeking,
    Changing,
    Modes,
    Commit,
    CancelledWriting,
    CancelledReading,
    Writers,
    Conditions,
    Prepared,
    Leftovers,
    Processes,
    Paths,
    Listings,
    Removing,
    Facts,
    Life,
    ReadOnly,
):
    """All behaviours. A subclass says what its store declares, and has a fixture `harness` that says where it is."""

    is_aiofs_suite: ClassVar[bool] = True
    declares: ClassVar[Capabilities] = Capabilities()
    """What the store says of itself, usually its driver's `capabilities`."""
    server: ClassVar[bool] = False
    """Whether there is a server that may be away: the harness then gives `unreachable=`."""
    credentials: ClassVar[bool] = False
    """Whether there are credentials that may be refused: the harness then gives `denied=` and `secrets=`."""
    lacks: ClassVar[Mapping[int, str]] = {}
    """Behaviours that the store cannot have for a reason that no capability expresses, by number."""

    @pytest.fixture
    async def store(self, harness: Harness, request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
        """Return the harness with its first connection opened."""
        plugged = request.config.pluginmanager.has_plugin("aiofs.testing")
        assert plugged, "add to the topmost conftest.py: pytest_plugins = ['aiofs.testing']"
        harness.can = self.declares
        async with harness:
            yield harness
