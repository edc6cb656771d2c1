"""Writing one blob: one request for a small one, else blocks that are staged side by side and committed as a list.

The fence: what is published is conditional on the version that was there when the lock was held, or on there being
none. A writer that lost its lock, and does not know it yet, finds another version there, or makes the one that took the
lock over find another; either way only one of the two publishes, and nobody's work is overwritten unseen.
"""

from __future__ import annotations

import hashlib
import secrets
from abc import abstractmethod
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, BlobSasPermissions, BlockState, ContentSettings, StandardBlobTier

from aiofs.backends.azure.client import PART, SLICE, Container, remove
from aiofs.backends.azure.errors import NotPermitted, creating
from aiofs.backends.azure.names import FORMAT, is_header
from aiofs.backends.azure.properties import (
    Labels,
    check_copied,
    check_file,
    check_not_archived,
    check_replaceable,
    entry_of,
    matching,
    version_of,
)
from aiofs.backends.azure.reading import ID_LENGTH, Base, committed_ids, open_stream
from aiofs.driver import ABSENT, MIB, Entry, Part, WriteSession
from aiofs.errors import Conflict, NotFound, TooLarge
from aiofs.kit import Uploads, pour, whole_part
from aiofs.lifetimes import finish
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.locks import AzureLease
    from aiofs.backends.azure.signing import Signer
    from aiofs.driver import Capabilities

WIDTH = 4
"""How many blocks are on their way at the same time."""
MOST_BLOCKS = 50_000
LARGEST_PUT = 1 * MIB
"""Up to this size a file goes with one request; the SDK would send a larger body in one piece, which holds the loop."""
LOST = "the lock on this file was lost before it was published; nothing was overwritten"


def check_token(token: Mapping[str, Any]) -> dict[str, Any]:
    """Return a token once all that it tells is checked, but its format.

    The blocks are looked up under the name of the path: Azure knows no block without a blob.

    :raises Damaged: if `AzureSession.prepare` could not have told it.
    """
    told = Token(token)
    told.text("match")
    told.number("size")
    for row in told.rows("blocks"):
        if not isinstance(row, list) or list(map(type, row)) != [str, bool] or not _is_id(row[0]):
            raise told.wrong("blocks", "one of them is no block")
    for key, value in told.texts("headers").items():
        if not is_header(key, value):
            raise told.wrong("headers", f"{key!r} cannot be one")
    for key, value in told.texts("settings").items():
        if key not in vars(ContentSettings()) or not value.isprintable():
            raise told.wrong("settings", f"{key!r} cannot be one")
    tags = told.texts("tags") if told.has("tags") else None
    labels = {"headers": told.texts("headers"), "settings": told.texts("settings"), "tags": tags}
    return {**token, **labels, "tier": told.text_or_none("tier", "|".join(tier.value for tier in StandardBlobTier))}


def _is_id(text: str) -> bool:
    """Whether a block can have this id; other programs put spaces and letters of any kind into theirs."""
    return bool(text) and text.isprintable()


class PublishedOnce(WriteSession):
    """A session that publishes once; committing it again returns what was published."""

    _path: str
    _done: Entry | None = None
    _ended: bool = False

    async def commit(self) -> Entry:
        """Publish, if the version to be replaced is still there."""
        if self._done is None:
            if self._ended:
                raise Conflict.of(self._path, "this write was aborted")
            await finish(self._publish())
        assert self._done is not None  # noqa: S101 -- or it raised
        return self._done

    @abstractmethod
    async def _publish(self) -> None:
        """Publish, and set `_done` to the entry that was published."""


