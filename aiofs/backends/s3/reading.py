"""Reading: one ranged GET, and more of them, held to the same version, where it breaks off or the reader moves."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import TYPE_CHECKING, Any, Self

from aiofs.backends.s3.errors import FAILURES, NoSuchRange, translate
from aiofs.backends.s3.facts import Facts, read_facts
from aiofs.driver import ReadStream
from aiofs.errors import Conflict, Damaged, NotFound, Unreachable
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from aiofs.backends.s3.requests import Answer, Body, Sdk
    from aiofs.driver import Entry

RESUMES = 4
"""How often in a row, without a byte between, a body may break off."""
NOT_WORTH_A_CONNECTION = 1 << 16
"""With so little left of a body, reading it on is cheaper than closing its connection."""


class S3Stream(ReadStream):
    """One version of an object."""

    def __init__(self, calls: Sdk, key: str, facts: Facts, path: str, kept: Mapping[str, str]) -> None:
        """`kept` names the version, if it is an old one."""
        self.facts: Facts = facts
        self.entry: Entry = facts.entry(path)
        self.version_id: str | None = None
        """How a bucket that keeps versions finds this one again."""
        self._calls = calls
        self._key = key
        self._kept = kept
        self._path = path
        self._size = facts.size
        self._body: Body | None = None
        self._body_stop = 0
        self._at = 0
        self._stop = 0
        self._resumes = 0
        self._check: Check | None = None

    def attach(self, answer: Answer, start: int, stop: int | None) -> S3Stream:
        """Go on from `start` to `stop` with the body that an answer brings from `start` on."""
        self._body = answer.body
        self.version_id = answer.version_id
        self._at = start
        self._stop = self._clip(stop)
        self._body_stop = start + int(answer.headers["content-length"])
        if start == 0 and self._body_stop == self._size:
            self._check = Check.of(answer.headers)
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
        """Return all that is left of the range."""
        pieces = []
        while piece := await self.chunk(self._stop - self._at):
            pieces.append(piece)
        return b"".join(pieces)

    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on elsewhere; the request waits for the next `chunk`, and is not made where the bytes are on their way."""
        if start != self._at:
            await self._leave()
        self._at = min(start, self._size)
        self._stop = self._clip(stop)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._leave()

    def abandon(self) -> None:
        """Let go of the connection."""
        self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await finish(self._leave())

    def _clip(self, stop: int | None) -> int:
        return self._size if stop is None else min(stop, self._size)

    async def _next(self, want: int) -> bytes:
        if self._body is None or self._at == self._body_stop:
            await self._ask()
        assert self._body is not None  # noqa: S101 -- asked for
        data = await self._body.read(min(want, self._body_stop - self._at))
        if not data:
            raise Unreachable.of(self._path, f"the connection ended after {self._at} of {self._body_stop} bytes")
        return data

    async def _ask(self) -> None:
        """Ask for the rest of the range, of the same version.

        :raises Conflict: if it is gone.
        """
        self._drop()
        span = f"bytes={self._at}-{self._stop - 1}"
        version = self.entry.version
        match = f'"{version}"'
        try:
            answer = await self._calls.send(
                "get_object", self._path, Key=self._key, Range=span, IfMatch=match, **self._kept
            )
        except (NotFound, NoSuchRange) as error:
            raise Conflict.of(self._path, "this version of the file is not there any more") from error
        self._body = answer.body
        self._body_stop = self._at + int(answer.headers["content-length"])
        if answer.version != version:
            self._drop()
            raise Conflict.of(self._path, "this version of the file is not there any more")

    async def _leave(self) -> None:
        """Let go of the body, in the way that keeps the connection where that is cheap."""
        try:
            while self._body is not None and 0 < self._body_stop - self._at <= NOT_WORTH_A_CONNECTION:
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


class Check:
    """A checksum that the store told of a whole object, computed again as its bytes come."""

    def __init__(self, expected: str, name: str) -> None:
        self._expected = expected
        self._crc: int | None = 0 if name == "crc32" else None
        self._hash: Any = None if name == "crc32" else hashlib.new(name)

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Check | None:
        """Return the check that the headers allow; those of parts put together cannot be computed from the whole."""
        for name in ("crc32", "sha1", "sha256"):
            told = headers.get(f"x-amz-checksum-{name}")
            if told and "-" not in told and headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
                return cls(told, name)
        return None

    def add(self, data: bytes, *, last: bool, path: str) -> None:
        """Take the next bytes.

        :raises Damaged: with the last of them, if they are not what was written.
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
    """Return a checksum as S3 writes it."""
    digest = zlib.crc32(part).to_bytes(4, "big") if name == "crc32" else hashlib.new(name, part).digest()
    return base64.b64encode(digest).decode()


async def open_stream(
    calls: Sdk,
    key: str,
    path: str,
    start: int,
    stop: int | None,
    *,
    match: str | None,
    whole: bool,
    version_id: str | None = None,
    hashed: bool = True,
) -> S3Stream:
    """Make the first request of a stream: for the range, or with `whole` for all from the beginning of the file.

    `hashed` is as for `read_facts`; `version_id` asks for an old version.

    :raises NotFound: if there is no such file.
    :raises Conflict: if `match` is given and is not its version.
    """
    kept = {} if version_id is None else {"VersionId": version_id}
    condition: dict[str, str] = {**kept, **({"IfMatch": f'"{match}"'} if match else {})}
    if stop is not None and stop <= start:
        return await _empty(calls, key, path, match, kept, hashed=hashed)
    if whole and start == 0:
        condition["ChecksumMode"] = "ENABLED"
    elif start or stop is not None:
        condition["Range"] = f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"
    try:
        answer = await calls.send("get_object", path, Key=key, **condition)
    except NoSuchRange:
        return await _empty(calls, key, path, match, kept, hashed=hashed)
    facts = read_facts(answer.headers, hashed=hashed)
    return S3Stream(calls, key, facts, path, kept).attach(answer, start, stop)


async def _empty(
    calls: Sdk, key: str, path: str, match: str | None, kept: Mapping[str, str], *, hashed: bool
) -> S3Stream:
    """Return a stream that is at its end, of a file that ends before the range begins."""
    answer = await calls.send("head_object", path, Key=key, **kept)
    facts = read_facts(answer.headers, hashed=hashed)
    if match and facts.version != match:
        raise Conflict.of(path, "this version of the file is not there any more")
    return S3Stream(calls, key, facts, path, kept)
