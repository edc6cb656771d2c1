"""Publishing: the one request that makes new bytes the file, and everything that keeps it from overwriting others.

Every such request carries a condition on the version that it replaces. Where the caller named none, it is the version
seen while the lease was known to hold: a writer that is stopped after that look, loses its lease and wakes up cannot
overwrite what the next holder published, because the store itself compares. Each object also tells which session wrote
it, so that a request whose answer was lost is known to have succeeded, and is never repeated over somebody's work.
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

    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Entry, Lease, Part

    Send = Callable[[dict[str, str]], Awaitable[str]]

FORMAT = 1
"""The number of the format of what `prepare` returns. 2.0.0a1 returned the same, without a number."""
MOST_PARTS = 10_000
_PART_FIELD = re.compile(r"ETag|Checksum[A-Z0-9]+")
ROUNDS = 5
"""How often to look again where foreign programs, which know no locks, write the same file meanwhile."""


class Publication:
    """How one session becomes the file: under a lease, in place of `match` (`None`: of whatever is there)."""

    def __init__(self, store: Store, path: str, lease: Lease, match: str | None, writer: str) -> None:
        self._store = store
        self._path = path
        self._lease = lease
        self._match = match
        self._writer = writer

    async def base(self) -> str | None:
        """Return the version to be replaced, as it is now under the lease; `None` where no lock is kept.

        :raises Conflict: if the lease was lost.
        """
        if self._match is not None or self._store.settings.locking == "commit":
            return self._match
        version = _version(await self._store.look(self._path))
        self._check_lease()
        return version

    async def run(self, send: Send, *, size: int, checked: bool) -> str:
        """Have `send` make the request, with the condition it is to carry, and return the new version.

        `size` is how many bytes the file then has. `checked` says that every store which has conditions at all has
        them for this kind of request; where it is false, the version is looked at before as well.

        :raises Conflict: if the lease was lost, or the version to be replaced is not there any more.
        :raises AlreadyExists: if there was to be no file and there is.
        :raises IsAFolder: if there is a folder of that name, and the server can have one of them only.
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
                    raise IsAFolder.of(self._path, "there is a folder of that name: use another") from error
                if not isinstance(error, Conflict | NotFound) or not left:
                    raise
                await self._check_again(facts)
        raise AssertionError  # the last round returns or raises

    async def _check_match(self) -> None:
        """Raise unless what is to be replaced is there."""
        facts = await self._store.look(self._path)
        if _version(facts) != self._match:
            raise self._refused()

    async def _check_again(self, facts: Facts | None) -> None:
        """Raise unless a refused request may be tried again: nothing was changed that was not to be changed."""
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
    """Have the request made, without its condition where the store has none for this kind: then the look counts."""
    try:
        return await send(condition)
    except Unsupported:
        if checked or not condition:
            raise
        return await send({})


def _version(facts: Facts | None) -> str:
    return ABSENT if facts is None else facts.version


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
