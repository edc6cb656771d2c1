"""Reading: one ranged GET; where it breaks off, or the reader moves, another one for the same version.

Old versions of a file, in a bucket with versioning, are listed and read here too.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote_plus

from aiofs.backends.s3.errors import FAILURES, NoSuchRange, translate
from aiofs.backends.s3.facts import USUAL_CLASS, ObjectFacts, S3Entry, read_facts, unquoted, version_parameter
from aiofs.backends.s3.store import listed_name
from aiofs.driver import ReadStream
from aiofs.errors import AiofsError, Conflict, Damaged, NotFound, Unreachable, Unsupported
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from types import TracebackType

    from aiofs.backends.s3.client import SdkRequests
    from aiofs.backends.s3.facts import Body, S3Answer
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Entry

RESUMES = 4
"""How often in a row, without a byte in between, a body may break off."""
READ_TO_END_BELOW = 1 << 16
"""A body with so few bytes left is read to its end: that is cheaper than a new connection."""


class S3Stream(ReadStream):
    """Reads one version of an object."""

    def __init__(
        self, requests: SdkRequests, key: str, facts: ObjectFacts, path: str, which: Mapping[str, str]
    ) -> None:
        """`which` is the parameter that names the version, if it is an old one."""
        self.facts: ObjectFacts = facts
        self.entry: Entry = facts.entry(path)
        self.version_id: str | None = None
        """The id of this version in a bucket that keeps versions."""
        self._requests = requests
        self._key = key
        self._which = which
        self._path = path
        self._size = facts.size
        self._body: Body | None = None
        self._body_stop = 0
        self._at = 0
        self._stop = 0
        self._resumes = 0
        self._check: WholeChecksum | None = None

    def attach(self, answer: S3Answer, start: int, stop: int | None) -> S3Stream:
        """Set the range, and take its first bytes from an answer whose body begins at `start`."""
        self._body = answer.body
        self.version_id = answer.version_id
        self._at = start
        self._stop = self._clip(stop)
        self._body_stop = start + int(answer.headers["content-length"])
        if start == 0 and self._body_stop == self._size:
            self._check = WholeChecksum.of(answer.headers)
        return self

    async def chunk(self, want: int) -> bytes:
        """Return the next bytes, as many as have arrived."""
        while self._at < self._stop:
            try:
                data = await self._next(min(want, self._stop - self._at))
            except FAILURES as error:
                self._drop()
                failure = translate(error, self._path)
                self._resumes += 1
                if self._resumes > RESUMES or not failure.retryable:
                    raise failure from error
            else:
                self._resumes = 0
                self._at += len(data)
                if self._check is not None:
                    self._check.add(data, last=self._at == self._size, path=self._path)
                return data
        return b""

    async def rest(self) -> bytes:
        """Return the rest of the range."""
        pieces = []
        while piece := await self.chunk(self._stop - self._at):
            pieces.append(piece)
        return b"".join(pieces)

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Continue at `start`. The next `chunk` makes the request, unless the body continues there anyway."""
        if start != self._at:
            await self._end_body()
        self._at = min(start, self._size)
        self._stop = self._clip(stop)

    async def aclose(self) -> None:
        """Release the connection."""
        await self._end_body()

    def abandon(self) -> None:
        """Release the connection, without awaiting."""
        self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await finish(self._end_body())

    def _clip(self, stop: int | None) -> int:
        return self._size if stop is None else min(stop, self._size)

    async def _next(self, want: int) -> bytes:
        if self._body is None or self._at == self._body_stop:
            await self._ask()
        assert self._body is not None  # noqa: S101 -- `_ask` sets it
        data = await self._body.read(min(want, self._body_stop - self._at))
        if not data:
            raise Unreachable.of(self._path, f"the connection ended after {self._at} of {self._body_stop} bytes")
        return data

    async def _ask(self) -> None:
        """Request the rest of the range, of the same version.

        :raises Conflict: if that version is not there any more.
        """
        self._drop()
        span = f"bytes={self._at}-{self._stop - 1}"
        version = self.entry.version
        match = f'"{version}"'
        try:
            answer = await self._requests.send(
                "get_object", self._path, Key=self._key, Range=span, IfMatch=match, **self._which
            )
        except (NotFound, NoSuchRange) as error:
            raise Conflict.of(self._path, "this version of the file is not there any more") from error
        self._body = answer.body
        self._body_stop = self._at + int(answer.headers["content-length"])
        if answer.version != version:
            self._drop()
            raise Conflict.of(self._path, "this version of the file is not there any more")

    async def _end_body(self) -> None:
        """Give up the body. If little is left of it, read that, so that the next request can use the connection."""
        try:
            while self._body is not None and 0 < self._body_stop - self._at <= READ_TO_END_BELOW:
                data = await self._body.read(self._body_stop - self._at)
                if not data:
                    break
                self._at += len(data)
        except FAILURES:
            pass
        finally:
            self._drop()

    def _drop(self) -> None:
        body, self._body = self._body, None
        self._check = None
        if body is not None:
            body.close()


class WholeChecksum:
    """Compares the bytes of a whole object with the checksum that the store keeps of them."""

    def __init__(self, expected: str, name: str) -> None:
        self._expected = expected
        self._crc: int | None = 0 if name == "crc32" else None
        self._hash: Any = None if name == "crc32" else hashlib.new(name)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> WholeChecksum | None:
        """Return the check for an answer; `None` if it has no checksum of the whole, but one of parts, or none."""
        for name in ("crc32", "sha1", "sha256"):
            expected = headers.get(f"x-amz-checksum-{name}")
            if expected and "-" not in expected and headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
                return cls(expected, name)
        return None

    def add(self, data: bytes, *, last: bool, path: str) -> None:
        """Add the next bytes.

        :raises Damaged: when the last bytes are added, if the whole is not what was written.
        """
        if self._crc is None:
            self._hash.update(data)
        else:
            self._crc = zlib.crc32(data, self._crc)
        if last:
            digest = self._hash.digest() if self._crc is None else self._crc.to_bytes(4, "big")
            if base64.b64encode(digest).decode() != self._expected:
                raise Damaged.of(path, "the bytes do not have the checksum that they were written with")


