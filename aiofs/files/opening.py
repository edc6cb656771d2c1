"""Opening: what `open` returns, to be awaited or entered; and `open_file`, which opens one file of a driver."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiofs.driver import ABSENT, KeepsHistory, ReadsReplicas
from aiofs.errors import AlreadyExists, NotFound, StoreMissing, Unsupported, place, placed
from aiofs.files.editing import Editor
from aiofs.files.reading import Reader, measure
from aiofs.files.writing import Base, Writer
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from types import TracebackType

    from aiofs.driver import Driver, Lease, ReadStream
    from aiofs.files.handle import Handle
    from aiofs.modes import Mode

File = TypeVar("File", bound="AbstractAsyncContextManager[Any]")


class Opening(AbstractAsyncContextManager[File], Generic[File]):
    """What `open` returns, to be entered or awaited. `of` makes the text of its `repr`.

    `async with fs.open(...) as f` closes the file at its end; after `f = await fs.open(...)` the caller closes it.
    """

    __slots__ = ("_file", "_of", "_opener")

    def __init__(self, opener: Callable[[], Coroutine[Any, Any, File]], of: Callable[[], str]) -> None:
        self._opener = opener
        self._of = of

    def __await__(self) -> Generator[Any, None, File]:
        return self._opener().__await__()

    async def __aenter__(self) -> File:
        self._file = await self._opener()
        return self._file

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._file
        del self._file
        await file.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<opening of {self._of()}: await it, or enter it by async with>"


async def open_file(driver: Driver, path: str, mode: Mode, metadata: Mapping[str, str] | None = None) -> Handle:
    """Open the file for bytes, under its lock if the mode writes.

    :raises NotFound: if there is no such file and the mode is r or r+.
    :raises AlreadyExists: if there is one and the mode is x.
    :raises Locked: if the mode writes and somebody else is writing the file.
    """
    try:
        if mode.action == "r":
            stream = await read_only(driver, path, 0, driver.window)
            return Reader(path, mode.spelled, stream, driver.window)
        return await _open_to_write(driver, path, mode, metadata)
    except OSError as error:
        place(error, path)
        raise


async def open_kept(driver: Driver, path: str, mode: Mode, version_id: str) -> Handle:
    """Open an old version of the file for reading.

    :raises NotFound: if there is no such version.
    :raises Unsupported: if the store keeps no old versions.
    """
    keeps = history_of(driver, path)
    with placed(path):
        stream = await keeps.read_kept(path, version_id, 0, driver.window)
    return Reader(path, mode.spelled, stream, driver.window)


def history_of(driver: Driver, path: str) -> KeepsHistory:
    """Return what lists, reads and restores old versions.

    :raises Unsupported: if the store keeps none.
    """
    keeps = driver.offers(KeepsHistory)
    if keeps is None:
        raise Unsupported.of(path, f"{driver} keeps no old versions of files")
    return keeps


async def read_only(driver: Driver, path: str, start: int, stop: int | None) -> ReadStream:
    """Open the file for a caller that bases no write on what it reads, so a replica that lags may answer."""
    replicas = driver.offers(ReadsReplicas)
    return await (driver.read(path, start, stop) if replicas is None else replicas.read_replica(path, start, stop))


async def _open_to_write(driver: Driver, path: str, mode: Mode, metadata: Mapping[str, str] | None) -> Handle:
    lease = await driver.lock(path)
    try:
        if mode.action == "r+":
            return await _edit(driver, path, mode, lease)
        if mode.action == "a":
            return await _append(driver, path, mode, lease)
        return await _write(driver, path, mode, lease, metadata)
    except BaseException:
        await finish(lease.release())
        raise


async def _write(driver: Driver, path: str, mode: Mode, lease: Lease, metadata: Mapping[str, str] | None) -> Writer:
    match = None
    if mode.action == "x":
        # The store checks this when it publishes. The check before only saves writing bytes in vain.
        match = ABSENT
        await _refuse_existing(driver, path)
    session = await driver.begin(path, lease, match=match, metadata=metadata)
    return Writer(path, mode.spelled, lease, session, driver.part_size)


async def _refuse_existing(driver: Driver, path: str) -> None:
    try:
        await driver.stat(path)
    except StoreMissing:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return  # a user who may write is not always allowed to look
    raise AlreadyExists.of(path)


async def _append(driver: Driver, path: str, mode: Mode, lease: Lease) -> Writer:
    try:
        entry = await driver.stat(path)
    except NotFound:
        session = await driver.begin(path, lease, match=ABSENT)
        return Writer(path, mode.spelled, lease, session, driver.part_size, appends=True)
    size = entry.size
    if size is None:
        stream = await driver.read(path, match=entry.version)
        try:
            size = await measure(stream)
        finally:
            await finish(stream.aclose())
    session = await driver.begin(path, lease, match=entry.version, metadata=entry.kept(driver.capabilities))
    base = Base(driver, replace(entry, path=path), size)
    return Writer(path, mode.spelled, lease, session, driver.part_size, base=base, appends=True)


async def _edit(driver: Driver, path: str, mode: Mode, lease: Lease) -> Editor:
    stream = await driver.read(path, 0, driver.window)
    try:
        stream.check_replaceable()
        size = stream.entry.size
        if size is None:
            size = await measure(stream)
            await stream.seek(0, driver.window)
        return Editor(path, mode.spelled, driver, lease, stream, size=size)
    except BaseException:
        await finish(stream.aclose())
        raise
