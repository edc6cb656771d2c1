"""The direct path: used where a request is plain, and never with a word of its own where an answer is not."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from aiofs.backends.s3.client import SdkRequests
from aiofs.errors import AccessDenied, NotFound
from backends.s3.front import Asked, refusal

if TYPE_CHECKING:
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server


@pytest.fixture
def by_sdk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the SDK is asked for."""
    asked: list[str] = []
    send = SdkRequests.send

    async def noted(self: SdkRequests, operation: str, path: str | None, **parameters: Any) -> Any:
        asked.append(operation)
        return await send(self, operation, path, **parameters)

    monkeypatch.setattr(SdkRequests, "send", noted)
    return asked


def is_direct(asked: Asked) -> bool:
    """Whether a request did not come from the SDK."""
    return "amz-sdk-invocation-id" not in asked.headers


async def test_plain_requests_need_no_sdk(connect: Connect, s3_auth_server: S3Server, by_sdk: list[str]) -> None:
    fs = connect(s3_auth_server)
    await fs.write_bytes("warm", b"")
    by_sdk.clear()
    await fs.write_bytes("a file+ü%.txt", b"0123456789", metadata={"kind": "a  b"})
    assert await fs.read_bytes("a file+ü%.txt") == b"0123456789"
    assert await fs.read_bytes("a file+ü%.txt", 2, 5) == b"234"
    assert (await fs.stat("a file+ü%.txt")).size == 10
    assert await fs.ls() == ["a file+ü%.txt", "warm"]
    assert by_sdk == []
    await fs.write_bytes("large", bytes(17 << 20))
    assert by_sdk == ["create_multipart_upload", "complete_multipart_upload"]


STATUSES = (301, 307, 400, 403, 404, 409, 429, 500, 503)
NO_LISTINGS = ("", "<html/>", "<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>", "<ListBu")


async def test_the_sdk_is_asked_when_an_answer_surprises(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    for status in STATUSES:
        before.meddle = None
        fs = connect(server)
        await fs.write_bytes("file", b"bytes")

        async def refuse(asked: Asked, status: int = status) -> web.Response | None:
            return refusal(status, "SomethingElse") if is_direct(asked) and asked.method != "HEAD" else None

        before.meddle = refuse
        assert await fs.read_bytes("file") == b"bytes", status
        assert await fs.ls() == ["file"], status
        await fs.write_bytes("file", b"other")
        await fs.rm("file")
        assert await fs.ls() == [], status
        await fs.aclose()


async def test_answers_that_are_no_listings_are_not_taken_for_empty_ones(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"")
    for text in NO_LISTINGS:

        async def answer(asked: Asked, text: str = text) -> web.Response | None:
            return web.Response(text=text) if is_direct(asked) else None

        before.meddle = answer
        assert await fs.ls() == ["file"], text


async def test_where_it_is_refused_again_and_again_the_sdk_gets_all(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"bytes")

    async def refuse(asked: Asked) -> web.Response | None:
        return refusal(403, "SignatureDoesNotMatch") if is_direct(asked) else None

    before.meddle = refuse
    before.asked.clear()
    for _ in range(5):
        assert await fs.read_bytes("file") == b"bytes"
    assert [is_direct(asked) for asked in before.asked] == [True, False] * 3 + [False] * 2


async def test_what_the_sdk_is_refused_as_well_is_an_error(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"bytes")

    async def deny(_: Asked) -> web.Response:
        return refusal(403, "AccessDenied")

    before.meddle = deny
    for _ in range(5):
        with pytest.raises(AccessDenied, match="AccessDenied"):
            await fs.read_bytes("file")
    before.meddle = None
    before.asked.clear()
    assert await fs.read_bytes("file") == b"bytes"
    assert [is_direct(asked) for asked in before.asked] == [True]


async def test_a_missing_file_costs_one_request(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"")
    before.asked.clear()
    with pytest.raises(NotFound):
        await fs.read_bytes("missing")
    assert before.verbs == ["GET"]
    assert not await fs.exists("missing")
    assert not await fs.exists("missing")
    assert before.verbs[1:].count("HEAD") <= 3, "the bucket is looked at once"


async def test_session_tokens_are_signed(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    fs = connect(server, session_token="a-session-token")
    await fs.write_bytes("file", b"")
    assert all(asked.headers["x-amz-security-token"] == "a-session-token" for asked in before.asked)
    assert all("x-amz-security-token" in asked.headers["authorization"] for asked in before.asked)


async def test_readers_that_pause_do_not_keep_others_waiting(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, timeout=20.0)
    await fs.write_bytes("file", bytes(3 << 20))
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(fs.open("file")) for _ in range(100)]
        assert (await fs.stat("file")).size == 3 << 20
        assert all([len(await reader.read()) == 3 << 20 for reader in readers[::10]])
