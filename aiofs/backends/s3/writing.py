"""Writing: a small file is one PUT when it is published, a large one a multipart upload with its parts in parallel."""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import FAILURES, NoSuchUpload
from aiofs.backends.s3.facts import write_options
from aiofs.backends.s3.publishing import Publication
from aiofs.backends.s3.reading import checksum, open_stream
from aiofs.driver import MIB, Entry, WriteSession
from aiofs.errors import Conflict, Damaged, NotFound, TooLarge, Unsupported
from aiofs.kit import Uploads, looked_at
from aiofs.lifetimes import finish
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.store import Store
    from aiofs.driver import Lease, Part

FORMAT = 1
"""The number of the format of what `prepare` returns. 2.0.0a1 returned the same, without a number."""
MOST_PARTS = 10_000
_PART_FIELD = re.compile(r"ETag|Checksum[A-Z0-9]+")
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


class Resumed(WriteSession):
    """A session that was prepared before, perhaps by a process that is no more, under a lease of its own."""

    def __init__(self, store: Store, token: Mapping[str, Any], lease: Lease) -> None:
        self._store = store
        self._token = token
        self._path = str(token["path"])
        self._lease = lease

    async def write(self, part: Part) -> None:
        """Refuse: the bytes are complete."""
        raise Conflict.of(self._path, f"{len(part)} bytes more for a session that was prepared")

    async def prepare(self) -> dict[str, Any]:
        """Return the same token again."""
        return dict(self._token)

    async def commit(self) -> Entry:
        """Complete the upload, unless that was done before."""
        token = self._token
        publication = Publication(self._store, self._path, self._lease, token["match"], token["writer"])
        try:
            if not await self._was_published():
                await complete(self._store, publication, token)
            return (await self._store.facts(self._path)).entry(self._path)
        finally:
            await finish(self._lease.release())

    async def abort(self) -> None:
        """Remove the upload, unless that was done before."""
        try:
            await finish(abort_upload(self._store, self._path, self._token["upload"]))
        finally:
            await finish(self._lease.release())

    async def leave(self) -> None:
        """Give the lease back."""
        await finish(self._lease.release())

    def abandon(self) -> None:
        """Let go of the lease."""
        self._lease.abandon()

    async def _was_published(self) -> bool:
        """Whether the upload was completed before, even if somebody has written the file again since."""
        facts = await self._store.look(self._path)
        if facts is not None and facts.writer == self._token["writer"]:
            return True
        if facts is None or facts.version == self._token["match"]:
            return False
        return not await upload_exists(self._store, self._path, self._token["upload"])


def check_token(token: Mapping[str, Any]) -> dict[str, Any]:
    """Return the token of a prepared upload, once all that it tells could have been told by `S3Write.prepare`.

    The upload itself is looked up under the key of the path: S3 knows no upload without one.

    :raises Damaged: if it could not.
    :raises Unsupported: if it is in a format of another aiofs.
    """
    told = Token(token)
    number = token.get("format", FORMAT)
    if type(number) is not int or number != FORMAT:
        raise Unsupported.of(
            told.path,
            f"what was prepared for this file has the format {number!r}, and this aiofs knows {FORMAT}: "
            "use the aiofs that prepared it, or a newer one",
        )
    told.text("upload")
    told.text("writer", "[0-9a-f]{32}")
    match = told.text_or_none("match")
    told.number("size")
    for part in told.rows("parts"):
        if not isinstance(part, dict):
            raise told.wrong("parts", "one of them is no part")
        row = Token({**part, "path": told.path})
        row.number("PartNumber", 1, MOST_PARTS)
        for name in part.keys() - {"PartNumber"}:
            if not _PART_FIELD.fullmatch(name):
                raise told.wrong("parts", f"one of them has a field {name!r}")
            row.text(name)
    return {**token, "path": told.path, "match": match}


async def is_removed(store: Store, token: Mapping[str, Any]) -> bool:
    """Whether neither the upload is there nor its file: somebody removed it since, or the upload was aborted."""
    path = str(token["path"])
    return await store.look(path) is None and not await upload_exists(store, path, token["upload"])


async def complete(store: Store, publication: Publication, token: Mapping[str, Any]) -> str:
    """Publish an upload, as it was prepared, and return the new version, which is looked up where no answer tells it.

    :raises Conflict: if somebody removed the upload, beside what `Publication.run` raises.
    """

    async def send(condition: dict[str, str]) -> str:
        try:
            answer = await store.calls.send(
                "complete_multipart_upload",
                token["path"],
                Key=store.key(token["path"]),
                UploadId=token["upload"],
                MultipartUpload={"Parts": token["parts"]},
                **condition,
            )
        except NoSuchUpload as error:
            raise Conflict.of(token["path"], "the multipart upload is not there any more") from error
        return answer.version

    return await publication.run(send, size=token["size"], checked=False)


async def abort_upload(store: Store, path: str, upload: str) -> None:
    """Remove an upload with its parts, unless it is gone."""
    with suppress(NoSuchUpload, NotFound):
        await store.calls.send("abort_multipart_upload", path, Key=store.key(path), UploadId=upload)


async def upload_exists(store: Store, path: str, upload: str) -> bool:
    """Whether an upload was neither completed nor aborted."""
    try:
        await store.calls.send("list_parts", path, Key=store.key(path), UploadId=upload, MaxParts=1)
    except (NoSuchUpload, NotFound):
        return False
    return True
