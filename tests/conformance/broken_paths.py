"""File systems whose paths have one fault each, as those of other libraries have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.filesystem import FileSystem
from aiofs.path import Path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.driver import Layer
    from aiofs.names import AnyName


class PathTwin(FileSystem):
    """A file system whose paths are replaced by faulty ones."""

    kind: ClassVar[type[Path]] = Path

    def over(self, *layers: Layer) -> FileSystem:
        """Return a twin, too."""
        return type(self)(super().over(*layers).driver, owner=False)

    def __truediv__(self, name: AnyName) -> Path:
        path = super().__truediv__(name)
        path.__class__ = self.kind
        return path


class ForgetsTheFolderPath(Path):
    __slots__ = ()

    def _file(self) -> str:
        return self.name


class ForgetsTheFolder(PathTwin):
    kind = ForgetsTheFolderPath


class TakesTextAlone(PathTwin):
    async def copy(self, source: Any, target: Any, **words: Any) -> None:
        await super().copy(f"{source!r}".strip("'"), target, **words)


class CleansPurePaths(PathTwin):
    async def stat(self, path: Any) -> Any:
        return await super().stat(str(path).strip("/"))


class ComparesObjectsPath(Path):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class ComparesObjects(PathTwin):
    kind = ComparesObjectsPath


class OpensTextPath(Path):
    __slots__ = ()

    def open(self, mode: str = "r", **words: Any) -> Any:
        return super().open(mode, **({"encoding": "latin-1"} if mode == "r" else {}), **words)  # type: ignore[call-overload]


class OpensText(PathTwin):
    kind = OpensTextPath


class ListsWhatIsMissingPath(Path):
    __slots__ = ()

    async def _children(self) -> AsyncIterator[Any]:
        for name in await self.system.ls(self.path, recursive=False):
            yield self.system / name


class ListsWhatIsMissing(PathTwin):
    kind = ListsWhatIsMissingPath


class GlobsItsOwnNamePath(Path):
    __slots__ = ()

    async def _matching(self, wanted: Any) -> AsyncIterator[Any]:
        for name in await self.system.glob(f"{self.path}/{wanted}"):
            yield self.system / name


class GlobsItsOwnName(PathTwin):
    kind = GlobsItsOwnNamePath


class SeesBeginningsAsFoldersPath(Path):
    __slots__ = ()

    async def is_dir(self) -> bool:
        return bool(await self.system.ls(prefix=self.path))


class SeesBeginningsAsFolders(PathTwin):
    kind = SeesBeginningsAsFoldersPath


class ReturnsTheOldNamePath(Path):
    __slots__ = ()

    async def move(self, target: Any, **words: Any) -> Path:
        await super().move(target, **words)
        return self


class ReturnsTheOldName(PathTwin):
    kind = ReturnsTheOldNamePath


class MakesMarksPath(Path):
    __slots__ = ()

    async def mkdir(self, **words: Any) -> None:
        await super().mkdir(**words)
        await (self / ".keep").write_bytes(b"")


class MakesMarks(PathTwin):
    kind = MakesMarksPath


class SortsByPartsPath(Path):
    __slots__ = ()

    def __lt__(self, other: Any) -> bool:
        return self.parts < other.parts


class SortsByParts(PathTwin):
    kind = SortsByPartsPath


class WalksInTextPath(Path):
    __slots__ = ()

    async def walk(self) -> AsyncIterator[Any]:
        async for folder, folders, files in self.system.walk(self.path):
            yield folder, folders, files


class WalksInText(PathTwin):
    kind = WalksInTextPath


class ShowsThePasswordInItsUrl(PathTwin):
    def url_of(self) -> str:
        return "redis://:hunter2@localhost"