def checksum(name: str, part: bytes | bytearray | memoryview) -> str:
    """Return a checksum in the format of S3."""
    digest = zlib.crc32(part).to_bytes(4, "big") if name == "crc32" else hashlib.new(name, part).digest()
    return base64.b64encode(digest).decode()


async def open_stream(
    requests: SdkRequests,
    key: str,
    path: str,
    start: int,
    stop: int | None,
    *,
    match: str | None,
    whole: bool,
    version_id: str | None = None,
) -> S3Stream:
    """Make the first request, and return the stream.

    It asks for the range, or for the whole file if `whole` and the range begins at 0: only then the store sends the
    checksum. `version_id` asks for an old version.

    :raises NotFound: if there is no such file.
    :raises Conflict: if `match` is given and the file has another version.
    """
    which = version_parameter(version_id)
    condition: dict[str, str] = {**which, **({"IfMatch": f'"{match}"'} if match else {})}
    if stop is not None and stop <= start:
        return await _empty(requests, key, path, match, which)
    if whole and start == 0:
        condition["ChecksumMode"] = "ENABLED"
    elif start or stop is not None:
        condition["Range"] = f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"
    try:
        answer = await requests.send("get_object", path, Key=key, **condition)
    except NoSuchRange:
        return await _empty(requests, key, path, match, which)
    facts = read_facts(answer.headers)
    return S3Stream(requests, key, facts, path, which).attach(answer, start, stop)


async def _empty(requests: SdkRequests, key: str, path: str, match: str | None, which: Mapping[str, str]) -> S3Stream:
    """Return a stream without bytes, for a range that is empty or begins behind the end of the file."""
    answer = await requests.send("head_object", path, Key=key, **which)
    facts = read_facts(answer.headers)
    if match and facts.version != match:
        raise Conflict.of(path, "this version of the file is not there any more")
    return S3Stream(requests, key, facts, path, which)


_NO_ID = {"InvalidArgument", "InvalidVersionId"}
"""The codes with which stores refuse a version id of a wrong form."""


async def history_of(store: Store, path: str) -> AsyncGenerator[Entry]:
    """Yield the versions of the file that can be read, the newest first, without delete markers.

    :raises NotFound: if there are none.
    """
    found = False
    async for version in _versions(store, path, store.key(path)):
        found = True
        yield _entry(path, version)
    if not found:
        raise NotFound.of(path)


async def _versions(store: Store, path: str, key: str) -> AsyncGenerator[Mapping[str, Any]]:
    where: dict[str, Any] = {"Prefix": key, "EncodingType": "url"}
    encoded: bool | None = None  # whether the server encodes keys without saying so; None: unknown
    while True:
        page = (await store.requests.send("list_object_versions", path, **where)).parsed
        for found in page.get("Versions", ()):
            name = found["Key"]
            if name != key and unquote_plus(name) == key and page.get("EncodingType") != "url":
                if encoded is None:
                    encoded = await _is_of(store, path, found)
                if not encoded:
                    return
            elif listed_name(name, key, page) != key:
                return  # longer names come after all versions of this one
            yield found
        more = page.get("NextKeyMarker", "")
        if not page.get("IsTruncated") or key not in {more, unquote_plus(more)} or (more != key and encoded is False):
            return
        where["KeyMarker"], where["VersionIdMarker"] = key, page["NextVersionIdMarker"]


async def _is_of(store: Store, path: str, found: Mapping[str, Any]) -> bool:
    """Return whether a version whose key can be read in two ways is one of the file: then the file has that id."""
    try:
        facts = await store.facts(path, found["VersionId"])
    except AiofsError:
        return False
    return (facts.version, facts.size) == (unquoted(found["ETag"]), found["Size"])


async def read_version(store: Store, path: str, version_id: str, start: int, stop: int | None) -> ReadStream:
    """Open an old version for reading.

    :raises NotFound: if there is no such version, or it is a delete marker.
    """
    with naming_version(path, version_id):
        return await open_stream(
            store.requests,
            store.key(path),
            path,
            start,
            stop,
            match=None,
            whole=store.settings.checksum is not None,
            version_id=version_id,
        )


@contextmanager
def naming_version(path: str, version_id: str) -> Iterator[None]:
    """Raise `NotFound` in place of all errors that stores report for a version that is not there."""
    try:
        yield
    except NotFound as error:
        raise _missing(path, version_id) from error
    except Unsupported as error:  # 405: the version is a delete marker
        raise _missing(path, version_id) from error
    except AiofsError as error:
        response = getattr(error.__cause__, "response", {})
        code = response.get("Error", {}).get("Code")
        if code in _NO_ID or (code == "400" and type(error) is AiofsError):
            raise _missing(path, version_id) from error
        raise


def _missing(path: str, version_id: str) -> NotFound:
    return NotFound.of(path, f"there is no version {version_id!r} of this file that can be read")


def _entry(path: str, found: Mapping[str, Any]) -> Entry:
    kind = found.get("StorageClass", USUAL_CLASS)
    return S3Entry(
        path,
        found["Size"],
        found["LastModified"],
        unquoted(found["ETag"]),
        version_id=found["VersionId"],
        properties=None if kind == USUAL_CLASS else {"storage_class": kind},
    )