class AzureSession(PublishedOnce):
    """New bytes for a blob; `match` is the version it replaces, or `ABSENT`."""

    def __init__(self, container: Container, lease: AzureLease, match: str, labels: Labels) -> None:
        self._container = container
        self._lease = lease
        self._path = lease.path
        self._blob = container.blob(lease.path)
        self._match = match
        self._labels = labels
        self._size = 0
        self._first: Part | None = None
        self._blocks: list[BlobBlock] = []
        self._token: str | None = None
        self._base: Base | None = None
        self._uploads = Uploads[None](WIDTH)
        self._listed = False
        self._adopted = False

    async def write(self, part: Part) -> None:
        """Take the next part."""
        if self._lease.lost:
            raise Conflict.of(self._path, LOST)
        if self._size == 0:
            self._first = part
        else:
            await self._stage_first()
            await self._stage(part)
        self._size += len(part)

    async def copy_range(self, start: int, stop: int) -> None:
        """Take the blocks of the version that is replaced; what is in none of its own passes through here."""
        await self._stage_first()
        base = await self._known_base()
        for piece in base.pieces(start, stop):
            if piece.block is None:
                await self._stage(await base.bytes_of(piece))
            else:
                self._add(BlobBlock(piece.block, BlockState.COMMITTED))
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Have everything in blocks, which the service keeps for a week."""
        await self._stage_first()
        await self._uploads.results()
        self._listed = True
        return {
            "format": FORMAT,
            "path": self._path,
            "match": self._match,
            "size": self._size,
            "blocks": [[block.id, block.state is BlockState.COMMITTED] for block in self._blocks],
            **self._labels.token(),
        }

    def adopt(self, token: Mapping[str, Any]) -> None:
        """Go on with what another process prepared, under a lease that is given back at the end."""
        self._size = token["size"]
        states = (BlockState.UNCOMMITTED, BlockState.COMMITTED)
        self._blocks = [BlobBlock(name, states[committed]) for name, committed in token["blocks"]]
        self._listed = self._adopted = True

    async def abort(self) -> None:
        """Drop what was staged."""
        self._first = None
        await self._uploads.cancel()
        if not self._ended:
            self._ended = True
            if self._blocks and self._match == ABSENT and not self._lease.lost:
                await finish(self._discard())
            await self.leave()

    async def leave(self) -> None:
        """Let go, and give a lock back that came with the session."""
        self.abandon()
        if self._adopted:
            await self._lease.release()

    def abandon(self) -> None:
        """Stop what is on its way."""
        self._uploads.abandon()

    async def _publish(self) -> None:
        ask = self._container.ask
        with creating(self._path) if self._match == ABSENT else nullcontext():
            if self._blocks or self._listed or self._size > LARGEST_PUT:
                await self._stage_first()
                await self._uploads.results()
                self._done = await ask(self._path, self._put_list, settled=self._list_is_there)
            else:
                self._done = await ask(self._path, self._put, settled=self._bytes_are_there)
        self._ended = True
        if self._adopted:
            await self._lease.release()

    async def _put(self) -> Entry:
        data = self._first or b""
        answer = await self._blob.upload_blob(
            data if isinstance(data, bytes) else bytes(data),
            length=len(data),
            overwrite=True,
            **self._labels.asked(),
            **matching(self._match),
        )
        return self._entry(answer)

    async def _put_list(self) -> Entry:
        answer = await self._blob.commit_block_list(self._blocks, **self._labels.asked(), **matching(self._match))
        return self._entry(answer)

    def _entry(self, answer: Mapping[str, Any]) -> Entry:
        version = version_of(answer.get("etag"))
        return Entry(self._path, self._size, answer.get("last_modified"), version, version_id=answer.get("version_id"))

    async def _list_is_there(self) -> Entry | None:
        """Return what is published if that is our blocks."""
        if not self._blocks:
            return await self._bytes_are_there()
        ids = [block.id for block in self._blocks]
        if await committed_ids(self._container, self._path) != ids:
            return None
        return entry_of(self._path, await self._properties())

    async def _bytes_are_there(self) -> Entry | None:
        """Return what is published if it is another version than before, and of our bytes."""
        try:
            properties = await self._properties()
        except NotFound:
            return None
        ours = entry_of(self._path, properties)
        digest = hashlib.md5(self._first or b"", usedforsecurity=False).digest()
        told = bytes(properties.content_settings.content_md5 or b"")  # nothing, of a list of blocks, even an empty one
        same = ours.size == self._size and (not ours.size or told == digest)
        return ours if same and ours.version != self._match else None

    async def _properties(self) -> BlobProperties:
        return await self._container.ask(self._path, self._blob.get_blob_properties)

    async def _discard(self) -> None:
        """Remove the blocks of a file that was to be new. Those of others the service drops when it is written next."""
        with suppress(OSError):  # the service drops them after a week
            try:
                await self._properties()
            except NotFound:
                await remove(self._container, self._path, self._path)

    async def _stage_first(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            await self._stage(first)

    async def _stage(self, part: Part) -> None:
        if self._token is None:
            length = ID_LENGTH if self._match == ABSENT else (await self._known_base()).id_length
            self._token = secrets.token_hex(length)[: length - 8]
        name = f"{self._token}{len(self._blocks):08}"
        self._add(BlobBlock(name, BlockState.UNCOMMITTED))

        async def upload() -> None:
            with creating(self._path):
                await self._container.ask(
                    self._path, lambda: self._blob.stage_block(name, slices(part), length=len(part))
                )

        await self._uploads.start(upload())

    def _add(self, block: BlobBlock) -> None:
        if len(self._blocks) == MOST_BLOCKS:
            raise TooLarge.of(self._path, f"Azure allows for {MOST_BLOCKS} blocks in a blob")
        self._blocks.append(block)

    async def _known_base(self) -> Base:
        if self._base is None:
            self._base = await Base.of(self._container, self._path, self._match)
        return self._base


def slices(*parts: Part) -> Any:
    """Return what the SDK sends of parts: slices, which cost half of what the whole does."""

    async def cut() -> AsyncGenerator[memoryview]:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), SLICE):
                yield view[start : start + SLICE]

    return cut()


LARGEST_BLOCK = 100 * MIB
LARGEST_BLOCK_BEFORE = 4 * MIB
"""Of what a block may have in versions of the service before `LARGER_SINCE`."""
LARGER_SINCE = "2022-11-02"


class AppendSession(PublishedOnce):
    """Bytes for the end of an append blob, held until they are published: they go as one block or not at all."""

    def __init__(self, container: Container, lease: AzureLease, match: str, properties: BlobProperties) -> None:
        self._container = container
        self._lease = lease
        self._path = lease.path
        self._match = match
        self._before = properties
        self._parts: list[Part] = []
        self._size = 0
        self._kept = False
        newer = container.client.api_version >= LARGER_SINCE
        self._largest: int = LARGEST_BLOCK if newer else LARGEST_BLOCK_BEFORE

    async def keep_base(self) -> None:
        """Begin with what the blob has."""
        self._kept = True

    async def write(self, part: Part) -> None:
        """Take the next part.

        :raises Unsupported: if the blob was to be written anew: it would not be an append blob any more.
        :raises TooLarge: if it does not fit into one block.
        """
        self._check_kept()
        if self._lease.lost:
            raise Conflict.of(self._path, LOST)
        self._size += len(part)
        if self._size > self._largest:
            reason = f"one block of an append blob has {self._largest // MIB} MiB at most; append less at a time"
            raise TooLarge.of(self._path, reason)
        self._parts.append(part)

    async def prepare(self) -> dict[str, Any]:
        """Refuse: a block that was appended is seen at once, and cannot be taken back."""
        check_replaceable(self._path, self._before)
        return await super().prepare()

    async def commit(self) -> Entry:
        """Append the block, if the blob is still the version that was to be added to."""
        self._check_kept()
        return await super().commit()

    async def abort(self) -> None:
        """Forget the bytes."""
        self.abandon()

    def abandon(self) -> None:
        """Forget the bytes."""
        self._ended = True
        self._parts = []

    def _check_kept(self) -> None:
        if not self._kept:
            check_replaceable(self._path, self._before)

    async def _publish(self) -> None:
        if self._size:
            self._done = await self._container.ask(self._path, self._append, settled=self._is_there)
        else:
            self._done = entry_of(self._path, self._before)
        self.abandon()

    async def _append(self) -> Entry:
        blob = self._container.blob(self._path)
        appended = await blob.append_block(
            slices(*self._parts), length=self._size, appendpos_condition=self._before.size, **matching(self._match)
        )
        answer = cast("Mapping[str, Any]", appended)
        size = self._before.size + self._size
        return Entry(self._path, size, answer.get("last_modified"), version_of(answer.get("etag")))

    async def _is_there(self) -> Entry | None:
        """Return what is there if it is what was, and our bytes behind that."""
        size = self._before.size + self._size
        stream = await open_stream(self._container, self._path, self._before.size, None, None)
        try:
            if stream.entry.size != size or stream.entry.version == self._match:
                return None
            data = await whole_part(stream, self._size)
        finally:
            await finish(stream.aclose())
        return stream.entry if data == b"".join(self._parts) else None


LARGEST_COPY = 256 * MIB
COPY_SECONDS = 600.0
"""For how long the service may read the source of a copy by the URL that it is given."""


class Copier:
    """Copies of one blob, or of an old version of it: `kept` is its `snapshot` or `version_id`."""

    def __init__(
        self,
        container: Container,
        signer: Signer,
        capabilities: Capabilities,
        source: str,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        self._container = container
        self._signer = signer
        self._capabilities = capabilities
        self._source = source
        self._kept = dict(kept or {})

    async def to(self, lease: AzureLease, match: str | None = None) -> Entry:
        """Make the blob of the lease, at version `match`, the same as the source.

        What is too large for the service, or what we cannot sign for it, passes through here.
        """
        container, source, target = self._container, self._source, lease.path
        there = await container.find(target)
        if there is not None:
            check_file(target, there)
            check_replaceable(target, there)
        if match is None:
            match = ABSENT if there is None else version_of(there.etag)
        properties = await container.ask(source, container.blob(source, **self._kept).get_blob_properties)
        check_copied(source, properties)
        check_not_archived(source, properties)
        found = entry_of(source, properties)
        url = await self._url(properties)
        if url is None:
            return await self._carry(found, lease, match, properties)
        return await finish(self._let_copy(url, found, target, match, properties))

    async def _url(self, properties: BlobProperties) -> str | None:
        """Return what the service can read the source by."""
        if properties.size > LARGEST_COPY:
            return None
        read = BlobSasPermissions(read=True, tag=bool(properties.tag_count))
        with suppress(NotPermitted):  # to sign, which is no reason not to copy
            return await self._signer.url(self._source, read, COPY_SECONDS, **self._kept)
        return None

    async def _let_copy(self, url: str, found: Entry, target: str, match: str, properties: BlobProperties) -> Entry:
        container = self._container
        blob = container.blob(target)
        also: dict[str, Any] = {"tags": "COPY"} if properties.tag_count else {}
        if found.properties and "storage_class" in found.properties:
            also["standard_blob_tier"] = StandardBlobTier(found.properties["storage_class"])

        async def start() -> Entry:
            answer: Any = await blob.start_copy_from_url(
                url,
                requires_sync=True,
                source_etag=f'"{found.version}"',
                source_match_condition=MatchConditions.IfNotModified,
                **also,
                **matching(match),
            )
            return replace(
                found,
                path=target,
                version=version_of(answer["etag"]),
                modified=answer.get("last_modified"),
                version_id=answer.get("version_id"),
            )

        async def copied() -> Entry | None:
            there = await container.find(target)
            return None if there is None or version_of(there.etag) == match else entry_of(target, there)

        return await container.ask(target, start, settled=copied)

    async def _carry(self, found: Entry, lease: AzureLease, match: str, properties: BlobProperties) -> Entry:
        labels = Labels.of(lease.path, found.kept(self._capabilities))
        labels = await labels.keeping(self._container, self._source, properties)
        stream = await open_stream(self._container, self._source, 0, None, found.version, **self._kept)
        try:
            return await pour(stream, AzureSession(self._container, lease, match, labels), PART, lease)
        finally:
            await finish(stream.aclose())
