"""Writing: a small file is one PUT when it is published, a large one a multipart upload with its parts in parallel.

Copying, by the server, is here too: it is a write whose bytes come from another object.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import FAILURES
from aiofs.backends.s3.facts import tags_of, unquoted, with_tags, write_options
from aiofs.backends.s3.publishing import FORMAT, MOST_PARTS, Publication, abort_upload, complete
from aiofs.backends.s3.reading import checksum, open_stream
from aiofs.driver import MIB, Entry, WriteSession
from aiofs.errors import Archived, Conflict, Damaged, TooLarge
from aiofs.kit import Uploads, looked_at
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Capabilities, Lease, Part

COPIED_AT_ONCE = 128 * MIB
"""How much one request has the store copy: S3 would take 5 GiB, but is quicker with several at the same time."""

Sent = dict[str, Any]  # a part as the request to complete the upload names it


class S3Write(WriteSession):
    """New bytes for one object."""

    def __init__(
        self, store: Store, path: str, lease: Lease, *, match: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._store = store
        self._path = path
        self._key = store.key(path)
        self._match = match
        self._metadata = metadata
        self._writer = uuid.uuid4().hex
        self._options = write_options(store.settings, path, metadata, self._writer)
        self._publication = Publication(store, path, lease, match, self._writer)
        name = store.settings.checksum
        self._announced = {"ChecksumAlgorithm": name.upper()} if name else {}
        self._first: Part | None = None
        self._size = 0
        self._parts = 0
        self._opening: asyncio.Task[str] | None = None
        self._uploads: Uploads[Sent] = Uploads(store.settings.parallel)
        self._done = False

    async def write(self, part: Part) -> None:
        """Keep the first part; send it, and those that follow, once there are two."""
        self._size += len(part)
        if self._opening is None and self._first is None:
            self._first = part
            return
        await self._flush()
        await self._add(self._upload(part, await self._number()))

    async def copy_range(self, start: int, stop: int) -> None:
        """Have the store copy from the version that this session replaces, or read it where that is as quick."""
        assert self._match  # noqa: S101 -- there is nothing to copy from where nothing is replaced
        if stop - start < self._store.settings.part_size:
            await self._read_in(start, stop)
        else:
            await self.copy_from({"Bucket": self._store.settings.bucket, "Key": self._key}, self._match, start, stop)

    async def copy_from(self, where: Mapping[str, str], version: str, start: int, stop: int) -> None:
        """Have the store copy a range of an object, which `where` names, in whole parts but for the last."""
        await self._flush()
        part_size = self._store.settings.part_size
        step = max(COPIED_AT_ONCE // part_size, 1) * part_size
        for at in range(start, stop, step):
            await self._add(self._copy(where, version, at, min(at + step, stop), await self._number()))
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Send all that is left, and return the upload, its parts, and the version it is to replace."""
        await self._flush(even_if_empty=True)
        parts = await self._uploads.results()
        return {**await self._upload_token(parts), "writer": self._writer, "match": await self._publication.base()}

    async def commit(self) -> Entry:
        """Publish by a PUT, or by completing the upload."""
        if self._opening is None:
            version = await self._publication.run(self._put, size=self._size, checked=True)
        else:
            await self._flush()
            parts = await self._uploads.results()
            version = await complete(self._store, self._publication, await self._upload_token(parts))
        self._done = True
        return Entry(self._path, self._size, None, version).described(self._metadata)

    async def abort(self) -> None:
        """Stop what is under way and remove the upload, if there is one."""
        await finish(self._abort())

    def abandon(self) -> None:
        """Stop what is under way; a sweep will find the upload."""
        self._uploads.abandon()

    async def _abort(self) -> None:
        self._first = None
        await self._uploads.cancel()
        if self._opening is None or self._done:
            return
        try:
            upload = await self._opening
        except FAILURES:
            return
        await abort_upload(self._store, self._path, upload)
        self._done = True

    async def _flush(self, *, even_if_empty: bool = False) -> None:
        """Send the part that was kept, as the first of an upload."""
        first, self._first = self._first, None
        if first is None and even_if_empty and not self._parts:
            first = b""
        if first is not None:
            await self._add(self._upload(first, await self._number()))

    async def _number(self) -> int:
        """Return the number of the next part, once there is an upload that it can be part of.

        :raises TooLarge: if S3 takes no more parts.
        """
        await self._upload_id()
        self._parts += 1
        if self._parts > MOST_PARTS:
            reason = f"S3 takes {MOST_PARTS} parts of one file; give the file system a larger part_size"
            raise TooLarge.of(self._path, reason)
        return self._parts

    async def _upload_id(self) -> str:
        """Return the upload, begun by a task of its own so that a cancelled writer does not lose sight of it."""
        if self._opening is None:
            self._opening = looked_at(self._open())
        return await asyncio.shield(self._opening)

    async def _upload_token(self, parts: list[Sent]) -> dict[str, Any]:
        """Return what it takes to complete the upload."""
        upload = await self._upload_id()
        return {"format": FORMAT, "path": self._path, "upload": upload, "parts": parts, "size": self._size}

    async def _open(self) -> str:
        answer = await self._store.calls.send(
            "create_multipart_upload", self._path, Key=self._key, **self._options, **self._announced
        )
        return str(answer.parsed["UploadId"])

    async def _add(self, upload: Any) -> None:
        await self._uploads.start(upload)

    async def _upload(self, part: Part, number: int) -> Sent:
        checks = await self._checks(part)
        answer = await self._store.calls.send(
            "upload_part",
            self._path,
            Key=self._key,
            UploadId=await self._upload_id(),
            PartNumber=number,
            Body=part,
            **self._announced,
            **checks,
        )
        return {"PartNumber": number, "ETag": f'"{answer.version}"', **checks}

    async def _copy(self, where: Mapping[str, str], version: str, start: int, stop: int, number: int) -> Sent:
        answer = await self._store.calls.send(
            "upload_part_copy",
            self._path,
            Key=self._key,
            UploadId=await self._upload_id(),
            PartNumber=number,
            CopySource=where,
            CopySourceRange=f"bytes={start}-{stop - 1}",
            CopySourceIfMatch=f'"{version}"',
        )
        result = answer.parsed["CopyPartResult"]
        told = {name: value for name, value in result.items() if name.startswith("Checksum")} if self._announced else {}
        return {"PartNumber": number, "ETag": result["ETag"], **told}

    async def _read_in(self, start: int, stop: int) -> None:
        """Take a range too short for the store to copy, whole as one part."""
        store = self._store
        async with await open_stream(
            store.calls, self._key, self._path, start, stop, match=self._match, whole=False
        ) as stream:
            part = await stream.rest()
        if len(part) != stop - start:
            raise Damaged.of(self._path, f"the bytes end after {start + len(part)} of {stop}")
        await self.write(part)

    async def _put(self, condition: dict[str, str]) -> str:
        body = b"" if self._first is None else self._first
        checks = await self._checks(body)
        answer = await self._store.calls.send(
            "put_object",
            self._path,
            Key=self._key,
            Body=body,
            **self._options,
            **self._announced,
            **checks,
            **condition,
        )
        return answer.version

    async def _checks(self, part: Part) -> dict[str, str]:
        name = self._store.settings.checksum
        return {f"Checksum{name.upper()}": checksum(name, part)} if name else {}


