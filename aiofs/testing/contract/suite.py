"""Suite: the superclass of suites, and the fixtures that behaviours use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import pytest
import pytest_asyncio

from aiofs.driver import Capabilities
from aiofs.testing.kills import ChildProcesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.testing.harness import Harness


class Suite:
    """The superclass of suites. A subclass declares what its store can do, and defines a fixture `harness`."""

    pytestmark: ClassVar[list[pytest.MarkDecorator]] = [pytest.mark.asyncio]
    is_aiofs_suite: ClassVar[bool] = True
    declares: ClassVar[Capabilities] = Capabilities()
    """What the store can do; usually the `capabilities` of its driver."""
    server: ClassVar[bool] = False
    """Whether the store has a server that can be out of reach. The harness must give `unreachable=` then."""
    history: ClassVar[bool] = False
    """Whether the store keeps old versions of files, which `FileSystem.history` lists."""
    credentials: ClassVar[bool] = False
    """Whether the store has credentials. The harness must give `denied=` and `secrets=` then."""
    lacks: ClassVar[Mapping[int, str]] = {}
    """Behaviours that the store cannot have though it declares what they need: the reasons, by number."""

    @pytest_asyncio.fixture
    async def store(self, harness: Harness, request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
        """Return the harness with its first connection opened."""
        plugged = request.config.pluginmanager.has_plugin("aiofs.testing")
        assert plugged, "add to the topmost conftest.py: pytest_plugins = ['aiofs.testing']"
        harness.can = self.declares
        async with harness:
            yield harness


@pytest.fixture(scope="session")
def nursery() -> ChildProcesses:
    """Return what starts child processes. It is made before the tests, as it has a process itself.

    Children share the imports of pytest, which the modules of tests need, and of the SDKs of all stores in use.
    """
    backends = [name for name in sys.modules if name.startswith("aiofs.backends.")]
    made = ChildProcesses("pytest", "aiofs.testing.child", *backends)
    made.warm_up()
    return made
