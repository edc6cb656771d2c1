"""Publishing: the request that makes new bytes the file; and prepared uploads, which another process may publish.

Every such request has a condition: the store replaces only a certain version. If the caller named none, it is the one
that was there while the lease was valid. A writer may then be suspended, lose its lease, and wake up: it cannot
overwrite what the next holder of the lock has published, because the store itself compares the versions. Each object
also names the session that wrote it. So a request whose answer was lost is known to have succeeded, and is not
repeated, which could overwrite the bytes of somebody else.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import UNCLEAR, NoSuchUpload
from aiofs.backends.s3.locks import ObjectLease
from aiofs.backends.s3.names import is_folder
from aiofs.driver import ABSENT, WriteSession
from aiofs.errors import AlreadyExists, Conflict, IsAFolder, NotFound, Unsupported
from aiofs.lifetimes import finish
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiofs.backends.s3.facts import ObjectFacts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Entry, Lease, Part

    Send = Callable[[dict[str, str]], Awaitable[str]]

FORMAT = 1
"""The number of the format of the token that `prepare` returns. 2.0.0a1 wrote the same format, without a number."""
MOST_PARTS = 10_000
_PART_FIELD = re.compile(r"ETag|Checksum[A-Z0-9]+")
ROUNDS = 5
"""How often to try again when programs without locks write the same file meanwhile."""


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
        raise Unsupported.of(
            fields.path,
            f"the prepared upload of this file has the format {number!r}, and this aiofs knows {FORMAT}: "
            "use the aiofs that prepared it, or a newer one",
        )
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
