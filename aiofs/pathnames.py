"""PlainPath: the methods of a `Path` that do no I/O, as those of pathlib's pure paths."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Self

from aiofs.listing import Pattern
from aiofs.names import check_folder, check_path, name_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from aiofs.filesystem import FileSystem
    from aiofs.names import AnyName


class PlainPath:
    """The part of a `Path` that does no I/O: the parts of its name, and paths with other names."""

    __slots__ = ("_pure", "_system")

    _pure: PurePath
    _system: FileSystem

    @property
    def system(self) -> FileSystem:
        """The file system that the name is in."""
        return self._system

    @property
    def path(self) -> str:
        """The whole name in `system`, as `system.open` takes it; `""` is its root."""
        return name_of(self._pure)

    @property
    def name(self) -> str:
        """The last segment; `""` for the root."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The last segment without its last suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """The last suffix of the last segment, with its dot; `""` if there is none."""
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the last segment, each with its dot."""
        return self._pure.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """The segments of the name."""
        return self._pure.parts

    @property
    def parent(self) -> Self:
        """The folder that this is in; the root is its own parent."""
        return self._with(self._pure.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """The folders that this is in, the innermost first, the root last."""
        return tuple(map(self._with, self._pure.parents))

    def joinpath(self, *names: AnyName) -> Self:
        """Return the path below this one. A trailing `/` of a name is dropped.

        :raises ValueError: if a name is absolute, or has an empty segment, `.` or `..`: none leads out of its folder.
        """
        checked = [name for name in map(check_folder, names) if name]
        return self._with(self._pure.joinpath(*checked)) if checked else self

    def __truediv__(self, name: AnyName) -> Self:
        return self.joinpath(name) if isinstance(name, str | PurePath) else NotImplemented

    def __rtruediv__(self, folder: AnyName) -> Self:
        if not isinstance(folder, str | PurePath):
            return NotImplemented
        return self._with(type(self._pure)(check_folder(folder), self._pure))

    def with_name(self, name: str) -> Self:
        """Return the path with another last segment.

        :raises ValueError: if this is the root, or `name` is not one segment.
        """
        return self._renamed(self._pure.with_name(name))

    def with_stem(self, stem: str) -> Self:
        """Return the path with another stem and the same suffix. Raises as `with_name`."""
        return self._renamed(self._pure.with_stem(stem))

    def with_suffix(self, suffix: str) -> Self:
        """Return the path with another last suffix, `".txt"` for example; `""` removes it. Raises as `with_name`."""
        return self._renamed(self._pure.with_suffix(suffix))

    def relative_to(self, other: AnyName | PlainPath) -> PurePosixPath:
        """Return the name of this path in the folder `other`: `other / path.relative_to(other)` is this path.

        `other` is a `Path`, or the name of a folder of the same file system.

        :raises ValueError: if this is not in `other`.
        """
        base = self._other(other)
        (store, name), (theirs, folder) = self.place(), base.place()
        if store != theirs:
            raise ValueError(f"{str(self)!r} is not in {str(base)!r}: they are in two stores")
        return PurePosixPath(name).relative_to(folder)

    def is_relative_to(self, other: AnyName | PlainPath) -> bool:
        """Whether this is in the folder `other`, or is that folder."""
        try:
            self.relative_to(other)
        except ValueError:
            return False
        return True

    def match(self, pattern: str) -> bool:
        """Whether the last segments match the pattern: `path.match("*.py")`.

        :raises ValueError: for an empty pattern.
        """
        return self._pure.match(pattern)

    def full_match(self, pattern: str) -> bool:
        """Whether the whole name matches: `*`, `?` and `[abc]` within a segment, `**` across segments.

        :raises ValueError: if the pattern has an empty segment, `.` or `..`.
        """
        return Pattern(pattern).matches(name_of(self._pure))

    def at(self) -> FileSystem:
        """Return the folder as a file system of its own. Closing it leaves `system` open."""
        return self._system.at(self.path)

    def place(self) -> tuple[Hashable, str]:
        """Return the store, and the whole name in it: equal for two paths if they mean the same file. No I/O."""
        return self._system.driver.locate(self.path)

    def __eq__(self, other: object) -> bool:
        return self.place() == other.place() if isinstance(other, PlainPath) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.place())

    def __lt__(self, other: PlainPath) -> bool:
        return self.place()[1] < other.place()[1] if self._same_store(other) else NotImplemented

    def __le__(self, other: PlainPath) -> bool:
        return self.place()[1] <= other.place()[1] if self._same_store(other) else NotImplemented

    def __gt__(self, other: PlainPath) -> bool:
        return self.place()[1] > other.place()[1] if self._same_store(other) else NotImplemented

    def __ge__(self, other: PlainPath) -> bool:
        return self.place()[1] >= other.place()[1] if self._same_store(other) else NotImplemented

    def _same_store(self, other: object) -> bool:
        """Whether names can be compared. The order is that of listings, also among several file systems of a store."""
        return isinstance(other, PlainPath) and self.place()[0] == other.place()[0]

    def __str__(self) -> str:
        return f"<{self._system.driver}>/{self.path}"

    def __repr__(self) -> str:
        return f"<Path {self.path!r} in {self._system.driver}>"

    def _with(self, pure: PurePath) -> Self:
        made = object.__new__(type(self))
        made._pure, made._system = pure, self._system
        return made

    def _renamed(self, pure: PurePath) -> Self:
        check_path(pure.name)
        return self._with(pure)

    def _other(self, other: AnyName | PlainPath) -> PlainPath:
        """Return the path that an argument means: a name is in the same file system."""
        return other if isinstance(other, PlainPath) else self._with(PurePosixPath(check_folder(other)))
