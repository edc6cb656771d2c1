"""Opening: what `open` returns, to be awaited or entered; and `open_file`, which opens one file of a driver."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiofs.driver import ABSENT, KeepsHistory, ReadsReplicas
from aiofs.errors import AlreadyExists, Conflict, NotFound, StoreMissing, Unsupported, place, placed
from aiofs.files.editing import Editor
from aiofs.files.reading import Reader, measure
from aiofs.files.writing import Base, Writer
from aiofs.kit import check_match
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


@dataclass(frozen=True, slots=True)
class Terms:
    """What goes with the opening of a file to write it, beside path and mode."""

    metadata: Mapping[str, str] | None = None
    match: str | None = None
    """The version to replace, as `Driver.begin` takes it."""
    looks_first: bool = True
    """Whether to look for the version before anything is written, which saves writing in vain. The store compares it
    again when it publishes."""


PLAIN = Terms()


async def open_file(driver: Driver, path: str, mode: Mode, terms: Terms = PLAIN) -> Handle:
    """Open the file for bytes, under its lock if the mode writes.

    :raises NotFound: if there is no such file and the mode is r or r+.
    :raises AlreadyExists: if there is one and the mode is x, or `terms.match` is `ABSENT`.
    :raises Conflict: if it is not the version `terms.match`.
    :raises Locked: if the mode writes and somebody else is writing the file.
    """
    try:
        if mode.action == "r":
            stream = await read_only(driver, path, 0, driver.window)
            return Reader(path, mode.spelled, stream, driver.window)
        return await _open_to_write(driver, path, mode, terms)
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


async def read_only(driver: Driver, path: str, start: int, stop: int | None, match: str | None = None) -> ReadStream:
    """Open the file for a caller that bases no write on what it reads, so a replica that lags may answer.

    A replica does not compare versions, so with `match` the store itself answers.
    """
    replicas = driver.offers(ReadsReplicas)
    if replicas is None or match is not None:
        return await driver.read(path, start, stop, match=match)
    return await replicas.read_replica(path, start, stop)


async def _open_to_write(driver: Driver, path: str, mode: Mode, terms: Terms) -> Handle:
    lease = await driver.lock(path)
    try:
        if mode.action == "r+":
            return await _edit(driver, path, mode, lease, terms.match)
        if mode.action == "a":
            return await _append(driver, path, mode, lease, terms.match)
        return await _write(driver, path, mode, lease, terms)
    except BaseException:
        await finish(lease.release())
        raise


async def _write(driver: Driver, path: str, mode: Mode, lease: Lease, terms: Terms) -> Writer:
    match = ABSENT if mode.action == "x" else terms.match
    if match is not None and terms.looks_first:
        await (_refuse_existing(driver, path) if match == ABSENT else _refuse_changed(driver, path, match))
    session = await driver.begin(path, lease, match=match, metadata=terms.metadata)
    return Writer(path, mode.spelled, lease, session, driver.part_size)


async def _refuse_existing(driver: Driver, path: str) -> None:
    try:
        await driver.stat(path)
    except StoreMissing:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return  # a user who may write is not always allowed to look
    raise AlreadyExists.of(path)


async def _refuse_changed(driver: Driver, path: str, match: str) -> None:
    try:
        entry = await driver.stat(path)
    except NotFound as error:
        raise Conflict.of(path, "the file was removed meanwhile") from error
    except PermissionError:
        return  # a user who may write is not always allowed to look
    check_match(path, match, entry.version)


async def _append(driver: Driver, path: str, mode: Mode, lease: Lease, match: str | None) -> Writer:
    try:
        entry = await driver.stat(path)
    except NotFound as error:
        if match:
            raise Conflict.of(path, "the file was removed meanwhile") from error
        session = await driver.begin(path, lease, match=ABSENT)
        return Writer(path, mode.spelled, lease, session, driver.part_size, appends=True)
    check_match(path, match, entry.version)
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


async def _edit(driver: Driver, path: str, mode: Mode, lease: Lease, match: str | None) -> Editor:
    stream = await driver.read(path, 0, driver.window, match=match)
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
