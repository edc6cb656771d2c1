"""A handle may begin without a synchronous file, and gets one when something is asked that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs.aiofiles.base import AsyncBase

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Executor
    from typing import Self

    from aiofs.localio.files import LocalFile
    from aiofs.localio.fresh import Fresh


class Unfolding(AsyncBase):
    """A handle that begins fresh, or with a file."""

    _engine: LocalFile | None
    _under: Any
    """The stream, for those who know that it is there. Others ask `_stream`, as they ask `_local` for the engine's."""
    _fresh: Fresh | None
    """What was opened on the loop, as long as nothing was asked that needs buffers."""

    def __init__(self, file: Any, loop: asyncio.AbstractEventLoop | None, executor: Executor | None) -> None:
        self._begin(file)
        super().__init__(file, loop, executor)

    @classmethod
    def over(cls, fresh: Fresh, loop: asyncio.AbstractEventLoop) -> Self:
        """Return a handle over what was just opened on the loop."""
        handle = cls.__new__(cls)
        handle._start(fresh, loop)  # noqa: SLF001 - this is its constructor, too
        return handle

    def _start(self, fresh: Fresh, loop: asyncio.AbstractEventLoop) -> None:
        self._fresh = fresh
        self._ref_loop = loop
        self._executor = None
        self._close_way()

    def _unfold(self) -> None:
        """Give a fresh file its buffers."""
        if self._fresh is not None:
            self._begin(self._fresh.unfold())

    @property
    def _stream(self) -> Any:
        self._unfold()
        return self._under

    @_stream.setter
    def _stream(self, stream: Any) -> None:
        self._under = stream

    @property
    def _local(self) -> LocalFile | None:
        """The engine's file at the bottom of the stream; None where every call is left to threads."""
        if self._fresh is not None:
            self._unfold()
        return self._engine

    @_local.setter
    def _local(self, local: LocalFile | None) -> None:
        self._engine = local

    def _begin(self, file: Any) -> None:
        """Work with `file`, in threads."""
        self._fresh = None
        self._under = file
        self._engine = None

    def _close_way(self) -> None:
        """Let nothing be done on the loop for the time being."""
