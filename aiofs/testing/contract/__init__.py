"""The contract: what every store and every layer does, in numbered behaviours."""

from __future__ import annotations

try:
    import pytest  # noqa: F401 -- before the modules below, so that one place says what to install
except ImportError as _missing:
    raise ImportError("the suite needs pytest: pip install aiofs[testing]") from _missing

from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.content import WrittenBytes
from aiofs.testing.contract.life import Life, ReadOnlyStore
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.modes import Modes
from aiofs.testing.contract.paths import PathNames
from aiofs.testing.contract.processes import Processes
from aiofs.testing.contract.reading import ReadingFiles, TextHandles
from aiofs.testing.contract.removing import FileFacts, Removing
from aiofs.testing.contract.seeking import Changing, Seeking
from aiofs.testing.contract.sessions import Conditions, Leftovers, Prepared
from aiofs.testing.contract.suite import Suite
from aiofs.testing.contract.transactions import TransactionContract
from aiofs.testing.contract.writers import Writers

__all__ = ["Contract", "TransactionContract"]


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
    Conditions,
    Prepared,
    Leftovers,
    Processes,
    PathNames,
    Listings,
    Removing,
    FileFacts,
    Life,
    ReadOnlyStore,
    Suite,
):
    """All behaviours. A subclass declares what its store can do, and defines a fixture `harness` that opens it."""
