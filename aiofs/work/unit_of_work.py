"""UnitOfWork: a transaction that is declared as a class, with repositories as its attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.transactions.transaction import Control, Transaction, driver_of, hosts_of, parties, recover
from aiofs.transactions.unit import Unit
from aiofs.work.repositories import RepositoryField

if TYPE_CHECKING:
    from aiofs.driver import Driver
    from aiofs.filesystem import FileSystem
    from aiofs.system import FileLikeSystem
    from aiofs.transactions.recovery import Recovered


class UnitOfWork(Control):
    """Several changes that happen all or not at all: leaving its block commits them, an exception forgets them.

    >>> class Files(UnitOfWork):
    ...     journal = disk
    ...     avatars = repository(s3, at="avatars/{user}", of=Image())
    ...     notes = repository(disk, at="notes", of=Text(), allow={"put", "get"})
    >>> async with Files() as files:
    ...     await files.avatars(user="ann").put("face.png", picture)
    ...     await files.notes.put("today", "a new face")

    With `auto_commit=False` only `commit()` publishes. An instance is used once.
    """

    journal: ClassVar[FileLikeSystem | None] = None
    """Where the journal is kept; by default hidden beside the data of the first repository."""

    def __init__(self, *, auto_commit: bool = True) -> None:
        stores = self._stores()
        self._unit = Unit(*parties(stores, self.journal))
        self._hosts = hosts_of(stores, self.journal)
        self._commits = auto_commit
        transaction = Transaction(self._unit, self._hosts)
        self._systems: dict[Driver, FileSystem] = {driver_of(stores[name]): transaction[name] for name in stores}

    @classmethod
    async def recover(cls, *, wait: float = 0) -> Recovered:
        """Finish or undo the units of this class whose processes died. See `aiofs.recover`."""
        return await recover(cls._stores(), journal=cls.journal, wait=wait)

    def system_of(self, field: RepositoryField[Any]) -> FileSystem:
        """Return the file system of a repository, as this unit sees it."""
        return self._systems[driver_of(field.system)]

    @classmethod
    def _stores(cls) -> dict[str, FileLikeSystem]:
        """Return the file systems, each once, under the name of the first repository over it."""
        stores: dict[Driver, tuple[str, FileLikeSystem]] = {}
        for owner in reversed(cls.__mro__):
            for name, field in vars(owner).items():
                if isinstance(field, RepositoryField):
                    stores.setdefault(driver_of(field.system), (name, field.system))
        if not stores:
            raise TypeError(f"{cls.__name__} declares no repository")
        return dict(stores.values())
