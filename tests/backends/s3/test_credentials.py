"""Who we are to the store: profiles, roles, callables, lent sessions and clients, nobody; who pays, who encrypts."""

from __future__ import annotations

import base64
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.session import AioSession

from aiofs.backends.s3.signing import SignedHttp
from aiofs.driver import MIB
from aiofs.errors import AccessDenied, Unsupported
from aiofs.stores import S3FileSystem
from backends.s3.front import refusal
from backends.s3.sessions import by_client

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from backends.s3.conftest import Connect, Fronts
    from backends.s3.front import Asked, Front
    from servers.moto import S3Server

KEY = bytes(range(32))


def access_keys(front: Front) -> set[str]:
    """Who signed what was asked so far."""
    return {asked.headers["authorization"].partition("Credential=")[2].partition("/")[0] for asked in front.asked}


def is_direct(asked: Asked) -> bool:
    """Whether a request did not come from the SDK."""
    return "amz-sdk-invocation-id" not in asked.headers


@pytest.mark.may_block  # the SDK looks into files
async def test_a_profile_is_used(
    front: Fronts, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, server = await front(s3_server)
    (tmp_path / "credentials").write_text(
        "[default]\n[other]\naws_access_key_id=theirs\naws_secret_access_key=hidden\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    async with S3FileSystem(server.bucket, endpoint_url=server.endpoint_url, profile="other") as fs:
        await fs.write_bytes("file", b"bytes")
    assert access_keys(before) == {"theirs"}


@pytest.mark.may_block  # the SDK looks into files
async def test_a_role_is_assumed(front: Fronts, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    before, server = await front(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3_server.endpoint_url)
    async with S3FileSystem(
        server.bucket,
        endpoint_url=server.endpoint_url,
        access_key="mine",
        secret_key="hidden",
        role_arn="arn:aws:iam::123456789012:role/writer",
        external_id="agreed",
    ) as fs:
        await fs.write_bytes("file", b"bytes")
        assert await fs.read_bytes("file") == b"bytes"
    (key,) = access_keys(before)
    assert key.startswith("ASIA")
    assert all("x-amz-security-token" in asked.headers for asked in before.asked)


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_callable_gives_fresh_credentials(awaited: bool, front: Fronts, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    asked = 0

    def fresh() -> Any:
        nonlocal asked
        asked += 1
        expires = datetime.now(UTC) + timedelta(seconds=1 if asked == 1 else 3600)
        return {"access_key": f"key{asked}", "secret_key": "hidden", "session_token": "token", "expires": expires}

    async def fresh_later() -> Any:
        return fresh()

    give = fresh_later if awaited else fresh
    async with S3FileSystem(server.bucket, endpoint_url=server.endpoint_url, credentials=give) as fs:
        await fs.write_bytes("file", b"bytes")
    assert asked == 2, "as the first ones were about to expire"
    assert access_keys(before) <= {"key1", "key2"}
    before.asked.clear()
    async with S3FileSystem(server.bucket, endpoint_url=server.endpoint_url, credentials=give) as fs:
        await fs.read_bytes("file")
    assert access_keys(before) == {"key3"}


async def test_what_is_no_credentials_is_not_repeated(s3_server: S3Server) -> None:
    def wrong() -> Any:
        return {"access": "key", "secret": "hidden"}

    async with S3FileSystem(s3_server.bucket, endpoint_url=s3_server.endpoint_url, credentials=wrong) as fs:
        with pytest.raises(TypeError, match="access_key and secret_key") as caught:
            await fs.read_bytes("file")
    assert "hidden" not in str(caught.value)


async def test_a_session_is_lent(front: Fronts, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    session = AioSession()
    session.set_credentials("lent", "hidden")
    async with S3FileSystem(server.bucket, endpoint_url=server.endpoint_url, session=session) as fs:
        await fs.write_bytes("file", b"bytes")
        assert await fs.ls() == ["file"]
    assert access_keys(before) == {"lent"}


async def test_a_lent_client_is_not_closed(front: Fronts, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    making = AioSession().create_client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="lent",
        aws_secret_access_key="hidden",
    )
    async with making as client:
        for _ in range(2):
            async with S3FileSystem(server.bucket, client=client) as fs:
                await fs.write_bytes("file", bytes(9 * MIB))
                assert await fs.read_bytes("file") == bytes(9 * MIB)
                assert await fs.ls() == ["file"]
        await client.head_object(Bucket=server.bucket, Key="file")
    assert access_keys(before) == {"lent"}
    assert not any(map(is_direct, before.asked))


@pytest.mark.parametrize("direct", [True, False])
async def test_anonymous_requests_are_not_signed(
    direct: bool, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    await connect(s3_server).write_bytes("file", b"for all")
    await by_client(s3_server, "put_bucket_acl", ACL="public-read")
    async with S3FileSystem(
        server.bucket, endpoint_url=server.endpoint_url, region="us-east-1", anonymous=True, direct=direct
    ) as fs:
        with pytest.raises(AccessDenied):
            await fs.read_bytes("file")
        await by_client(s3_server, "put_object_acl", Key="file", ACL="public-read")
        before.asked.clear()
        assert await fs.read_bytes("file") == b"for all"
        assert (await fs.stat("file")).size == 7
        assert await fs.ls() == ["file"]
    assert all("authorization" not in asked.headers for asked in before.asked)
    assert all(is_direct(asked) == direct for asked in before.asked)


async def test_a_bucket_of_another_region_is_found(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)

    async def elsewhere(asked: Asked) -> web.Response | None:
        if "/eu-west-3/s3/" in asked.headers["authorization"]:
            return None
        answer = refusal(301, "PermanentRedirect")
        answer.headers["x-amz-bucket-region"] = "eu-west-3"
        return answer

    before.meddle = elsewhere
    fs = connect(server)
    await fs.write_bytes("file", b"bytes")
    await fs.write_bytes("large", bytes(9 * MIB))
    assert await fs.read_bytes("file") == b"bytes"
    before.asked.clear()
    assert (await fs.stat("large")).size == 9 * MIB
    assert await fs.ls() == ["file", "large"]
    await fs.write_bytes("file", b"again")
    assert all(map(is_direct, before.asked)), "once the region is known, requests need no SDK"


def test_each_region_of_aws_has_a_host() -> None:
    http: Any = None
    for host, moved in (
        ("bucket.s3.amazonaws.com", "bucket.s3.eu-west-3.amazonaws.com"),
        ("bucket.s3.us-east-1.amazonaws.com", "bucket.s3.eu-west-3.amazonaws.com"),
        ("s3.us-east-1.amazonaws.com/bucket", "s3.eu-west-3.amazonaws.com"),
        ("localhost:9000/bucket", "localhost:9000"),
    ):
        wire = SignedHttp(http, f"https://{host}/", "us-east-1", None, 1)
        wire.move("eu-west-3")
        assert (wire._origin, wire._host) == (f"https://{moved}", moved)


@pytest.mark.parametrize("direct", [True, False])
async def test_the_requester_pays(direct: bool, front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    fs = connect(server, requester_pays=True, direct=direct)
    await fs.write_bytes("file", b"bytes")
    await fs.write_bytes("large", bytes(9 * MIB))
    await fs.copy("file", "copy")
    assert await fs.ls() == ["copy", "file", "large"]
    assert await fs.read_bytes("file") == b"bytes"
    await fs.rm("file", "large")
    assert {asked.headers.get("x-amz-request-payer") for asked in before.asked if asked.path.count("/") > 1} == {
        "requester"
    }
    assert "host%3Bx-amz-request-payer" in await fs.url("copy")


@pytest.mark.parametrize("direct", [True, False])
async def test_kms_encrypts_new_files(direct: bool, front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    fs = connect(server, encryption="aws:kms", kms_key="alias/ours", direct=direct)
    await fs.write_bytes("file", b"bytes")
    await fs.write_bytes("large", bytes(9 * MIB))
    await fs.copy("file", "copy")
    assert await fs.read_bytes("copy") == b"bytes"
    for key in ("file", "large", "copy"):
        seen = await by_client(s3_server, "head_object", Key=key)
        assert (seen["ServerSideEncryption"], seen["SSEKMSKeyId"]) == ("aws:kms", "alias/ours")
    assert all("x-amz-server-side-encryption" not in asked.headers for asked in before.asked if asked.method == "GET")


async def test_a_customer_key_goes_with_all_that_needs_it_and_is_not_shown(
    front: Fronts, connect: Connect, s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    before, server = await front(s3_server)
    fs = connect(server, customer_key=KEY)
    await fs.write_bytes("file", b"bytes")
    await fs.write_bytes("large", bytes(9 * MIB))
    async with fs.open("large", "a") as file:
        await file.write(b"more")
    await fs.copy("file", "copy")
    assert await fs.read_bytes("copy") == b"bytes"
    assert await fs.ls() == ["copy", "file", "large"]
    named, source = "x-amz-server-side-encryption-customer-key", "x-amz-copy-source-server-side-encryption-customer-key"
    shown = base64.b64encode(KEY).decode()
    for asked in before.asked:
        if asked.method in {"GET", "HEAD", "PUT"} and "/" in asked.path.strip("/"):  # about an object
            assert asked.headers[named] == shown, str(asked)
        assert (asked.headers.get(source) == shown) == ("x-amz-copy-source" in asked.headers)
    assert "sse" in caplog.text.lower()
    for text in (caplog.text, repr(fs.driver._store.settings), f"{fs!r} {fs}"):
        assert shown not in text
        assert repr(KEY) not in text
    with pytest.raises(Unsupported, match="customer_key="):
        await fs.url("file")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"profile": "p", "anonymous": True}, "profile= and anonymous=: give one"),
        ({"client": object(), "credentials": dict}, "credentials= and client=: give one"),
        ({"anonymous": True, "role_arn": "arn:aws:iam::1:role/r"}, "role_arn= needs credentials"),
        ({"kms_key": "alias/k"}, "kms_key= goes with"),
        ({"encryption": "rot13"}, "'AES256' or 'aws:kms' or"),
        ({"customer_key": b"short"}, "customer_key= must be 32 bytes"),
        ({"customer_key": KEY, "encryption": "AES256"}, "exclude each other"),
        ({"customer_key": KEY, "endpoint_url": "http://example.com"}, "https"),
        ({"content_type": "text/plain\nx-amz-acl: public-read"}, "printable"),
        ({"storage_class": " STANDARD"}, "without space"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        S3FileSystem("bucket", **settings)
    assert "short" not in str(caught.value)
