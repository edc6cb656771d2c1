"""Requests, in the SDK's vocabulary: `send("get_object", path, Key=..., Range=...)`, and one page of a listing."""

from __future__ import annotations

import asyncio
import io
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from aiofs.backends.s3.errors import FAILURES, translate
from aiofs.backends.s3.facts import unquoted
from aiofs.driver import Entry

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from aiofs.backends.s3.clients import Clients
    from aiofs.driver import Part


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
        """The ETag; `""` where the store tells none."""
        return unquoted(self.headers.get("etag") or self.parsed.get("ETag") or "")


@dataclass(slots=True)
class Page:
    """Part of a listing, sorted: files with their keys as paths, folders, and how to ask for what follows."""

    entries: list[Entry]
    more: str | None = None


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


class Sdk:
    """Requests made by aiobotocore, with its retries."""

    _urgent = False

    def __init__(self, clients: Clients, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket

    def urgently(self) -> Self:
        """Return the same for requests that must not wait for their turn behind thousands: those that renew locks."""
        calls = copy(self)
        calls._urgent = True  # noqa: SLF001 -- of the same class
        return calls

    async def send(self, operation: str, path: str | None, **parameters: Any) -> Answer:
        """Make a request about `path` and return the answer.

        :raises OSError: by the table in `errors`.
        :raises ValueError: if the clients were closed meanwhile.
        """
        try:
            held = await self._clients.held()
            async with held.turns[self._urgent], asyncio.timeout(self._clients.patience) as patience:
                if parameters.get("Body") is not None:
                    parameters["Body"] = Watched(parameters["Body"], patience, self._clients.patience)
                parsed = await getattr(held.client, operation)(Bucket=self._bucket, **parameters)
        except FAILURES as error:
            self._clients.check_open(error)
            raise translate(error, path) from error
        return Answer(parsed["ResponseMetadata"]["HTTPHeaders"], parsed.get("Body"), parsed)

    async def page(self, *, cut: int = 0, **parameters: Any) -> Page:
        """Make one request for a listing; `cut` characters go from the front of all keys."""
        answer = (await self.send("list_objects_v2", None, **parameters)).parsed
        entries = [
            Entry(found["Key"][cut:], found["Size"], found["LastModified"], unquoted(found["ETag"]))
            for found in answer.get("Contents", ())
        ]
        folders = [found["Prefix"][cut:] for found in answer.get("CommonPrefixes", ())]
        more = answer.get("NextContinuationToken") if answer.get("IsTruncated") else None
        return Page(in_order(entries, folders), more)


def in_order(entries: list[Entry], folders: list[str]) -> list[Entry]:
    """Return files and folders in the order of UTF-8 bytes."""
    if not folders:
        return entries
    return sorted([*entries, *map(Entry, folders)], key=lambda entry: entry.path.encode())
