"""What every suite says of its store, and the fixture that its behaviours take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import pytest
import pytest_asyncio

from aiofs.driver import Capabilities
from aiofs.testing.kills import Nursery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.testing.harness import Harness


class Suite:
    """The base of suites: a subclass declares its store, and has a fixture `harness`."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.asyncio]
    is_aiofs_suite: ClassVar[bool] = True
    declares: ClassVar[Capabilities] = Capabilities()
    """What the store says of itself, usually its driver's `capabilities`."""
    server: ClassVar[bool] = False
    """Whether there is a server that may be away: the harness then gives `unreachable=`."""
    credentials: ClassVar[bool] = False
    """Whether there are credentials that may be refused: the harness then gives `denied=` and `secrets=`."""
    lacks: ClassVar[Mapping[int, str]] = {}
    """Behaviours that the store cannot have for a reason that no capability expresses, by number."""

    @pytest_asyncio.fixture
    async def store(self, harness: Harness, request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
        """Return the harness with its first connection opened."""
        plugged = request.config.pluginmanager.has_plugin("aiofs.testing")
        assert plugged, "add to the topmost conftest.py: pytest_plugins = ['aiofs.testing']"
        harness.can = self.declares
        async with harness:
            yield harness


@pytest.fixture(scope="session")
def nursery() -> Nursery:
    """Return what makes children, begun before the tests so that its own process is not taken for one that was left.

    Children share the imports of pytest, which the modules of tests need, and of the SDKs of all stores in use.
    """
    backends = [name for name in sys.modules if name.startswith("aiofs.backends.")]
    made = Nursery("pytest", "aiofs.testing.child", *backends)
    made.warm_up()
    return made
