"""Writing one blob: a small one with one request, others in blocks; adding to append blobs; copying.

The fence: publishing is conditional on the version that was there under the lock, or on there being none. Suppose that
a writer lost its lock, does not know it yet, and another writer has the lock now. Whichever of the two publishes first
changes the version, so the other one is refused: nothing is overwritten unseen.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, BlobSasPermissions, BlockState, ContentSettings, StandardBlobTier

from aiofs import clock
from aiofs.backends.azure.client import ONCE, PART, SLICE, Container
from aiofs.backends.azure.errors import NotPermitted, creating
from aiofs.backends.azure.names import FORMAT, is_header
from aiofs.backends.azure.properties import (
    Attributes,
    check_copied,
    check_file,
    check_not_archived,
    check_replaceable,
    entry_of,
    matching,
    version_of,
)
from aiofs.backends.azure.reading import ID_LENGTH, BaseBlocks, block_ids, open_stream
from aiofs.driver import ABSENT, MIB, Entry, Part, WriteSession
from aiofs.errors import AlreadyExists, Conflict, NotFound, TooLarge
from aiofs.kit import Uploads, check_lease, check_match, pour, whole_part
from aiofs.lifetimes import finish
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Signer
    from aiofs.backends.azure.locks import AzureLease
    from aiofs.driver import Capabilities

WIDTH = 4
"""How many blocks of a file are uploaded at the same time."""
MOST_BLOCKS = 50_000
LARGEST_PUT = 1 * MIB
"""Up to this size a file takes one request. The SDK sends the whole body at once, and larger ones block the loop."""
LARGEST_BLOCK = 100 * MIB
LARGEST_BLOCK_BEFORE = 4 * MIB
"""How large a block may be in versions of the service before `LARGER_SINCE`."""
LARGER_SINCE = "2022-11-02"
LARGEST_COPY = 256 * MIB
COPY_SECONDS = 600.0
"""How long the service can read the source of a copy through the URL that we sign for it."""


def check_token(token: Mapping[str, Any]) -> dict[str, Any]:
    """Return a token after checking all values in it but its format.

    Azure keeps blocks under the name of their blob, so a token cannot lead to blocks of other paths.

    :raises Damaged: if `AzureSession.prepare` cannot have returned it.
    """
    given = Token(token)
    given.text("match")
    given.number("size")
    for row in given.rows("blocks"):
        # Ids of other programs may have spaces and any letters.
        if not isinstance(row, list) or list(map(type, row)) != [str, bool] or not (row[0] and row[0].isprintable()):
            raise given.wrong("blocks", "one of them is not a block")
    for key, value in given.texts("headers").items():
        if not is_header(key, value):
            raise given.wrong("headers", f"{key!r} is not possible")
    for key, value in given.texts("settings").items():
        if key not in vars(ContentSettings()) or not value.isprintable():
            raise given.wrong("settings", f"{key!r} is not possible")
    tags = given.texts("tags") if given.has("tags") else None
    checked = {"headers": given.texts("headers"), "settings": given.texts("settings"), "tags": tags}
    return {**token, **checked, "tier": given.text_or_none("tier", "|".join(tier.value for tier in StandardBlobTier))}


class PublishedOnce(WriteSession):
    """A session that publishes once. Committing it again returns the same entry."""

    _path: str
    _done: Entry | None = None
    _ended: bool = False

    async def commit(self) -> Entry:
        """Publish, if the version to be replaced is still there."""
        if self._done is None:
            if self._ended:
                raise Conflict.of(self._path, "this write was aborted")
            await finish(self._publish())
        assert self._done is not None  # noqa: S101 -- `_publish` sets it
        return self._done

    @abstractmethod
    async def _publish(self) -> None:
        """Publish, and set `_done` to the entry that was published."""


class AzureSession(PublishedOnce):
    """New bytes for a blob. `match` is the version that they replace, or `ABSENT`.

    With `any_version` the caller gave no version: `match` is the one that was there when the session began. If the file
    is removed before the bytes are published, they are published all the same, as the removal can have begun before the
    lock was taken. If somebody wrote the file in between, that is not overwritten.
    """

    def __init__(
        self,
        container: Container,
        lease: AzureLease,
        match: str,
        attributes: Attributes,
        *,
        any_version: bool = False,
    ) -> None:
        self._container = container
        self._lease = lease
        self._path = lease.path
        self._blob = container.blob(lease.path)
        self._match = match
        self._any_version = any_version
        self._attributes = attributes
        self._size = 0
        self._first: Part | None = None
        self._blocks: list[BlobBlock] = []
        self._token: str | None = None
        self._base: BaseBlocks | None = None
        self._uploads = Uploads[None](WIDTH)
        self._listed = False
        self._adopted = False

    async def write(self, part: Part) -> None:
        """Take the next part."""
        check_lease(self._lease, self._path)
        if self._size == 0:
            self._first = part
        else:
            await self._stage_first()
            await self._stage(part)
        self._size += len(part)

    async def copy_range(self, start: int, stop: int) -> None:
        """Keep blocks of the replaced version; bytes between them are downloaded and uploaded again."""
        await self._stage_first()
        base = await self._known_base()
        for piece in base.pieces(start, stop):
            if piece.block is None:
                await self._stage(await base.bytes_of(piece))
            else:
                self._add(BlobBlock(piece.block, BlockState.COMMITTED))
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Upload everything in blocks, which the service keeps for a week."""
        await self._stage_first()
        await self._uploads.results()
        self._listed = True
        return {
            "format": FORMAT,
            "path": self._path,
            "match": self._match,
            "size": self._size,
            "blocks": [[block.id, block.state is BlockState.COMMITTED] for block in self._blocks],
            **self._attributes.token(),
        }

    def adopt(self, token: Mapping[str, Any]) -> None:
        """Continue what another process prepared; this session releases its lease at the end."""
        self._size = token["size"]
        states = (BlockState.UNCOMMITTED, BlockState.COMMITTED)
        self._blocks = [BlobBlock(name, states[committed]) for name, committed in token["blocks"]]
        self._listed = self._adopted = True

    async def abort(self) -> None:
        """Drop all staged blocks."""
        self._first = None
        await self._uploads.cancel()
        if not self._ended:
            self._ended = True
            if self._blocks and self._match == ABSENT and not self._lease.lost:
                await finish(self._discard())
            await self.leave()

    async def leave(self) -> None:
        """Leave what was prepared to others, and release the lock that came with it."""
        self.abandon()
        if self._adopted:
            await self._lease.release()

    def abandon(self) -> None:
        """Cancel uploads under way."""
        self._uploads.abandon()

    async def _publish(self) -> None:
        try:
            self._done = await self._sent()
        except Conflict:
            if not self._any_version or self._match == ABSENT or not await was_removed(self._container, self._lease):
                raise
            self._match = ABSENT
            self._done = await self._sent()
        except AlreadyExists as error:
            if self._any_version:  # nobody asked for a new file, so this is about the one that came in between
                raise Conflict.of(self._path, "the file was made meanwhile") from error
            raise
        self._ended = True
        if self._adopted:
            await self._lease.release()

    async def _sent(self) -> Entry:
        """Publish in place of the version `match`, and return the entry."""
        ask = self._container.ask
        with creating(self._path) if self._match == ABSENT else nullcontext():
            if self._blocks or self._listed or self._size > LARGEST_PUT:
                return await self._sent_as_list()
            try:
                return await ask(self._path, self._put, settled=self._bytes_are_there)
            except AlreadyExists:
                # Some servers say so if there are only blocks, of a killed writer or of a partial write.
                if self._match != ABSENT or await self._container.find(self._path) is not None:
                    raise
                return await self._sent_as_list()

    async def _sent_as_list(self) -> Entry:
        await self._stage_first()
        await self._uploads.results()
        return await self._container.ask(self._path, self._put_list, settled=self._list_is_there)

    async def _put(self) -> Entry:
        data = self._first or b""
        answer = await self._blob.upload_blob(
            data if isinstance(data, bytes) else bytes(data),
            length=len(data),
            overwrite=True,
            **self._attributes.arguments(),
            **matching(self._match),
            **ONCE,
        )
        return self._entry(answer)

    async def _put_list(self) -> Entry:
        answer = await self._blob.commit_block_list(
            self._blocks, **self._attributes.arguments(), **matching(self._match), **ONCE
        )
        return self._entry(answer)

    def _entry(self, answer: Mapping[str, Any]) -> Entry:
        version = version_of(answer.get("etag"))
        return Entry(self._path, self._size, answer.get("last_modified"), version, version_id=answer.get("version_id"))

    async def _list_is_there(self) -> Entry | None:
        """Return the blob's entry if it consists of our blocks."""
        if not self._blocks:
            return await self._bytes_are_there()
        ids = [block.id for block in self._blocks]
        if (await block_ids(self._container, self._path))[0] != ids:
            return None
        return entry_of(self._path, await self._properties())

    async def _bytes_are_there(self) -> Entry | None:
        """Return the blob's entry if it has another version than before, and our bytes."""
        try:
            properties = await self._properties()
        except NotFound:
            return None
        ours = entry_of(self._path, properties)
        digest = hashlib.md5(self._first or b"", usedforsecurity=False).digest()
        # A list of blocks has no digest, not even an empty list.
        theirs = bytes(properties.content_settings.content_md5 or b"")
        same = ours.size == self._size and (not ours.size or theirs == digest)
        return ours if same and ours.version != self._match else None

    async def _properties(self) -> BlobProperties:
        return await self._container.ask(self._path, self._blob.get_blob_properties)

    async def _discard(self) -> None:
        """Remove the blocks of a file that does not exist yet, unless there are blocks of others, too.

        Otherwise the service drops them at the next write, or after a week.
        """
        ours = {block.id for block in self._blocks}
        with suppress(OSError):
            _, staged = await block_ids(self._container, self._path)
            if ours.issuperset(staged) and await self._container.find(self._path) is None:
                await self._container.remove(self._path, self._path)

    async def _stage_first(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            await self._stage(first)

    async def _stage(self, part: Part) -> None:
        if self._token is None:
            length = await self._id_length()
            self._token = clock.token(length)[: length - 8]
        name = f"{self._token}{len(self._blocks):08}"
        self._add(BlobBlock(name, BlockState.UNCOMMITTED))

        async def upload() -> None:
            with creating(self._path):
                await self._container.ask(
                    self._path, lambda: self._blob.stage_block(name, slices(part), length=len(part), **ONCE)
                )

        await self._uploads.start(upload())

    def _add(self, block: BlobBlock) -> None:
        if len(self._blocks) == MOST_BLOCKS:
            raise TooLarge.of(self._path, f"a blob has at most {MOST_BLOCKS} blocks")
        self._blocks.append(block)

    async def _id_length(self) -> int:
        """Return how long the ids of blocks are: as long as those of the blob that is replaced."""
        if self._match == ABSENT:
            return ID_LENGTH
        try:
            return (await self._known_base()).id_length
        except Conflict:
            if not self._any_version or not await was_removed(self._container, self._lease):
                raise
            self._match = ABSENT
            return ID_LENGTH

    async def _known_base(self) -> BaseBlocks:
        if self._base is None:
            self._base = await BaseBlocks.of(self._container, self._path, self._match)
        return self._base


async def was_removed(container: Container, lease: AzureLease) -> bool:
    """Return whether the file that the lease is for is gone.

    :raises Conflict: if the lease was lost.
    """
    if await container.find(lease.path) is not None:
        return False
    await lease.confirm()
    check_lease(lease, lease.path)
    return True


def slices(*parts: Part) -> Any:
    """Return an iterator of slices of parts: the SDK sends them for half the CPU time that whole parts take."""

    async def cut() -> AsyncGenerator[memoryview]:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), SLICE):
                yield view[start : start + SLICE]

    return cut()


