"""The contract: what every store and every layer does, in numbered behaviours."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

try:  # before the modules below, so that one place says what to install
    import pytest
    import pytest_asyncio
except ImportError as _missing:
    raise ImportError("the suite needs pytest: pip install aiofs[testing]") from _missing

from aiofs.driver import Capabilities
from aiofs.testing.contract.between import BetweenInTransactions, BetweenStores, Folders
from aiofs.testing.contract.blocking import BlockingFiles, BlockingTransactions
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.handles import Handles, Ranges
from aiofs.testing.contract.isolation import Isolation
from aiofs.testing.contract.lasting import Lasting
from aiofs.testing.contract.life import Life, ReadOnlyStore
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.locking import LocksOfProcesses, NamedLocks
from aiofs.testing.contract.matching import MatchingVersions, Unmatched
from aiofs.testing.contract.names import PathNames
from aiofs.testing.contract.objects import PathObjects
from aiofs.testing.contract.partial import NoPartials, Partials, PartialsOfProcesses
from aiofs.testing.contract.reading import Changing, ReadingFiles, Seeking, TextHandles
from aiofs.testing.contract.removing import FileFacts, Removing
from aiofs.testing.contract.sessions import Conditions, Leftovers, Prepared
from aiofs.testing.contract.signing import Signing
from aiofs.testing.contract.transactions import Crashes, Refusals
from aiofs.testing.contract.updating import Refused, Updating, UpdatingInProcesses
from aiofs.testing.contract.waiting import Waiting, WaitingForProcesses
from aiofs.testing.contract.wholes import LocalCopies, Sources, WholeTexts
from aiofs.testing.contract.writers import Processes, Writers
from aiofs.testing.contract.writing import Modes, WrittenBytes
from aiofs.testing.kills import ChildProcesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiofs.testing.harness import Harness

__all__ = ["Contract", "Suite", "TransactionContract", "child_processes"]


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


class Contract(
    WrittenBytes,
    ReadingFiles,
    TextHandles,
    Seeking,
    Changing,
    Modes,
    Commit,
    CancelledWriting,
    CancelledReading,
    Writers,
    Waiting,
    WaitingForProcesses,
    Conditions,
    MatchingVersions,
    Unmatched,
    Handles,
    Ranges,
    Partials,
    PartialsOfProcesses,
    NoPartials,
    Updating,
    UpdatingInProcesses,
    Refused,
    Prepared,
    Leftovers,
    Processes,
    NamedLocks,
    LocksOfProcesses,
    PathNames,
    PathObjects,
    BetweenStores,
    Folders,
    Listings,
    Removing,
    FileFacts,
    Sources,
    WholeTexts,
    LocalCopies,
    Lasting,
    Signing,
    Life,
    ReadOnlyStore,
    BlockingFiles,
    Suite,
):
    """All behaviours. A subclass declares what its store can do, and defines a fixture `harness` that opens it."""


class TransactionContract(Isolation, Refusals, Crashes, BetweenInTransactions, BlockingTransactions, Suite):
    """All behaviours of transactions. It is used like `Contract`, for stores that pass `Contract`."""


@pytest.fixture(scope="session")
def child_processes() -> ChildProcesses:
    """Return what starts child processes. It is made before the tests, as it has a process itself.

    Children share the imports of pytest, which the modules of tests need, and of the SDKs of all stores in use.
    """
    backends = [name for name in sys.modules if name.startswith("aiofs.backends.")]
    made = ChildProcesses("pytest", *backends)
    made.warm_up()
    return made