COPIED_WHOLE = 256 * MIB
"""Up to here one request copies all: S3 would take 5 GiB, but answers only when it has copied them."""


@dataclass(frozen=True)
class Source:
    """What is to be copied: a file as it is now, or an old version of it."""

    path: str
    facts: Facts
    version_id: str | None = None

    def where(self, store: Store) -> dict[str, str]:
        """Return the SDK's parameter that names it."""
        kept = {} if self.version_id is None else {"VersionId": self.version_id}
        return {"Bucket": store.settings.bucket, "Key": store.key(self.path), **kept}


async def copy(
    store: Store, source: str, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Make `target` the same as `source`, with its metadata, tags and other properties."""
    found = Source(source, await store.facts(source))
    return await copy_from(store, found, target, lease, match=match, capabilities=capabilities)


async def copy_from(
    store: Store, source: Source, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Make `target` what the source was when its facts were asked for."""
    facts = source.facts
    _, metadata = tags_of(facts.entry(source.path).kept(capabilities))
    try:
        if facts.size <= COPIED_WHOLE:
            return await _copy_whole(store, source, target, lease, match, metadata)
        if facts.tagged:
            metadata = with_tags(metadata, await store.tags(source.path, source.version_id))
        session = S3Write(store, target, lease, match=match, metadata=metadata)
        return await _copy_in_parts(session, source.where(store), source)
    except Archived as error:
        error.filename = source.path
        raise


async def _copy_whole(  # noqa: PLR0917 -- what is copied where, and what goes with it
    store: Store, source: Source, target: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
) -> Entry:
    writer = uuid.uuid4().hex
    options = write_options(store.settings, target, metadata, writer)
    if store.settings.checksum:  # of the whole, computed by the store
        options["ChecksumAlgorithm"] = store.settings.checksum.upper()
    if source.facts.tagged:
        options["TaggingDirective"] = "COPY"

    async def send(condition: dict[str, str]) -> str:
        answer = await store.calls.send(
            "copy_object",
            target,
            Key=store.key(target),
            CopySource=source.where(store),
            CopySourceIfMatch=f'"{source.facts.version}"',
            MetadataDirective="REPLACE",
            **options,
            **condition,
        )
        return unquoted(answer.parsed["CopyObjectResult"]["ETag"])

    size = source.facts.size
    version = await Publication(store, target, lease, match, writer).run(send, size=size, checked=False)
    return Entry(target, size, None, version).described(metadata)


async def _copy_in_parts(session: S3Write, where: Mapping[str, str], source: Source) -> Entry:
    try:
        await session.copy_from(where, source.facts.version, 0, source.facts.size)
        return await session.commit()
    except Conflict as error:
        raise Conflict.of(source.path, "a file was changed while it was copied") from error
    finally:
        await finish(session.abort())
