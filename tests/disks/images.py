"""What a power cut may leave on a disk of what was done to it, and that disk, made anew.

Two kinds of disks are tried. One keeps the order of all changes of names, as journaling file systems do: bringing one
thing to the disk brings all names there that were changed before. The other promises what POSIX does: bytes of a file
are there once that file was synced, and names once their folder was. What was not synced may be there, too, or not.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from disks.recorder import Marked, Named, Reported, Sized, Synced, Wrote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from disks.recorder import Event, Name, Recorder

Kind = Literal[
    "all of it",  # nothing was lost: the process was killed
    "names in order, bytes synced",
    "names synced in order, bytes synced",
    "names synced in order, all bytes",
    "posix",  # only what was synced; of a rename between two folders perhaps one half
    "posix, renames whole",
    "posix, some more",  # and some of what was not synced
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass
class File:
    """A file's bytes, and the mode and time that it has."""

    data: bytearray = field(default_factory=bytearray)
    mode: int = 0o600
    modified: int = 0


@dataclass
class Image:
    """A disk: the names in its folders, and its files."""

    top: int
    folders: dict[int, dict[str, int]]
    files: dict[int, File]

    @classmethod
    def of(cls, recorder: Recorder) -> Image:
        """Return what is below the recorder's folder now."""
        image = cls(recorder.number(os.stat(recorder.top).st_ino), {}, {})
        for folder, _, names in os.walk(recorder.top):
            number = recorder.number(os.stat(folder).st_ino)
            entries = image.folders[number] = {}
            for child in os.scandir(folder):
                entries[child.name] = recorder.number(child.inode())
            for name in names:
                path = os.path.join(folder, name)
                status = os.stat(path)
                with open(path, "rb") as file:
                    data = bytearray(file.read())
                image.files[entries[name]] = File(data, status.st_mode & 0o7777, status.st_mtime_ns)
        return image

    def copy(self) -> Image:
        """Return the same, to be changed."""
        folders = {number: dict(entries) for number, entries in self.folders.items()}
        files = {number: File(bytearray(file.data), file.mode, file.modified) for number, file in self.files.items()}
        return Image(self.top, folders, files)

    def put(self, top: Path) -> dict[int, int]:
        """Make this disk below a folder, and return which number each of its inodes stands for."""
        numbers: dict[int, int] = {}
        paths: dict[int, str] = {}
        todo = [(self.top, str(top))]
        while todo:
            number, path = todo.pop()
            if number in paths:
                os.link(paths[number], path)
                continue
            if number in self.folders:
                os.mkdir(path)
                todo += [(file, f"{path}/{name}") for name, file in self.folders[number].items()]
            else:
                self._put_file(self.files.get(number, File()), path)
                paths[number] = path
            numbers[os.stat(path).st_ino] = number
        return numbers

    def _put_file(self, file: File, path: str) -> None:
        with open(path, "wb") as opened:
            opened.write(file.data)
        os.chmod(path, file.mode)
        os.utime(path, ns=(file.modified, file.modified))

    def rename(self, event: Named, names: Sequence[Name]) -> None:
        """Change those names of an event that got to the disk."""
        if event.made is not None:
            self.folders.setdefault(event.made, {})
        for name in names:
            entries = self.folders.setdefault(name.folder, {})
            if name.file is None:
                entries.pop(name.name, None)
            else:
                entries[name.name] = name.file

    def change(self, event: Wrote | Sized | Marked) -> None:
        """Change a file."""
        file = self.files.setdefault(event.file, File())
        if isinstance(event, Wrote):
            file.data.extend(bytes(max(0, event.offset - len(file.data))))
            file.data[event.offset : event.offset + len(event.data)] = event.data
        elif isinstance(event, Sized):
            del file.data[event.size :]
            file.data.extend(bytes(event.size - len(file.data)))
        else:
            file.mode, file.modified = event.mode, event.modified


def left(base: Image, events: Sequence[Event], kind: Kind) -> Image:
    """Return what a power cut after these events leaves of a disk that was `base` before them."""
    image, rule = base.copy(), _Rule(events, kind)
    for number, event in enumerate(events):
        if isinstance(event, Named):
            image.rename(event, [name for name in event.names if rule.sees(number, event, name.folder)])
        elif isinstance(event, Wrote | Sized | Marked) and rule.keeps(number, event.file):
            image.change(event)
    return image


class _Rule:
    """What of these events a disk of one kind has after a power cut."""

    def __init__(self, events: Sequence[Event], kind: Kind) -> None:
        chance = random.Random(len(events))
        self._kind = kind
        self._synced = {event.file: number for number, event in enumerate(events) if isinstance(event, Synced)}
        self._last = max(self._synced.values(), default=-1)
        self._lucky = {file for file in _touched(events) if kind == "posix, some more" and chance.getrandbits(1)}

    def keeps(self, number: int, file: int) -> bool:
        """Whether what was done to the bytes of a file is there."""
        return self._kind in {"all of it", "names synced in order, all bytes"} or self._was_synced(number, file)

    def sees(self, number: int, event: Named, folder: int) -> bool:
        """Whether what changed in this folder is there."""
        if not self._kind.startswith("posix"):
            return number < self._last or not self._kind.startswith("names synced")
        if self._kind == "posix":
            return self._was_synced(number, folder)
        return any(self._was_synced(number, name.folder) for name in event.names)

    def _was_synced(self, number: int, file: int) -> bool:
        everything = self._synced.get(None, -1)
        return number < max(everything, self._synced.get(file, -1)) or file in self._lucky


def reported(events: Sequence[Event]) -> int:
    """Return how often success was reported."""
    return sum(isinstance(event, Reported) for event in events)


def _touched(events: Sequence[Event]) -> list[int]:
    """Return all files and folders, in the order in which something was done to them."""
    found: dict[int, None] = {}
    for event in events:
        if isinstance(event, Named):
            found.update(dict.fromkeys(name.folder for name in event.names))
        elif isinstance(event, Wrote | Sized | Marked):
            found[event.file] = None
    return list(found)
