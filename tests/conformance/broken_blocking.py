"""File systems whose blocking faces have one fault each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aiofs.blocking import BlockingFileSystem
from aiofs.blocking.files import BlockingFile, BlockingTextFile, BlockingWriter, RawFile
from aiofs.blocking.systems import BlockingIterator, BlockingListing
from aiofs.filesystem import FileSystem

if TYPE_CHECKING:
    from aiofs.driver import Layer
    from aiofs.files.handle import Handle


class BlockingTwin(FileSystem):
    """A file system whose blocking twin is replaced by a faulty one, or only the raw files below its buffers."""

    face: ClassVar[type[BlockingFileSystem]] = BlockingFileSystem
    raw: ClassVar[type[RawFile]] = RawFile

    @property
    def blocking(self) -> BlockingFileSystem:
        made = self.face(self)
        if self.raw is not RawFile:
            vars(made)["open"] = self._opened_raw
        return made

    def over(self, *layers: Layer) -> FileSystem:
        return type(self)(super().over(*layers).driver, owner=False)

    def _opened_raw(self, *given: Any, **options: Any) -> Any:
        file = BlockingFileSystem(self).open(*given, **options)
        file._raw.__class__ = self.raw
        return file


class ReadsNothingOfWhatIsMissing(BlockingTwin):
    class face(BlockingFileSystem):  # noqa: N801
        def read_bytes(self, path: Any, *rest: Any) -> bytes:  # type: ignore[override]
            return super().read_bytes(path, *rest) if self.exists(path) else b""


class OpensWithoutABuffer(BlockingTwin):
    class face(BlockingFileSystem):  # noqa: N801
        def open(self, path: Any, mode: Any = "r", **options: Any) -> Any:
            file = super().open(path, mode, **options)
            return file.detach() if isinstance(file, BlockingWriter) else file


class PublishesOnAnException(BlockingTwin):
    class Text(BlockingTextFile):
        def __exit__(self, *_: object) -> None:
            BlockingFile.__exit__(self, None, None, None)

    class face(BlockingFileSystem):  # noqa: N801
        def open(self, path: Any, mode: Any = "r", **options: Any) -> Any:
            file: Any = super().open(path, mode, **options)
            if type(file) is BlockingTextFile:
                file.__class__ = PublishesOnAnException.Text
            return file


class PublishesWhatIsCollected(BlockingTwin):
    class raw(RawFile):  # noqa: N801
        def drop(self) -> None:
            self.close()


class NeverSeeks(BlockingTwin):
    class raw(RawFile):  # noqa: N801
        def seekable(self) -> bool:
            return self._action != "w" and super().seekable()


class ReadsWhereItWrote(BlockingTwin):
    class raw(RawFile):  # noqa: N801
        async def _go(self, handle: Handle) -> None:
            """Do not move."""


class GoesOnWithAnEndedListing(BlockingTwin):
    class Iterator(BlockingIterator[str]):
        def close(self) -> None:
            """Do nothing."""

    class Names(BlockingListing[str]):
        def __iter__(self) -> BlockingIterator[str]:
            return GoesOnWithAnEndedListing.Iterator(aiter(self._listing), self._most)

    class face(BlockingFileSystem):  # noqa: N801
        def ls(self, *given: Any, **options: Any) -> Any:  # type: ignore[override]
            return GoesOnWithAnEndedListing.Names(self.system.ls(*given, **options))