class AppendSession(PublishedOnce):
    """Bytes for the end of an append blob. They are kept in memory and published as one block."""

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
        """Begin with all bytes of the blob."""
        self._kept = True

    async def write(self, part: Part) -> None:
        """Take the next part.

        :raises Unsupported: if the blob was to be replaced: it would not be an append blob any more.
        :raises TooLarge: if the bytes do not fit into one block.
        """
        self._check_kept()
        check_lease(self._lease, self._path)
        self._size += len(part)
        if self._size > self._largest:
            reason = f"one block of an append blob has {self._largest // MIB} MiB at most: append less at a time"
            raise TooLarge.of(self._path, reason)
        self._parts.append(part)

    async def prepare(self) -> dict[str, Any]:
        """Refuse: readers see an appended block at once, and it cannot be removed again."""
        check_replaceable(self._path, self._before)
        return await super().prepare()

    async def commit(self) -> Entry:
        """Append the block, if the blob still has the version that it had."""
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
            slices(*self._parts),
            length=self._size,
            appendpos_condition=self._before.size,
            **matching(self._match),
            **ONCE,
        )
        answer = cast("Mapping[str, Any]", appended)
        size = self._before.size + self._size
        return Entry(self._path, size, answer.get("last_modified"), version_of(answer.get("etag")))

    async def _is_there(self) -> Entry | None:
        """Return the blob's entry if it has its earlier bytes and then ours."""
        size = self._before.size + self._size
        stream = await open_stream(self._container, self._path, self._before.size, None, None)
        try:
            if stream.entry.size != size or stream.entry.version == self._match:
                return None
            data = await whole_part(stream, self._size)
        finally:
            await finish(stream.aclose())
        return stream.entry if data == b"".join(self._parts) else None


