"""Partial writes: a multipart upload that another process continues.

Each checkpoint writes one object beside the files: which parts of the upload count, and the bytes behind them, as S3
takes no part of less than 5 MiB except the last. Each such write has a condition, the version of the object that this
process wrote before. When another process continues, it writes the object anew, so the first process is refused.

S3 itself lists the parts, and the object has a digest of that list. A process that was suspended for long may send one
of these parts again: then the digest differs, and nothing is mixed.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.errors import NoSuchUpload
from aiofs.backends.s3.facts import USUAL_CLASS
from aiofs.backends.s3.listing import entries
from aiofs.backends.s3.reading import open_stream
from aiofs.backends.s3.writing import S3Write, abort_upload
from aiofs.driver import ABSENT, PartialSession
from aiofs.errors import Conflict, Damaged, NotFound
from aiofs.kit import quiet_task, unknown_format
from aiofs.lifetimes import finish
from aiofs.locks import LockTable
from aiofs.partials import partial_gone, partial_taken, token_of
from aiofs.properties import join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from aiofs.backends.s3.store import Store
    from aiofs.backends.s3.writing import Sent
    from aiofs.driver import Entry, Lease, Part

STORE = "s3"
PARTIALS = ".aiofs-partial/"
"""The folder of the objects that keep partial writes, below the prefix. Listings do not show it."""
FORMAT = 1
LONGEST_HEAD = 1 << 16
"""The first line of such an object is shorter than this."""


class S3Partial(S3Write, PartialSession):
    """A partial write of one object."""

    def __init__(  # noqa: PLR0917 -- as for `S3Write`, and the id
        self,
        store: Store,
        path: str,
        lease: Lease,
        match: str,
        metadata: Mapping[str, str] | None,
        identity: str,
        writer: str | None = None,
    ) -> None:
        super().__init__(store, path, lease, match=match, metadata=metadata, writer=writer)
        self.token: Mapping[str, Any] = token_of(STORE, path, identity)
        self._name = PARTIALS + identity
        self._version: str = ABSENT  # of the object that keeps it

    async def keep(self, rest: Part) -> bool:
        """Send all whole parts, and write the object that counts them and has the rest."""
        await self._flush()
        await self._save(await self._sent(), rest)
        self.kept: bool = True
        return False

    async def continue_from(self, kept: KeptUpload, rest: bytes) -> None:
        """Continue behind what was kept. The process that kept it is refused from now on."""
        parts: list[Sent] = []
        if kept.upload is not None:
            parts = await _parts_of(self._store, self._path, kept)
            self._opening = quiet_task(_return(kept.upload))
        self._earlier, self._parts = parts, len(parts)
        self._version, self._size = kept.version, kept.size
        self.sent: int = kept.size
        self.rest: bytes = rest
        await self._save(parts, rest)
        self.kept = True

    async def commit(self) -> Entry:
        """Publish, and remove the object."""
        entry = await super().commit()
        with suppress(OSError):  # the file is published; a sweep removes the object when its days are over
            await self._store.remove([self._name])
        return entry

    async def leave(self) -> None:
        """Cancel the requests under way."""
        await self._uploads.cancel()

    async def _abort(self) -> None:
        if self._version != ABSENT:
            try:
                await self._store.remove_version(self._name, self._version, missing_ok=True)
            except Conflict:  # another process continues this upload
                await self.leave()
                return
        await super()._abort()

    async def _save(self, parts: list[Sent], rest: Part) -> None:
        head = {
            "format": FORMAT,
            "path": self._path,
            "writer": self._writer,
            "upload": await self._upload_id() if self._opening is not None else None,
            "parts": len(parts),
            "digest": _digest(parts),
            "size": self._size,
            "metadata": None if self._metadata is None else dict(self._metadata),
        }
        # In an archive class the next process could not read it.
        about = join(None, {"storage_class": USUAL_CLASS})
        session = S3Write(self._store, self._name, LockTable().acquire(self._name), match=self._version, metadata=about)
        await session.write(json.dumps(head).encode() + b"\n" + bytes(rest))
        await finish(self._commit_kept(session))  # a cancellation must not leave an object that `abort` does not know

    async def _commit_kept(self, session: S3Write) -> None:
        try:
            entry = await session.commit()
        except (Conflict, FileExistsError) as error:
            raise partial_taken(self._path) from error
        self._version = entry.version or ABSENT


@dataclass(frozen=True)
class KeptUpload:
    """A partial write, as the object says that keeps it."""

    name: str
    version: str
    modified: datetime | None
    path: str
    writer: str
    upload: str | None
    """The id of the multipart upload; `None` if there is no whole part yet."""
    parts: int
    digest: str
    size: int
    """How many bytes these parts have."""
    metadata: Mapping[str, str] | None


async def find_kept(store: Store, path: str, identity: str) -> tuple[KeptUpload, bytes]:
    """Return what was kept of a partial write, and the bytes behind its parts.

    :raises NotFound: if there is nothing.
    """
    try:
        kept, rest = await _read(store, PARTIALS + identity, path, None)
    except NotFound as error:
        raise partial_gone(path) from error
    if kept.path != path:
        raise partial_gone(path)
    return kept, rest


async def kept_uploads(store: Store) -> AsyncIterator[KeptUpload]:
    """Yield all partial writes that are kept."""
    async for entry in entries(store, PARTIALS, "", None):
        with suppress(NotFound):
            yield (await _read(store, entry.path, entry.path, LONGEST_HEAD))[0]


async def remove_kept(store: Store, path: str, kept: Mapping[str, Any]) -> bool:
    """Remove a partial write, unless somebody continued it since; return whether it is gone."""
    try:
        await store.remove_version(kept["partial"], kept["version"], missing_ok=True)
    except Conflict:
        return False
    if kept["upload"] is not None:
        await abort_upload(store, path, kept["upload"])
    return True


async def _read(store: Store, name: str, path: str, stop: int | None) -> tuple[KeptUpload, bytes]:
    async with await open_stream(
        store.requests, store.key(name), path, 0, stop, match=None, whole=stop is None
    ) as stream:
        body = await stream.rest()
        found = stream.entry
    line, _, rest = body.partition(b"\n")
    try:
        head = json.loads(line)
        if head["format"] != FORMAT:
            raise unknown_format(path, "its partial write", head["format"], FORMAT)
        kept = KeptUpload(name, str(found.version), found.modified, **{key: head[key] for key in _FIELDS})
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged.of(path, f"the object {name!r}, which keeps its partial write, is damaged: remove it") from error
    return kept, rest


_FIELDS = ("path", "writer", "upload", "parts", "digest", "size", "metadata")


async def _parts_of(store: Store, path: str, kept: KeptUpload) -> list[Sent]:
    """Return the parts that count, as the store lists them.

    :raises NotFound: if the upload was published, or is gone.
    :raises Damaged: if these are not the parts that were kept.
    """
    parts: list[Sent] = []
    size = 0
    where: dict[str, Any] = {"Key": store.key(path), "UploadId": kept.upload}
    while True:
        try:
            page = (await store.requests.send("list_parts", path, **where)).parsed
        except (NoSuchUpload, NotFound) as error:
            raise await _why_gone(store, path, kept) from error
        for part in page.get("Parts", ()):
            if part["PartNumber"] <= kept.parts:
                checks = {name: part[name] for name in part if name.startswith("Checksum") and name != "ChecksumType"}
                parts.append({"PartNumber": part["PartNumber"], "ETag": part["ETag"], **checks})
                size += part["Size"]
        if not page.get("IsTruncated") or len(parts) == kept.parts:
            break
        where["PartNumberMarker"] = page["NextPartNumberMarker"]
    if size != kept.size or _digest(parts) != kept.digest:
        raise Damaged.of(
            path,
            "parts of this partial write are not those that were kept: another process sent others, or some are gone",
        )
    return parts


async def _why_gone(store: Store, path: str, kept: KeptUpload) -> NotFound:
    facts = await store.look(path)
    if facts is None or facts.writer != kept.writer:
        return partial_gone(path, "its multipart upload was removed, by a rule of the bucket for example")
    with suppress(OSError):
        await store.remove([kept.name])
    return partial_gone(path, "it was published")


def _digest(parts: list[Sent]) -> str:
    lines = (f"{part['PartNumber']} {part['ETag'].strip(chr(34))}\n" for part in parts)
    return hashlib.blake2b("".join(lines).encode(), digest_size=16).hexdigest()


async def _return(upload: str) -> str:
    return upload
