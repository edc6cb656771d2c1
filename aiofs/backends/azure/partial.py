"""Partial writes: uncommitted blocks that another process continues, and a blob that says which of them count.

A block may have any size, so each checkpoint stages the last bytes as a block of their own. Then it writes the blob,
with a condition: its version must be the one that this process wrote before. When another process continues, it
writes the blob anew, so the first process is refused. Each process gives its blocks other ids, so they are never mixed.

The service drops uncommitted blocks after a week, and when somebody else writes the file.
"""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobBlock, BlockState

from aiofs.backends.azure.client import ONCE
from aiofs.backends.azure.errors import creating
from aiofs.backends.azure.listing import pages
from aiofs.backends.azure.names import HIDDEN
from aiofs.backends.azure.properties import Attributes, matching, version_of
from aiofs.backends.azure.reading import open_stream
from aiofs.backends.azure.writing import AzureSession, slices
from aiofs.driver import ABSENT, PartialSession
from aiofs.errors import AlreadyExists, Conflict, Damaged, NotFound
from aiofs.kit import unknown_format, whole_part
from aiofs.lifetimes import finish
from aiofs.partials import partial_gone, partial_outdated, partial_taken, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from datetime import datetime

    from aiofs.backends.azure.client import Container
    from aiofs.backends.azure.locks import AzureLease
    from aiofs.driver import Part

STORE = "azure"
PARTIALS = f"{HIDDEN}partial/"
FORMAT = 1
MOST_DAYS = 7.0
"""For how many days the service keeps uncommitted blocks."""
PAGE = 5000
_LARGEST = 1 << 30
_DIGITS = 8


class AzurePartial(AzureSession, PartialSession):
    """A partial write of one blob."""

    def __init__(
        self, container: Container, lease: AzureLease, match: str, attributes: Attributes, identity: str
    ) -> None:
        super().__init__(container, lease, match, attributes)
        self.token: Mapping[str, Any] = token_of(STORE, lease.path, identity)
        self._name = PARTIALS + identity
        self._version: str = ABSENT  # of the blob that keeps it

    async def keep(self, rest: Part) -> bool:
        """Stage all bytes, and write the blob that says which blocks they are."""
        if rest:
            await self.write(bytes(rest))
        await self._stage_first()
        await self._uploads.results()
        await finish(self._save())  # a cancellation must not leave a blob that `abort` does not know
        self.kept: bool = True
        return True

    async def continue_from(self, kept: KeptBlocks) -> None:
        """Continue behind what was kept. The process that kept it is refused from now on.

        :raises NotFound: if the service dropped the blocks.
        :raises Conflict: if it dropped them because somebody else wrote the file.
        """
        await _check_staged(self._container, self._path, kept, self._match)
        self._blocks = [BlobBlock(name, BlockState.UNCOMMITTED) for name in kept.blocks]
        self._size = kept.size
        self.sent: int = kept.size
        self._version = kept.version
        await finish(self._save())
        self.kept = True

    async def abort(self) -> None:
        """Drop the blocks, and remove the blob that keeps them."""
        if self._version != ABSENT and not self._ended:
            try:
                await self._container.remove(self._name, self._path, **matching(self._version))
            except NotFound:
                pass
            except Conflict:  # another process continues these blocks
                await self.leave()
                return
        await super().abort()

    async def leave(self) -> None:
        """Cancel uploads under way."""
        await self._uploads.cancel()

    async def _publish(self) -> None:
        await super()._publish()
        if self._version != ABSENT:
            with suppress(OSError):  # the file is published; a sweep removes the blob when its days are over
                await finish(self._container.remove(self._name, self._path))

    async def _save(self) -> None:
        body = json.dumps(
            {
                "format": FORMAT,
                "path": self._path,
                "size": self._size,
                "blocks": _runs([block.id for block in self._blocks]),
                "attributes": self._attributes.token(),
            }
        ).encode()
        match = self._version
        blob = self._container.blob(self._name)

        async def put() -> str:
            answer = await blob.upload_blob(slices(body), length=len(body), overwrite=True, **matching(match), **ONCE)
            return version_of(answer.get("etag"))

        async def is_there() -> str | None:
            """Return the version of the blob if it has our bytes; nobody else writes the same."""
            with suppress(NotFound):
                kept = await _read(self._container, self._name, self._path)
                if kept.version != match and kept.blocks == [block.id for block in self._blocks]:
                    return kept.version
            return None

        try:
            with creating(self._path) if match == ABSENT else nullcontext():
                self._version = await self._container.ask(self._path, put, settled=is_there)
        except (Conflict, AlreadyExists, NotFound) as error:
            raise partial_taken(self._path) from error


