"""Stores that cannot be reached as they are set up, buckets that are gone, and requests that break off."""

from __future__ import annotations

import asyncio
import gc
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import aiofs
from aiofs.driver import MIB
from aiofs.errors import StoreMissing
from aiofs.stores import MemoryFileSystem
from backends.s3.front import Asked, refusal
from backends.s3.sessions import fed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server
    from servers.proxy import FaultProxy

    Proxies = Callable[[int], Awaitable[FaultProxy]]


@pytest.mark.parametrize("direct", [True, False])
async def test_a_certificate_that_is_not_trusted_is_refused_at_once(
    direct: bool, connect: Connect, fault_proxy: Proxies, s3_https_server: S3Server
) -> None:
    proxy = await fault_proxy(s3_https_server.port)
    fs = connect(s3_https_server.through(proxy.port), direct=direct)
    with pytest.raises(
        ConnectionError, match=r"certificate of 127\.0\.0\.1 is not trusted .*give ca_bundle="
    ) as caught:
        await fs.read_bytes("file")
    assert not caught.value.retryable
    assert proxy.connections <= 2, "tried again, though it cannot be otherwise"


@pytest.mark.parametrize("direct", [True, False])
async def test_a_host_that_does_not_exist_is_refused_at_once(
    direct: bool, connect: Connect, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []

    def unknown(host: str, *_: object, **__: object) -> NoReturn:
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    fs = connect(replace(s3_server, endpoint_url="http://no-such-host.invalid:9000"), direct=direct)
    with pytest.raises(
        ConnectionError, match=r"there is no host no-such-host\.invalid: correct endpoint_url="
    ) as caught:
        await fs.read_bytes("file")
    assert not caught.value.retryable
    assert len(looked_up) <= 2


async def test_a_part_that_broke_off_prints_nothing_when_its_handle_is_dropped(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    printed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: printed.append(context))
    session = await fed(connect(server, attempts=1), b"x")

    async def deny(asked: Asked) -> web.Response | None:
        return refusal(403, "AccessDenied") if "partNumber" in asked.query else None

    before.meddle = deny
    await session.write(bytes(6 * MIB))
    await asyncio.wait(session._uploads._tasks)
    session.abandon()
    await session._publication._lease.release()
    del session
    gc.collect()
    assert printed == []


async def gone(server: S3Server) -> None:
    """Remove the bucket with all that is in it."""

    def remove() -> None:
        client = server.client()
        for found in client.list_objects_v2(Bucket=server.bucket).get("Contents", ()):
            client.delete_object(Bucket=server.bucket, Key=found["Key"])
        client.delete_bucket(Bucket=server.bucket)
        client.close()

    await asyncio.to_thread(remove)


async def transact(fs: S3FileSystem, size: int) -> None:
    async with aiofs.transaction(fs) as tfs:
        await tfs.write_bytes("one", bytes(size))
        await tfs.write_bytes("other", bytes(size))


@pytest.mark.parametrize("locks", ["objects", "none", "elsewhere"])
@pytest.mark.parametrize("words", ["NoSuchKey", "Missing"])
async def test_a_bucket_that_is_gone_is_no_missing_file(
    words: str, locks: str, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    """Servers say it in their own words."""
    kept = {"objects": {}, "none": {"locking": "commit"}, "elsewhere": {"locks": MemoryFileSystem()}}[locks]
    before, server = await front(s3_server)
    fs = connect(server, attempts=1, **kept)
    await fs.write_bytes("warm", b"up")
    assert not await fs.exists("missing")

    async def answer(_: Asked) -> web.Response:
        return refusal(404, words)

    before.meddle = answer
    for attempt in (
        lambda: fs.write_bytes("file", b"small"),
        lambda: fs.write_bytes("file", bytes(17 * MIB)),
        lambda: transact(fs, 10),
        lambda: transact(fs, 9 * MIB),
    ):
        with pytest.raises(StoreMissing, match="bucket"):
            await attempt()


@pytest.mark.parametrize("locks", ["objects", "none"])
@pytest.mark.parametrize("size", [10, 17 * MIB])
async def test_a_bucket_that_goes_while_a_file_is_written_is_no_missing_file(
    size: int, locks: str, connect: Connect, s3_server: S3Server
) -> None:
    fs = connect(s3_server, **({} if locks == "objects" else {"locking": "commit"}))
    await fs.write_bytes("warm", b"up")
    with pytest.raises(StoreMissing, match="bucket"):
        async with fs.open("file", "w") as file:
            await file.write(bytes(size))
            await gone(s3_server)
