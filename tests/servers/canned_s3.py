"""A server that answers S3's requests out of hand, so that what is measured is the client: `canned_s3.py PORT`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

import uvloop

LARGE = bytes(1 << 28)
SIZES = {"small": 1 << 10, "large": 1 << 26, "huge": 1 << 28}
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
KEYS = "".join(
    f"<Contents><Key>many/{number:04}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    f"<ETag>&quot;{number:032}&quot;</ETag><Size>1024</Size><StorageClass>STANDARD</StorageClass></Contents>"
    for number in range(1000)
)
LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    f"<Name>bucket</Name><Prefix>many/</Prefix><KeyCount>1000</KeyCount><MaxKeys>1000</MaxKeys>"
    f"<IsTruncated>false</IsTruncated>{KEYS}</ListBucketResult>"
).encode()
VERSION = '"canned"'
NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code></Error>"
BEGUN = b"<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>"
DONE = b"<CompleteMultipartUploadResult><ETag>&quot;done-8&quot;</ETag></CompleteMultipartUploadResult>"


PIECE = 1 << 18
counter = itertools.count(1)

versions: dict[str, str] = {}  # of what was written; the bytes themselves are thrown away


@dataclass
class Asked:
    """A request whose body was read."""

    method: str
    key: str
    query: dict[str, list[str]]
    headers: dict[str, str]

    def allowed(self) -> bool:
        """Whether its conditions hold."""
        version = versions.get(self.key)
        if self.headers.get("if-none-match"):
            return version is None
        return self.headers.get("if-match", version) == version


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await answer(await ask(reader, writer), writer)
    writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
    """Read a request."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    left = int(headers.get("content-length", 0))
    while left:
        left -= len(await reader.read(left))
    where = urlsplit(target)
    key = unquote(where.path).removeprefix("/bucket").removeprefix("/")
    return Asked(method, key, parse_qs(where.query, keep_blank_values=True), headers)


async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer a request."""
    size = SIZES.get(asked.key, 0 if asked.key in versions or not asked.key else None)
    if asked.method == "GET" and "list-type" in asked.query:
        await say(writer, 200, LISTING)
    elif asked.method in {"GET", "HEAD"} and size is None:
        await say(writer, 404, b"" if asked.method == "HEAD" else NO_SUCH_KEY)
    elif asked.method == "HEAD":
        await say(writer, 200, b"", f"ETag: {versions.get(asked.key, VERSION)}", length=size or 0)
    elif asked.method == "GET":
        await give(writer, asked, size or 0)
    elif asked.method == "POST":
        await say(writer, 200, BEGUN if "uploads" in asked.query else DONE)
    elif not asked.allowed():
        await say(writer, 412, b"")
    elif asked.method == "DELETE":
        versions.pop(asked.key, None)
        await say(writer, 204, b"")
    else:
        version = f'"{next(counter)}"'
        if "uploadId" not in asked.query:
            versions[asked.key] = version
        await say(writer, 200, b"", f"ETag: {version}")


async def give(writer: asyncio.StreamWriter, asked: Asked, size: int) -> None:
    """Answer with the bytes that are asked for."""
    first, _, last = asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
    start, stop = int(first), min(size, int(last) + 1 if last else size)
    status = 206 if "range" in asked.headers else 200
    told = f"ETag: {VERSION}\r\nContent-Range: bytes {start}-{stop - 1}/{size}"
    await say(writer, status, memoryview(LARGE)[: stop - start], told)


async def say(
    writer: asyncio.StreamWriter, status: int, body: bytes | memoryview, told: str = "X-Canned: 1", *, length: int = 0
) -> None:
    """Send an answer."""
    size = f"Content-Length: {length or len(body)}\r\n" if status != 204 else ""
    head = f"HTTP/1.1 {status} X\r\nDate: {DATE}\r\nLast-Modified: {DATE}\r\n{told}\r\n{size}\r\n"
    writer.write(head.encode() + bytes(body[:PIECE]))
    for start in range(PIECE, len(body), PIECE):
        await writer.drain()
        writer.write(body[start : start + PIECE])
    await writer.drain()


async def main(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 22)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
