"""File systems and files by URL, for code without asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from aiofs import between, probing, urls
from aiofs.blocking.files import open_file
from aiofs.blocking.systems import how_to_open
from aiofs.blocking.thread import run
from aiofs.blocking.transactions import blocking_over, system_of
from aiofs.driver import ANY

if TYPE_CHECKING:
    from _typeshed import OpenBinaryModeReading, OpenBinaryModeWriting, OpenTextMode

    from aiofs.blocking.files import BlockingEditor, BlockingReader, BlockingTextFile, BlockingWriter
    from aiofs.blocking.systems import BlockingFileSystem
    from aiofs.copying import Drop, Progress
    from aiofs.driver import Entry
    from aiofs.modes import BinaryEditMode
    from aiofs.names import AnyName
    from aiofs.path import Path
    from aiofs.probing import ProbeReport
    from aiofs.system import FileLikeSystem


def connect(url: str) -> BlockingFileSystem:
    """Return the file system that `url` names, for code without asyncio. Nothing is contacted before it is used.

    :raises ValueError: for an unknown scheme or parameter, or credentials where none belong, saying what is known.
    :raises ImportError: if the store's extra is not installed, saying how to install it.
    """
    return blocking_over(urls.connect(url))


def probe(store: str | FileLikeSystem | BlockingFileSystem) -> ProbeReport:
    """Find out what the store behind a URL really does, as `aiofs.probe` does, and return a report.

    :raises ValueError: for a URL that means nothing.
    :raises OSError: if the store cannot be reached, is not there, or refuses the credentials.
    """
    return run(probing.probe(store if isinstance(store, str) else system_of(store)))


@overload
def open(
    url: str,
    mode: OpenTextMode = "r",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> BlockingTextFile: ...
@overload
def open(url: str, mode: OpenBinaryModeReading) -> BlockingReader: ...
@overload
def open(url: str, mode: OpenBinaryModeWriting) -> BlockingWriter: ...
@overload
def open(url: str, mode: BinaryEditMode) -> BlockingEditor: ...
def open(
    url: str,
    mode: str = "r",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Any:
    """Open one file by its whole URL, as `aiofs.open` does, and return a file object: text, unless the mode has a `b`.

    The store stays connected for the next file.

    :raises ValueError: for a URL or a mode that means nothing.
    :raises OSError: as opening the file in its file system does.
    """
    said = mode if set(mode) & {"b", "t"} else mode + "t"
    parsed, form = how_to_open(said, encoding, errors, newline)
    return open_file(urls.open_url(url, parsed.action), url, parsed, form)


def copy(
    source: Path | AnyName,
    target: Path | AnyName,
    *,
    wait: float = 0,
    match: str = ANY,
    drop: Drop | None = None,
    on_progress: Progress | None = None,
) -> Entry:
    """Make the file `target` the same as `source`, also in another store, as `aiofs.copy`; return the new entry.

    Each is a URL, the path of a local file, or a `Path`. `on_progress` runs in the loop of blocking code, so it must
    not call blocking verbs.

    :raises OSError: as the asynchronous one does.
    :raises ValueError: before any I/O, if both are the same file.
    """
    return run(between.copy(source, target, wait=wait, match=match, drop=drop, on_progress=on_progress))


def move(
    source: Path | AnyName,
    target: Path | AnyName,
    *,
    wait: float = 0,
    match: str = ANY,
    drop: Drop | None = None,
    on_progress: Progress | None = None,
) -> Entry:
    """Make `source` the file `target`, also in another store, as `aiofs.move`; return the new entry.

    Each is a URL, the path of a local file, or a `Path`. `on_progress` runs in the loop of blocking code, so it must
    not call blocking verbs.

    :raises OSError: as the asynchronous one does.
    :raises ValueError: before any I/O, if both are the same file.
    """
    return run(between.move(source, target, wait=wait, match=match, drop=drop, on_progress=on_progress))
