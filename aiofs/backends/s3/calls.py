"""Requests, in the SDK's vocabulary: `send("get_object", path, Key=..., Range=...)`, and one page of a listing."""

from __future__ import annotations

import asyncio
import io
from copy import copy
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter, le
from typing import TYPE_CHECKING, Any, Protocol, Self

from aiofs.backends.s3.errors import FAILURES, translate
from aiofs.backends.s3.facts import unquoted
from aiofs.backends.s3.proof import lacking_fields, lacking_headers
from aiofs.driver import Entry
from aiofs.errors import NotFound, StoreMissing, Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from datetime import datetime

    from aiofs.backends.s3.clients import Clients
    from aiofs.backends.s3.settings import Settings
    from aiofs.driver import Part


_NEW = ("put_object", "create_multipart_upload", "copy_object")
_COPIES = ("copy_object", "upload_part_copy")
_WITH_KEY = (*_NEW, "get_object", "head_object", "upload_part", "upload_part_copy")
_ABOUT_THE_BUCKET = ("put_object", "create_multipart_upload", "list_objects_v2")
_PAID = (
    *_WITH_KEY,
    "abort_multipart_upload",
    "complete_multipart_upload",
    "delete_object",
    "delete_objects",
    "get_object_tagging",
    "list_multipart_uploads",
    "list_object_versions",
    "list_objects_v2",
    "list_parts",
)


class Body(Protocol):
    """The bytes of an answer, as they arrive."""

    def read(self, amt: int, /) -> Coroutine[Any, Any, bytes]:
        """Return up to `amt` bytes; b"" at the end."""
        ...

    def close(self) -> None:
        """Drop the connection, or nothing if all was read."""
        ...


@dataclass(slots=True)
class Answer:
    """What came back: headers in lower case, and the body or what the SDK made of it."""

    headers: Mapping[str, str]
    body: Body | None = None
    parsed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The ETag; `""` of what has none, such as a removal."""
        return unquoted(self.headers.get("etag") or self.parsed.get("ETag") or "")

    @property
    def version_id(self) -> str | None:
        """How a bucket that keeps versions finds this one again; "null" where it no longer keeps them."""
        return self.headers.get("x-amz-version-id")


@dataclass(slots=True)
class Page:
    """Part of a listing, sorted: files with their keys as paths, folders, and how to ask for what follows."""

    entries: list[Entry]
    more: str | None = None
    ordered: bool = True
    """Whether it came in the order of its bytes."""
    server: str = ""
    """What the server calls itself."""


class Watched(io.BytesIO):
    """A body that gives its request more time whenever the connection takes a piece of it."""

    def __init__(self, data: Part, patience: asyncio.Timeout, seconds: float) -> None:
        super().__init__(data)
        self._patience = patience
        self._seconds = seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next piece."""
        if not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time() + self._seconds)
        return super().read(size)


def standing(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what the settings add to the parameters of all requests, by their operation."""
    added: dict[str, dict[str, Any]] = {operation: {} for operation in _PAID}
    if settings.requester_pays:
        for operation in _PAID:
            added[operation]["RequestPayer"] = "requester"
    if settings.encryption is not None:
        for operation in _NEW:
            added[operation]["ServerSideEncryption"] = settings.encryption
            if settings.kms_key is not None:
                added[operation]["SSEKMSKeyId"] = settings.kms_key
    if settings.customer_key is not None:
        for operation in _WITH_KEY:
            added[operation].update(SSECustomerAlgorithm="AES256", SSECustomerKey=settings.customer_key)
        for operation in _COPIES:
            added[operation].update(
                CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=settings.customer_key
            )
    return added


class Sdk:
    """Requests made by aiobotocore, with its retries."""

    _urgent = False

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._bucket = settings.bucket
        self._standing = standing(settings)

    def urgently(self) -> Self:
        """Return the same for requests that must not wait for their turn behind thousands: those that renew locks."""
        calls = copy(self)
        calls._urgent = True  # noqa: SLF001 -- of the same class
        return calls

    async def send(self, operation: str, path: str | None, **parameters: Any) -> Answer:
        """Make a request about `path` and return the answer.

        :raises OSError: by the table in `errors`.
        :raises Unavailable: if it says "OK" without the proof that something was done.
        :raises ValueError: if the clients were closed meanwhile.
        """
        parameters = {**self._standing.get(operation, {}), **parameters}
        try:
            held = await self._clients.held()
            async with held.turns[self._urgent], asyncio.timeout(self._clients.patience) as patience:
                if parameters.get("Body") is not None:
                    parameters["Body"] = Watched(parameters["Body"], patience, self._clients.patience)
                parsed = await getattr(held.client, operation)(Bucket=self._bucket, **parameters)
        except FAILURES as error:
            self._clients.check_open(error)
            failure = translate(error, path, operation)
            if isinstance(failure, NotFound) and operation in _ABOUT_THE_BUCKET and "IfMatch" not in parameters:
                # Some servers say so in words of their own; no file can be missing here.
                failure = StoreMissing.of(path, f"there is no bucket {self._bucket!r} ({failure.strerror})")
            raise failure from error
        answer = Answer(parsed["ResponseMetadata"]["HTTPHeaders"], parsed.get("Body"), parsed)
        lacking = lacking_headers(operation, parameters, answer.headers)
        lacking = lacking or lacking_fields(operation, parameters, parsed)
        if lacking is not None:
            if answer.body is not None:
                answer.body.close()
            raise unproven(path, lacking)
        return answer

    async def page(self, *, cut: int = 0, **parameters: Any) -> Page:
        """Make one request for a listing; `cut` characters go from the front of all keys."""
        answer = await self.send("list_objects_v2", None, **parameters)
        listed = answer.parsed
        try:
            entries = [
                listed_entry(found["Key"][cut:], found["Size"], found["LastModified"], found["ETag"])
                for found in listed.get("Contents", ())
            ]
            folders = [found["Prefix"][cut:] for found in listed.get("CommonPrefixes", ())]
        except KeyError as error:
            raise unproven(None, f"no {error.args[0]} of a file that it lists") from error
        more = listed.get("NextContinuationToken") if listed.get("IsTruncated") else None
        return page_of(entries, folders, more, answer.headers.get("server", ""))


def unproven(path: str | None, lacking: str) -> Unavailable:
    """Return the error for an answer that does not prove what it says, as some proxies give it."""
    return Unavailable.of(path, f"the server answered 'OK' with {lacking}, which proves nothing: try again")


def listed_entry(path: str, size: int, modified: datetime, etag: str) -> Entry:
    """Return a file as a listing tells of it, its time in whole seconds, as HEAD has it, where a store knows more."""
    return Entry(path, size, modified.replace(microsecond=0), unquoted(etag))


def page_of(entries: list[Entry], folders: list[str], more: str | None, server: str) -> Page:
    """Put a page together: files and folders in the order of their characters, which is that of UTF-8's bytes."""
    ordered = _ascend([entry.path for entry in entries]) and _ascend(folders)
    if folders or not ordered:
        entries = sorted([*entries, *map(Entry, folders)], key=attrgetter("path"))
    return Page(entries, more, ordered, server)


def _ascend(names: list[str]) -> bool:
    return all(map(le, names, islice(names, 1, None)))
