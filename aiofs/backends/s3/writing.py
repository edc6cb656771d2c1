"""Writing: a small file is one PUT when it is published, a large one a multipart upload with its parts in parallel.

Copying, by the server, is here too: it is a write whose bytes come from another object.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.s3.errors import FAILURES
from aiofs.backends.s3.facts import tags_of, unquoted, version_parameter, with_tags, write_options
from aiofs.backends.s3.publishing import FORMAT, MOST_PARTS, S3Publication, abort_upload, complete
from aiofs.backends.s3.reading import checksum, open_stream
from aiofs.driver import MIB, Entry, WriteSession
from aiofs.errors import Archived, Conflict, Damaged, TooLarge
from aiofs.kit import Uploads, looked_at
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.facts import ObjectFacts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Capabilities, Lease, Part

COPIED_WHOLE = 256 * MIB
"""An object of at most this size is copied by one request. S3 takes 5 GiB, but answers only when it has copied them."""
COPIED_AT_ONCE = 128 * MIB
"""How many bytes one request copies. S3 takes 5 GiB, but several requests at the same time are faster."""

Sent = dict[str, Any]  # a part in the form in which the request that completes the upload names it


class S3Write(WriteSession):
    """Writes one object."""

    def __init__(
        self, store: Store, path: str, lease: Lease, *, match: str | None, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._store = store
        self._path = path
        self._key = store.key(path)
        self._match = match
        self._metadata = metadata
        self._writer = clock.token()
        self._options = write_options(store.settings, path, metadata, self._writer)
        self._publication = S3Publication(store, path, lease, match, self._writer)
        name = store.settings.checksum
        self._announced = {"ChecksumAlgorithm": name.upper()} if name else {}
        self._first: Part | None = None
        self._size = 0
        self._parts = 0
        self._opening: asyncio.Task[str] | None = None
        self._uploads: Uploads[Sent] = Uploads(store.settings.parallel)
        self._done = False

    async def write(self, part: Part) -> None:
        """Keep the first part. When there is a second one, begin an upload, and send both and all that follow."""
        self._size += len(part)
        if self._opening is None and self._first is None:
            self._first = part
            return
        await self._flush()
        await self._add(self._upload(part, await self._number()))

    async def copy_range(self, start: int, stop: int) -> None:
        """Have the store copy a range of the version that is replaced; a short range is read and written instead."""
        assert self._match  # noqa: S101 -- only a session that replaces a version has a range to copy
        if stop - start < self._store.settings.part_size:
            await self._read_in(start, stop)
        else:
            await self.copy_from({"Bucket": self._store.settings.bucket, "Key": self._key}, self._match, start, stop)

    async def copy_from(self, where: Mapping[str, str], version: str, start: int, stop: int) -> None:
        """Have the store copy a range of the object that `where` names, in whole parts except for the last."""
        await self._flush()
        part_size = self._store.settings.part_size
        step = max(COPIED_AT_ONCE // part_size, 1) * part_size
        for at in range(start, stop, step):
            await self._add(self._copy(where, version, at, min(at + step, stop), await self._number()))
        self._size += stop - start

    async def prepare(self) -> dict[str, Any]:
        """Send the rest, and return a token: the upload, its parts, and the version that it replaces."""
        await self._flush(even_if_empty=True)
        parts = await self._uploads.results()
        return {**await self._upload_token(parts), "writer": self._writer, "match": await self._publication.base()}

    async def commit(self) -> Entry:
        """Publish, by a PUT or by completing the upload."""
        if self._opening is None:
            version = await self._publication.run(self._put, size=self._size, checked=True)
        else:
            await self._flush()
            parts = await self._uploads.results()
            version = await complete(self._store, self._publication, await self._upload_token(parts))
        self._done = True
        return Entry(self._path, self._size, None, version).described(self._metadata)

    async def abort(self) -> None:
        """Cancel the requests under way, and remove the upload if there is one."""
        await finish(self._abort())

    def abandon(self) -> None:
        """Cancel the requests under way, without awaiting. A sweep finds the upload."""
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
        """Send the kept part, as the first of an upload."""
        first, self._first = self._first, None
        if first is None and even_if_empty and not self._parts:
            first = b""
        if first is not None:
            await self._add(self._upload(first, await self._number()))

    async def _number(self) -> int:
        """Begin the upload if need be, and return the number of the next part.

        :raises TooLarge: if S3 takes no more parts.
        """
        await self._upload_id()
        self._parts += 1
        if self._parts > MOST_PARTS:
            reason = f"S3 takes at most {MOST_PARTS} parts of one file: give the file system a larger part_size"
            raise TooLarge.of(self._path, reason)
        return self._parts

    async def _upload_id(self) -> str:
        """Return the id of the upload. A task of its own begins it, so that a cancelled writer can still remove it."""
        if self._opening is None:
            self._opening = looked_at(self._open())
        return await asyncio.shield(self._opening)

    async def _upload_token(self, parts: list[Sent]) -> dict[str, Any]:
        """Return what is needed to complete the upload."""
        upload = await self._upload_id()
        return {"format": FORMAT, "path": self._path, "upload": upload, "parts": parts, "size": self._size}

    async def _open(self) -> str:
        answer = await self._store.requests.send(
            "create_multipart_upload", self._path, Key=self._key, **self._options, **self._announced
        )
        return str(answer.parsed["UploadId"])

    async def _add(self, upload: Any) -> None:
        await self._uploads.start(upload)

    async def _upload(self, part: Part, number: int) -> Sent:
        checks = await self._checks(part)
        answer = await self._store.requests.send(
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
        answer = await self._store.requests.send(
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
        checks = {name: result[name] for name in result if name.startswith("Checksum")} if self._announced else {}
        return {"PartNumber": number, "ETag": result["ETag"], **checks}

    async def _read_in(self, start: int, stop: int) -> None:
        """Read a range that is too short for the store to copy, and write it as one part."""
        store = self._store
        async with await open_stream(
            store.requests, self._key, self._path, start, stop, match=self._match, whole=False
        ) as stream:
            part = await stream.rest()
        if len(part) != stop - start:
            raise Damaged.of(self._path, f"the bytes end after {start + len(part)} of {stop}")
        await self.write(part)

    async def _put(self, condition: dict[str, str]) -> str:
        body = b"" if self._first is None else self._first
        checks = await self._checks(body)
        answer = await self._store.requests.send(
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


@dataclass(frozen=True)
class CopySource:
    """The source of a copy: the present version of a file, or an old one."""

    path: str
    facts: ObjectFacts
    version_id: str | None = None

    def where(self, store: Store) -> dict[str, str]:
        """Return the value of the SDK's parameter `CopySource`."""
        return {"Bucket": store.settings.bucket, "Key": store.key(self.path), **version_parameter(self.version_id)}