class Copier:
    """Copies one blob, or an old version of it, whose `snapshot` or `version_id` is `kept`.

    The service copies in one request, together with all attributes of the blob, if it can read the source by a URL.
    """

    def __init__(  # noqa: PLR0917 -- what the driver has, and what is copied
        self,
        container: Container,
        signer: Signer,
        capabilities: Capabilities,
        source: str,
        kept: Mapping[str, str] | None = None,
        version: str | None = None,
    ) -> None:
        self._container = container
        self._signer = signer
        self._capabilities = capabilities
        self._source = source
        self._kept = dict(kept or {})
        self._version = version

    async def to(self, lease: AzureLease, match: str | None = None, *, container: Container | None = None) -> Entry:
        """Make the blob that the lease is for, at version `match`, the same as the source.

        It is in the source's container, or in another `container` of the account. A source that is too large for the
        service, or that we cannot sign a URL for, passes through this process.

        :raises Conflict: if the source is not the version that it was made for.
        """
        to = container or self._container
        there = await to.find(lease.path)
        if there is not None:
            check_file(lease.path, there)
            check_replaceable(lease.path, there)
        replaced = ABSENT if there is None else version_of(there.etag)
        try:
            return await self._to(to, lease, replaced if match is None else match)
        except Conflict:
            if match is not None or replaced == ABSENT or not await was_removed(to, lease):
                raise
        except AlreadyExists as error:
            if match is None:
                raise Conflict.of(lease.path, "the file was made meanwhile") from error
            raise
        return await self._to(to, lease, ABSENT)

    async def _to(self, to: Container, lease: AzureLease, match: str) -> Entry:
        container, source, target = self._container, self._source, lease.path
        properties = await container.ask(source, container.blob(source, **self._kept).get_blob_properties)
        check_copied(source, properties)
        check_not_archived(source, properties)
        found = entry_of(source, properties)
        check_match(source, self._version, found.version)
        url = await self._url(properties)
        if url is None:
            return await self._copy_through(found, to, lease, match, properties)
        return await finish(self._let_copy(url, found, to, target, match, properties))

    async def _url(self, properties: BlobProperties) -> str | None:
        """Return a URL for the service to read the source; `None` if the service cannot copy it."""
        if properties.size > LARGEST_COPY:
            return None
        read = BlobSasPermissions(read=True, tag=bool(properties.tag_count))
        with suppress(NotPermitted):  # to sign URLs; copying through this process may still be permitted
            return await self._signer.url(self._source, read, COPY_SECONDS, **self._kept)
        return None

    async def _let_copy(  # noqa: PLR0917 -- the source and the target, with what goes with each
        self, url: str, found: Entry, container: Container, target: str, match: str, properties: BlobProperties
    ) -> Entry:
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
                **ONCE,
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

    async def _copy_through(
        self, found: Entry, container: Container, lease: AzureLease, match: str, properties: BlobProperties
    ) -> Entry:
        attributes = Attributes.of(lease.path, found.kept(self._capabilities))
        attributes = await attributes.keeping(self._container, self._source, properties)
        stream = await open_stream(self._container, self._source, 0, None, found.version, **self._kept)
        try:
            return await pour(stream, AzureSession(container, lease, match, attributes), PART, lease)
        finally:
            await finish(stream.aclose())
