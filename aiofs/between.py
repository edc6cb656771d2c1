"""Between stores: `copy` and `move` of a file, wherever it is and wherever it goes.

    await aiofs.copy("s3://bucket/report.pdf", "report.pdf")
    await aiofs.move(fs / "draft.txt", archive / "2026" / "draft.txt")

Paths call them too: `Path.copy` and `Path.move`.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from aiofs.copying import CopyTerms, unit_of
from aiofs.driver import ANY
from aiofs.path import LocalPath, Path
from aiofs.threads import hop
from aiofs.urls import local_system
from aiofs.waiting import check_wait

if TYPE_CHECKING:
    from aiofs.copying import Drop, Progress
    from aiofs.driver import Entry
    from aiofs.filesystem import FileSystem
    from aiofs.names import AnyName


async def copy(
    source: Path | AnyName,
    target: Path | AnyName,
    *,
    wait: float = 0,
    match: str = ANY,
    drop: Drop | None = None,
    on_progress: Progress | None = None,
) -> Entry:
    """Make the file `target` the same as `source`, also in another store, and return the new entry.

    Each is a `Path`, a URL (`"s3://bucket/key"`), or the path of a local file. Bytes, content type and metadata are
    kept. One store copies by itself; between two, the bytes pass through this process in bounded memory. The target is
    there as a whole or not at all. Layers see the bytes: from a file system with `Gzip`, they come decompressed.

    - `match` is the version of the target that may be replaced, or `aiofs.ABSENT`.
    - `drop="metadata"` leaves out metadata and tags of the user's that the target cannot keep. A content type and a
      storage class that it cannot keep are always left out.
    - `on_progress(done, total)` is called after each part, and with `done == total` when the target is there. It may be
      async. `total` is `None` where the size is not known. If it raises before the last call, nothing is published.

    >>> await aiofs.copy("s3://bucket/report.pdf", "report.pdf")

    :raises NotFound: if there is no source.
    :raises ValueError: before any I/O, if both are the same file.
    :raises Unsupported: before any byte is written, if the target cannot keep the user's metadata; and if the source is
        in a transaction and the target is not.
    :raises Locked: if somebody else is writing the target, until `wait` seconds have passed.
    :raises Conflict: if the target is not the version `match`, or the source was changed meanwhile.
    :raises AlreadyExists: if `match` is `ABSENT` and there is a target.
    """
    return await _transfer(Path(source), Path(target), CopyTerms(wait, match, drop, on_progress), moves=False)


async def move(
    source: Path | AnyName,
    target: Path | AnyName,
    *,
    wait: float = 0,
    match: str = ANY,
    drop: Drop | None = None,
    on_progress: Progress | None = None,
) -> Entry:
    """Make `source` the file `target`, also in another store, and return the new entry.

    Arguments and errors are those of `copy`. Within a store the file gets another name. Between two it is copied, and
    then removed in the version that was copied: a process that is killed between the two leaves both, never none. In a
    transaction over both stores it is one step.

    >>> await aiofs.move("report.pdf", "s3://bucket/report.pdf")

    :raises Locked: if somebody else is writing either, until `wait` seconds have passed.
    :raises Conflict: as for `copy`; and if somebody changed the source meanwhile: then the copy and the changed file
        are both there.
    :raises Unsupported: as for `copy`, and if only one of the two is in a transaction.
    """
    return await _transfer(Path(source), Path(target), CopyTerms(wait, match, drop, on_progress), moves=True)


async def _transfer(source: Path, target: Path, terms: CopyTerms, *, moves: bool) -> Entry:
    check_wait(terms.wait)
    old, new = (path.system._check(path._file()) for path in (source, target))  # noqa: SLF001 -- as its own verbs do
    if await _is_same(source, target):
        raise ValueError(f"{str(source)!r} and {str(target)!r} are the same file: give another target")
    try:
        one = await _one_system(source, target, moves=moves)
        if one is not None:
            entry = await _within(*one, terms, moves=moves)
            if entry is not None:
                return replace(entry, path=new)
        return await target.system._copy_from(source.system, old, new, terms, removes=moves)  # noqa: SLF001 -- the same
    except OSError as error:
        error.add_note(f"{'moving' if moves else 'copying'} {str(source)!r} to {str(target)!r}")
        raise


async def _is_same(source: Path, target: Path) -> bool:
    """Whether both are one file, whatever layers are over it."""
    if isinstance(source, LocalPath) and isinstance(target, LocalPath):
        paths = [await hop(os.path.abspath, path.place()[1]) for path in (source, target)]
        if paths[0] == paths[1]:
            return True
    return source.system.driver.identity(source.path) == target.system.driver.identity(target.path)


async def _within(system: FileSystem, source: str, target: str, terms: CopyTerms, *, moves: bool) -> Entry | None:
    """Copy or move within one file system; return `None` if a local file is to be moved to another disk."""
    if not moves:
        entry = await system._copy_within(source, target, terms, in_full=True)  # noqa: SLF001 -- as its own verbs do
    else:
        try:
            entry = await system._move_within(source, target, terms, in_full=True)  # noqa: SLF001 -- the same
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return None
    if entry is not None:
        await terms.report(entry.size or 0, entry.size)
    return entry


async def _one_system(source: Path, target: Path, *, moves: bool) -> tuple[FileSystem, str, str] | None:
    """Return a file system that has both files, and their names in it, or `None`.

    For a copy between two folders of a store this is not needed: each folder keeps its own locks and limits.
    """
    if source.system is target.system:
        return source.system, source.path, target.path
    if not moves or any(unit_of(path.system.driver) is not None for path in (source, target)):
        return None
    for system in (source.system, target.system):
        old, new = _name_in(source, system), _name_in(target, system)
        if old is not None and new is not None:
            return system, old, new
    if not isinstance(source, LocalPath) or not isinstance(target, LocalPath):
        return None
    if source.place()[0] == target.place()[0] == "file":
        return await _common_folder(source, target)
    return None


async def _common_folder(source: LocalPath, target: LocalPath) -> tuple[FileSystem, str, str] | None:
    """Return the local folder that has both files, and their names in it; `None` if they are on two drives."""
    names = [PurePath(await hop(os.path.abspath, path.place()[1])) for path in (source, target)]
    if names[0].anchor != names[1].anchor:
        return None
    folder = os.path.commonpath([name.parent for name in names])
    old, new = (name.relative_to(folder).as_posix() for name in names)
    return local_system(folder), old, new


def _name_in(path: Path, system: FileSystem) -> str | None:
    """Return the name of a file in a file system, or `None` if it is not below that one's root."""
    if system is path.system:
        return path.path
    (store, name), (theirs, root) = path.place(), system.driver.locate("")
    start = root.removesuffix(".") if root in {"", ".", "/"} else f"{root}/"
    below = name.removeprefix(start)
    inside = name.startswith(start) and below.partition("/")[0] not in {"", ".."}  # local ones may lead elsewhere
    return below if store == theirs and inside else None