async def copy(
    store: Store, source: str, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Copy `source` to `target` on the server, with its metadata, tags and other properties."""
    found = CopySource(source, await store.facts(source))
    return await copy_from(store, found, target, lease, match=match, capabilities=capabilities)


async def copy_from(
    store: Store, source: CopySource, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Copy to `target` the version that the source had when its facts were read.

    :raises Conflict: if the source was changed since, beside what publishing raises.
    """
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


async def _copy_whole(  # noqa: PLR0917 -- the source and the target, with what goes with each
    store: Store, source: CopySource, target: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
) -> Entry:
    writer = clock.token()
    options = write_options(store.settings, target, metadata, writer)
    if store.settings.checksum:  # the store computes it, for the whole object
        options["ChecksumAlgorithm"] = store.settings.checksum.upper()
    if source.facts.tagged:
        options["TaggingDirective"] = "COPY"

    async def send(condition: dict[str, str]) -> str:
        answer = await store.requests.send(
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
    version = await S3Publication(store, target, lease, match, writer).run(send, size=size, checked=False)
    return Entry(target, size, None, version).described(metadata)


async def _copy_in_parts(session: S3Write, where: Mapping[str, str], source: CopySource) -> Entry:
    try:
        await session.copy_from(where, source.facts.version, 0, source.facts.size)
        return await session.commit()
    except Conflict as error:
        raise Conflict.of(source.path, "a file was changed while it was copied") from error
    finally:
        await finish(session.abort())
