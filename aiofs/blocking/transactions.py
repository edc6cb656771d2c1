"""Transactions for code without asyncio: `with aiofs.blocking.transaction(fs) as tx`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast, overload

from aiofs.blocking.systems import BlockingFileSystem, BlockingWrapper, awaited
from aiofs.blocking.thread import run
from aiofs.filesystem import FileSystem
from aiofs.system import FileLikeSystem
from aiofs.transactions import fsck as checking
from aiofs.transactions import transaction as asynchronous
from aiofs.transactions.transaction import FileTransaction, Transaction, TransactionalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context, ContextVar, Token
    from types import TracebackType

    from aiofs.transactions.fsck import Finding
    from aiofs.transactions.recovery import Recovered
    from aiofs.transactions.transaction import Savepoint
    from aiofs.transactions.unit import State

AnySystem: TypeAlias = FileLikeSystem | BlockingFileSystem
"""A file system, asynchronous or not."""


class BlockingSavepoint:
    """A moment in a transaction. `rollback`, or an exception that leaves its `with` block, goes back to it."""

    def __init__(self, savepoint: Savepoint) -> None:
        self._savepoint = savepoint

    def rollback(self) -> None:
        """Forget what was done since, and later savepoints. Locks stay.

        :raises ValueError: if the transaction ended, or went back to an earlier savepoint.
        """

        async def roll_back() -> None:
            self._savepoint.rollback()

        run(roll_back())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run(self._savepoint.__aexit__(kind, error, trace))


class BlockingControl:
    """How a transaction begins and ends: leaving its `with` block commits it, an exception rolls it back."""

    _system: Any

    @property
    def state(self) -> State:
        """The state of the transaction: new, open, committing, committed, rolled back or unfinished."""
        state: State = self._system.state
        return state

    @awaited(FileTransaction.commit)
    def commit(self) -> None: ...

    @awaited(FileTransaction.rollback)
    def rollback(self) -> None: ...

    @awaited(FileTransaction.diff)
    def diff(self) -> None: ...

    def savepoint(self) -> BlockingSavepoint:
        """Return a savepoint: this moment, to which the transaction can go back."""

        async def mark() -> Savepoint:
            savepoint: Savepoint = self._system.savepoint()
            return savepoint

        return BlockingSavepoint(run(mark()))

    def __enter__(self) -> Self:
        self._entered = Entered(run(self._enter()))
        return self

    async def _enter(self) -> Context:
        await self._system.__aenter__()
        return copy_context()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            run(self._system.__aexit__(kind, error, trace))
        finally:
            self._entered.leave()


class Entered:
    """What entering a transaction changed in the context of its task, set in the context of the calling thread too."""

    def __init__(self, context: Context) -> None:
        here = copy_context()
        changed = [(each, value) for each, value in context.items() if here.get(each, self) is not value]
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = [(each, each.set(value)) for each, value in changed]

    def leave(self) -> None:
        """Set back what was changed."""
        while self._tokens:
            variable, token = self._tokens.pop()
            with suppress(ValueError):  # another thread entered the block
                variable.reset(token)


class BlockingFileTransaction(BlockingControl, BlockingFileSystem):
    """A transaction over one store, which is used like the store itself."""


class BlockingTransaction(BlockingControl, BlockingWrapper[Transaction]):
    """A transaction over several stores, each used by its name: `tx["docs"].open(...)`."""

    def __getitem__(self, name: str) -> BlockingFileSystem:
        return BlockingFileSystem(self._system[name])


class BlockingTransactionalFileSystem(BlockingFileSystem):
    """A file system with transactions: `with tfs.transaction() as tx`.

    Within the block, all that the same thread does with `tfs` is part of the transaction. Outside of the block `tfs`
    is the plain file system.
    """

    def transaction(self, *, auto_commit: bool = True) -> BlockingFileTransaction:
        """Begin a transaction.

        :raises ValueError: on entering, within another one.
        """
        return BlockingFileTransaction(
            cast("TransactionalFileSystem", self._system).transaction(auto_commit=auto_commit)
        )

    @awaited(TransactionalFileSystem.recover)
    def recover(self) -> None: ...


@overload
def transaction(
    stores: AnySystem, *, journal: AnySystem | None = None, auto_commit: bool = True
) -> BlockingFileTransaction: ...
@overload
def transaction(
    stores: Mapping[str, AnySystem], *, journal: AnySystem | None = None, auto_commit: bool = True
) -> BlockingTransaction: ...
def transaction(
    stores: AnySystem | Mapping[str, AnySystem], *, journal: AnySystem | None = None, auto_commit: bool = True
) -> BlockingFileTransaction | BlockingTransaction:
    """Return a transaction over a file system, or over several by names: `with aiofs.blocking.transaction(fs) as tx`.

    Otherwise it is like `aiofs.transaction`. It takes blocking and asynchronous file systems.

    :raises BlockingIOError: on writing or removing a file that somebody else is writing.
    """
    begin: Callable[..., FileTransaction | Transaction] = asynchronous.transaction
    unit = begin(systems_of(stores), journal=system_of(journal), auto_commit=auto_commit)
    return BlockingFileTransaction(unit) if isinstance(unit, FileTransaction) else BlockingTransaction(unit)


def recover(
    stores: AnySystem | Mapping[str, AnySystem], *, journal: AnySystem | None = None, wait: float = 0
) -> Recovered:
    """Finish or undo the transactions of dead processes, as `aiofs.recover` does, and return what was found.

    :raises OSError: if some transactions could not be recovered. They stay in the journal. All others are recovered.
    """
    return run(asynchronous.recover(systems_of(stores), journal=system_of(journal), wait=wait))


def fsck(
    stores: AnySystem | Mapping[str, AnySystem],
    *,
    journal: AnySystem | None = None,
    fix: bool = False,
    damaged: Literal["keep", "set aside", "remove"] = "keep",
) -> list[Finding]:
    """Report what dead writers and transactions left, and with `fix` end and remove it, as `aiofs.fsck` does.

    :raises ValueError: if `damaged` says to change something without `fix`.
    """
    return run(checking.fsck(systems_of(stores), journal=system_of(journal), fix=fix, damaged=damaged))


@overload
def system_of(system: AnySystem) -> FileLikeSystem: ...
@overload
def system_of(system: AnySystem | None) -> FileLikeSystem | None: ...
def system_of(system: AnySystem | None) -> FileLikeSystem | None:
    """Return the asynchronous file system behind a blocking one, and any other as it is."""
    return system.system if isinstance(system, BlockingFileSystem) else system


def systems_of(stores: AnySystem | Mapping[str, AnySystem]) -> FileLikeSystem | dict[str, FileLikeSystem]:
    """Return the asynchronous file systems behind blocking ones."""
    if isinstance(stores, Mapping):
        return {name: system_of(system) for name, system in stores.items()}
    return system_of(stores)


def blocking_over(system: FileLikeSystem) -> BlockingFileSystem:
    """Return the blocking file system over an asynchronous one."""
    if isinstance(system, TransactionalFileSystem):
        return BlockingTransactionalFileSystem(system)
    return BlockingFileSystem(system if isinstance(system, FileSystem) else system.over())