@dataclass(frozen=True)
class KeptBlocks:
    """A partial write, as the blob says that keeps it."""

    name: str
    version: str
    modified: datetime | None
    path: str
    size: int
    blocks: list[str]
    attributes: Attributes


async def find_kept(container: Container, path: str, identity: str) -> KeptBlocks:
    """Return what was kept of a partial write.

    :raises NotFound: if there is nothing.
    """
    try:
        kept = await _read(container, PARTIALS + identity, path)
    except NotFound as error:
        raise partial_gone(path) from error
    if kept.path != path:
        raise partial_gone(path)
    return kept


async def kept_writes(container: Container) -> AsyncGenerator[KeptBlocks]:
    """Yield all partial writes that are kept."""
    async for page in pages(container, PARTIALS, None, PAGE, None):
        for blob in page:
            with suppress(NotFound):
                yield await _read(container, blob.name, blob.name)


async def _read(container: Container, name: str, path: str) -> KeptBlocks:
    stream = await open_stream(container, name, 0, None, None)
    try:
        body = await whole_part(stream, _LARGEST)
        found = stream.entry
    finally:
        await finish(stream.aclose())
    try:
        head = json.loads(body)
        if head["format"] != FORMAT:
            raise unknown_format(path, "its partial write", head["format"], FORMAT)
        return KeptBlocks(
            name,
            str(found.version),
            found.modified,
            head["path"],
            head["size"],
            _ids(head["blocks"]),
            Attributes.from_token(head["attributes"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged.of(path, f"the blob {name!r}, which keeps its partial write, is damaged: remove it") from error


async def _check_staged(container: Container, path: str, kept: KeptBlocks, match: str) -> None:
    if not kept.blocks:
        return
    blob = container.blob(path)
    try:
        committed, staged = await container.ask(path, lambda: blob.get_block_list("all"))
    except NotFound:
        committed, staged = [], []
    if [block.id for block in committed] == kept.blocks:
        with suppress(OSError):
            await container.remove(kept.name, path)
        raise partial_gone(path, "it was published")
    sizes = {block.id: block.size for block in staged}
    if not sizes.keys() >= set(kept.blocks):
        there = await container.find(path)
        if match != (ABSENT if there is None else version_of(there.etag)):
            raise partial_outdated(path)
        raise partial_gone(path, "the service dropped its blocks: somebody wrote the file since, or a week has passed")
    if sum(sizes[name] for name in kept.blocks) != kept.size:
        raise Damaged.of(path, "the blocks of this partial write do not have the size that they had")


def _runs(ids: list[str]) -> list[list[Any]]:
    """Return the ids of blocks as runs: the blocks of one process have ids that begin alike and end with a number."""
    runs: list[list[Any]] = []
    for name in ids:
        beginning, number = name[:-_DIGITS], int(name[-_DIGITS:])
        if runs and runs[-1][0] == beginning and sum(runs[-1][1:]) == number:
            runs[-1][2] += 1
        else:
            runs.append([beginning, number, 1])
    return runs


def _ids(runs: list[list[Any]]) -> list[str]:
    return [
        f"{beginning}{number:0{_DIGITS}}" for beginning, first, count in runs for number in range(first, first + count)
    ]
