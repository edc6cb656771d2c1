"""Opening: what `open` returns, to be awaited or entered; and `open_file`, which opens one file of a driver."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from aiofs.driver import ABSENT, ANY, asked_version
from aiofs.errors import AlreadyExists, Conflict, NotFound, StoreMissing, Unsupported, place, placed
from aiofs.files.editing import Editor
from aiofs.files.partial import begin_partial, continue_partial, keeper_of_partials
from aiofs.files.reading import Reader, measure
from aiofs.files.writing import Base, Writer
from aiofs.kit import check_match
from aiofs.lifetimes import finish
from aiofs.partials import PartialToken
from aiofs.powers import KeepsHistory, ReadsReplicas
from aiofs.properties import check_metadata, check_properties, join
from aiofs.waiting import check_wait, give_back

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from types import TracebackType

    from aiofs.driver import Driver, Lease, ReadStream
    from aiofs.files.handle import Handle
    from aiofs.modes import Mode
    from aiofs.properties import Properties
    from aiofs.waiting import Waiter

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
    """The arguments of `open` for a mode that writes, beside path and mode."""

    metadata: Mapping[str, str] | None = None
    match: str | None = None
    """The version to replace, as `Driver.begin` takes it."""
    wait: float = 0
    """How many seconds to wait for the lock."""
    looks_first: bool = True
    """Whether to compare the version before anything is written, so that nothing is written in vain. The store compares
    it again when it publishes."""
    partial: PartialToken | Literal["new"] | None = None
    """The partial write to continue, or that a new one begins."""


PLAIN = Terms()


def terms_of(  # noqa: PLR0917 -- what `FileSystem.open` was given
    driver: Driver,
    path: str,
    mode: Mode,
    metadata: Mapping[str, str] | None,
    properties: Properties,
    wait: float,
    match: str,
    partial: str | None = None,
) -> Terms:
    """Check the arguments of `open`, before any I/O, and return them."""
    if partial is not None:
        return _partial_terms(
            driver, path, mode, terms_of(driver, path, mode, metadata, properties, wait, match), partial
        )
    if match is ANY and metadata is None and not properties and wait == 0 and wait is not False:
        return PLAIN  # quick, as it is what nearly every call says
    about = None if metadata is None and not properties else _about(driver, path, mode, metadata, properties)
    if wait != 0 or type(wait) is bool:
        check_wait(wait)
        if mode.action == "r":
            raise ValueError("wait= goes with modes that write: readers never wait")
    if match is ANY:
        return Terms(about, wait=wait)
    version = asked_version(driver, path, match)
    if mode.action in {"r", "x"}:
        instead = "read_bytes() takes it" if mode.action == "r" else "this mode already refuses a file that is there"
        raise ValueError(f"match= goes with modes that replace a file, not with {mode.spelled!r}: {instead}")
    if version == ABSENT and mode.action == "r+":
        raise ValueError("match=aiofs.ABSENT does not go with mode 'r+', which changes a file that is there")
    return Terms(about, version, wait)


def _partial_terms(driver: Driver, path: str, mode: Mode, terms: Terms, partial: str) -> Terms:
    """Check the arguments of `open` for a partial write, and return them."""
    if not isinstance(partial, str):
        raise TypeError(f"partial={partial!r}: give '' to begin, or the token of checkpoint() to continue")
    if mode.action != "w" or mode.text:
        raise ValueError(f"partial= goes with mode 'w' for bytes, not with {mode.spelled!r}{' for text' * mode.text}")
    keeper_of_partials(driver, path)
    if not partial:
        return replace(terms, partial="new")
    if terms.match is not None or terms.metadata is not None:
        raise ValueError("match=, metadata and properties are given when a partial write begins, not when it continues")
    return replace(terms, partial=PartialToken.of(partial))


def _about(
    driver: Driver, path: str, mode: Mode, metadata: Mapping[str, str] | None, properties: Properties
) -> Mapping[str, str] | None:
    """Check the metadata and properties of a new file, and return them as drivers take them."""
    if mode.action not in {"w", "x"}:
        given = "metadata" if metadata is not None else next(iter(properties))
        raise ValueError(f"{given} goes with a new file, not with mode {mode.spelled!r}")
    if metadata is not None:
        check_metadata(metadata)
        if not driver.capabilities.metadata:
            raise Unsupported.of(path, f"{driver} keeps no metadata")
    check_properties(properties, driver.capabilities.properties, str(driver), path)
    return join(metadata, properties)


async def open_file(
    driver: Driver, path: str, mode: Mode, terms: Terms = PLAIN, waiter: Waiter | None = None
) -> Handle:
    """Open the file for bytes, under its lock if the mode writes; with `waiter`, as soon as the lock is free.

    :raises NotFound: if there is no such file and the mode is r or r+.
    :raises AlreadyExists: if there is one and the mode is x, or `terms.match` is `ABSENT`.
    :raises Conflict: if it is not the version `terms.match`.
    :raises Locked: if the mode writes and somebody else is writing the file.
    """
    try:
        if mode.action == "r":
            stream = await read_only(driver, path, 0, driver.window)
            return Reader(path, mode.spelled, stream, driver.window)
        lease = await (driver.lock(path) if waiter is None else waiter.lock(driver, path))
        return await _open_to_write(driver, path, mode, lease, terms)
    except OSError as error:
        place(error, path)
        raise


async def open_version(driver: Driver, path: str, mode: Mode, version_id: str) -> Handle:
    """Open an old version of the file for reading.

    :raises NotFound: if there is no such version.
    :raises Unsupported: if the store keeps no old versions.
    """
    keeps = history_of(driver, path)
    with placed(path):
        stream = await keeps.read_version(path, version_id, 0, driver.window)
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
    """Open the file for a caller that writes nothing because of what it reads, so a replica that lags may answer.

    A replica does not compare versions, so with `match` the store itself answers.
    """
    replicas = driver.offers(ReadsReplicas)
    if replicas is None or match is not None:
        return await driver.read(path, start, stop, match=match)
    return await replicas.read_replica(path, start, stop)


async def _open_to_write(driver: Driver, path: str, mode: Mode, lease: Lease, terms: Terms) -> Handle:
    try:
        if mode.action == "r+":
            return await _edit(driver, path, mode, lease, terms.match)
        if mode.action == "a":
            return await _append(driver, path, mode, lease, terms.match)
        return await _write(driver, path, mode, lease, terms)
    except BaseException:
        await give_back(lease)
        raise


async def _write(driver: Driver, path: str, mode: Mode, lease: Lease, terms: Terms) -> Writer:
    if terms.partial is not None:
        if isinstance(terms.partial, PartialToken):
            return await continue_partial(driver, path, mode, lease, terms.partial)
        return await begin_partial(driver, path, mode, lease, terms.match, terms.metadata)
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
