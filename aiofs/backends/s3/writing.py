"""Writing: a small file is one PUT when it is published, a large one a multipart upload with its parts in parallel.

The request that makes new bytes the file always has a condition: the store replaces only a certain version. If the
caller named none, it is the one that was there while the lease was valid. A writer may then be suspended, lose its
lease, and wake up: it cannot overwrite what the next holder of the lock has published, because the store itself
compares the versions. Each object also names the session that wrote it. So a request whose answer was lost is known to
have succeeded, and is not repeated, which could overwrite the bytes of somebody else.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs import clock
from aiofs.backends.s3.errors import FAILURES, UNCLEAR, NoSuchUpload
from aiofs.backends.s3.facts import write_options
from aiofs.backends.s3.locks import ObjectLease
from aiofs.backends.s3.reading import checksum, open_stream
from aiofs.backends.s3.store import is_folder
from aiofs.driver import ABSENT, MIB, Entry, WriteSession
from aiofs.errors import AlreadyExists, Conflict, Damaged, IsAFolder, NotFound, TooLarge, Unsupported
from aiofs.kit import Uploads, quiet_task, unknown_format
from aiofs.lifetimes import finish
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiofs.backends.s3.facts import ObjectFacts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Lease, Part

    Send = Callable[[dict[str, str]], Awaitable[str]]

FORMAT = 1
"""The number of the format of the token that `prepare` returns. 2.0.0a1 wrote the same format, without a number."""
MOST_PARTS = 10_000
_PART_FIELD = re.compile(r"ETag|Checksum[A-Z0-9]+")
ROUNDS = 5
"""How often to try again when programs without locks write the same file meanwhile."""
COPIED_AT_ONCE = 128 * MIB
"""How many bytes one request copies. S3 takes 5 GiB, but several requests at the same time are faster."""

Sent = dict[str, Any]  # a part in the form in which the request that completes the upload names it


class S3Write(WriteSession):
    """Writes one object."""

    def __init__(
        self,
        store: Store,
        path: str,
        lease: Lease,
        *,
        match: str | None,
        metadata: Mapping[str, str] | None = None,
        writer: str | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._key = store.key(path)
        self._match = match
        self._metadata = metadata
        self._writer = writer or clock.token()
        self._options = write_options(store.settings, path, metadata, self._writer)
        self._publication = S3Publication(store, path, lease, match, self._writer)
        name = store.settings.checksum
        self._announced = {"ChecksumAlgorithm": name.upper()} if name else {}
        self._first: Part | None = None
        self._size = 0
        self._parts = 0
        self._earlier: list[Sent] = []  # the parts that another process sent
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
        parts = await self._sent()
        return {**await self._upload_token(parts), "writer": self._writer, "match": await self._publication.base()}

    async def commit(self) -> Entry:
        """Publish, by a PUT or by completing the upload."""
        if self._opening is None:
            version = await self._publication.run(self._put, size=self._size, checked=True)
        else:
            await self._flush()
            version = await complete(self._store, self._publication, await self._upload_token(await self._sent()))
        self._done = True
        entry = Entry(self._path, self._size, None, version)
        return entry if self._metadata is None else entry.described(self._metadata)

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
            self._opening = quiet_task(self._open())
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

    async def _sent(self) -> list[Sent]:
        """Return all parts, once they are sent."""
        return [*self._earlier, *await self._uploads.results()]

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


class S3Publication:
    """Publishes what one session wrote, under a lease, in place of the version `match` (`None`: of any version)."""

    def __init__(self, store: Store, path: str, lease: Lease, match: str | None, writer: str) -> None:
        self._store = store
        self._path = path
        self._lease = lease
        self._match = match
        self._writer = writer

    async def base(self) -> str | None:
        """Return the version to replace: `match`, or else the present one; `None` without locks.

        :raises Conflict: if the lease was lost.
        """
        if self._match is not None or self._store.settings.locking == "commit":
            return self._match
        version = _version(await self._store.look(self._path))
        self._check_lease()
        return version

    async def run(self, send: Send, *, size: int, checked: bool) -> str:
        """Call `send` with the condition for the request that publishes `size` bytes, and return the new version.

        `checked`: every store that checks conditions at all checks them for this kind of request. If it is false, the
        present version is compared here before the request as well.

        :raises Conflict: if the lease was lost, or the version to replace is not there any more.
        :raises AlreadyExists: if there must be no file and there is one.
        :raises IsAFolder: if there is a folder of that name, on a server that cannot have both.
        """
        traits = await self._store.traits(self._path)
        for left in reversed(range(ROUNDS)):
            expected = await self.base()
            if self._match is not None and not (checked and traits.fault is None):
                await self._check_match()
            self._check_lease()
            try:
                return await _send(send, {} if expected is None else traits.condition(expected), checked=checked)
            except UNCLEAR as error:
                facts = await self._store.look(self._path)
                if facts is not None and facts.writer == self._writer and facts.size == size:
                    return facts.version
                if isinstance(error, Conflict) and facts is None and await is_folder(self._store, self._path):
                    raise IsAFolder.of(self._path, "there is a folder of that name: use another name") from error
                if not isinstance(error, Conflict | NotFound) or not left:
                    raise
                await self._check_again(facts)
        raise AssertionError  # the last round returns or raises

    async def _check_match(self) -> None:
        """Raise unless the version to replace is there."""
        facts = await self._store.look(self._path)
        if _version(facts) != self._match:
            raise self._refused()

    async def _check_again(self, facts: ObjectFacts | None) -> None:
        """Raise unless a refused request may be tried again: the version to replace is there, or the lock is ours."""
        if self._match is not None:
            if _version(facts) != self._match:
                raise self._refused()
        elif isinstance(self._lease, ObjectLease) and not await self._lease.confirm():
            raise self._lost()

    def _check_lease(self) -> None:
        if self._lease.lost:
            raise self._lost()

    def _lost(self) -> Conflict:
        return Conflict.of(self._path, "the lock was lost before the file was published; nothing was overwritten")

    def _refused(self) -> Conflict | AlreadyExists:
        if self._match == ABSENT:
            return AlreadyExists.of(self._path)
        return Conflict.of(self._path, "the file was changed meanwhile; nothing was overwritten")


async def _send(send: Send, condition: dict[str, str], *, checked: bool) -> str:
    """Call `send`, and again without the condition if the store does not know conditions for this kind of request.

    Then only the comparison before the request protects the file.
    """
    try:
        return await send(condition)
    except Unsupported:
        if checked or not condition:
            raise
        return await send({})


def _version(facts: ObjectFacts | None) -> str:
    return ABSENT if facts is None else facts.version


class ResumedUpload(WriteSession):
    """A session that was prepared earlier, perhaps by a process that has ended. It has a lease of its own."""

    def __init__(self, store: Store, token: Mapping[str, Any], lease: Lease) -> None:
        self._store = store
        self._token = token
        self._path = str(token["path"])
        self._key = store.key(self._path)
        self._lease = lease

    async def write(self, part: Part) -> None:
        """Raise `Conflict`: the bytes are complete."""
        raise Conflict.of(self._path, f"{len(part)} bytes more for a session that was prepared")

    async def prepare(self) -> dict[str, Any]:
        """Return the same token again."""
        return dict(self._token)

    async def commit(self) -> Entry:
        """Complete the upload, unless it was completed before."""
        token = self._token
        publication = S3Publication(self._store, self._path, self._lease, token["match"], token["writer"])
        try:
            if not await self._was_published():
                await complete(self._store, publication, token)
            return (await self._store.facts(self._path)).entry(self._path)
        finally:
            await finish(self._lease.release())

    async def abort(self) -> None:
        """Remove the upload, unless it was removed before."""
        try:
            await finish(abort_upload(self._store, self._path, self._token["upload"]))
        finally:
            await finish(self._lease.release())

    async def leave(self) -> None:
        """Release the lease, and keep the upload."""
        await finish(self._lease.release())

    def abandon(self) -> None:
        """Release the lease, without awaiting."""
        self._lease.abandon()

    async def _was_published(self) -> bool:
        """Return whether the upload was completed before, even if somebody has written the file since."""
        facts = await self._store.look(self._path)
        if facts is not None and facts.writer == self._token["writer"]:
            return True
        if facts is None or facts.version == self._token["match"]:
            return False
        return not await self._store.has_upload(self._path, self._key, self._token["upload"])


def check_token(token: Mapping[str, Any]) -> dict[str, Any]:
    """Return the token of a prepared upload, if `S3Write.prepare` can have returned it.

    A token cannot name the upload of another file, as S3 looks uploads up under the key of the path.

    :raises Damaged: if a field is missing or wrong.
    :raises Unsupported: if it is in the format of another version of aiofs.
    """
    fields = Token(token)
    number = token.get("format", FORMAT)
    if type(number) is not int or number != FORMAT:
        raise unknown_format(fields.path, "the prepared upload of this file", number, FORMAT)
    fields.text("upload")
    fields.text("writer", "[0-9a-f]{32}")
    match = fields.text_or_none("match")
    fields.number("size")
    for part in fields.rows("parts"):
        if not isinstance(part, dict):
            raise fields.wrong("parts", "one of them is not a part")
        row = Token({**part, "path": fields.path})
        row.number("PartNumber", 1, MOST_PARTS)
        for name in part.keys() - {"PartNumber"}:
            if not _PART_FIELD.fullmatch(name):
                raise fields.wrong("parts", f"one of them has a field {name!r}")
            row.text(name)
    return {**token, "path": fields.path, "match": match}


async def is_removed(store: Store, token: Mapping[str, Any]) -> bool:
    """Return whether neither the upload nor the file is there: the upload was aborted, or the file removed."""
    path = str(token["path"])
    return await store.look(path) is None and not await store.has_upload(path, store.key(path), token["upload"])


async def complete(store: Store, publication: S3Publication, token: Mapping[str, Any]) -> str:
    """Complete an upload, and return the new version.

    :raises Conflict: if somebody removed the upload, beside what `S3Publication.run` raises.
    """

    async def send(condition: dict[str, str]) -> str:
        try:
            answer = await store.requests.send(
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
    """Remove an upload with its parts, if it is there."""
    with suppress(NoSuchUpload, NotFound):
        await store.requests.send("abort_multipart_upload", path, Key=store.key(path), UploadId=upload)
