"""What is S3's own: foreign keys, metadata and headers, copies in parts, presigned URLs, missing buckets, settings."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
import tracemalloc
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from aiofs.backends.s3 import driver, writing
from aiofs.backends.s3.reading import checksum
from aiofs.driver import MIB
from aiofs.errors import AccessDenied, AiofsError, NotFound, StoreMissing, TooLarge
from aiofs.stores import S3FileSystem
from backends.s3.sessions import by_client

if TYPE_CHECKING:
    from pathlib import Path

    from backends.s3.conftest import Connect, Fronts
    from backends.s3.front import Asked
    from servers.moto import S3Server

PART = 5 * MIB


async def test_keys_of_other_programs_are_listed_where_a_path_can_name_them(
    fs: S3FileSystem, s3_server: S3Server
) -> None:
    for key in ("folder/", "folder/file", "double//slash", "/absolute", "dot/./dot", "..", "a=b&c+d e%20f?#"):
        await by_client(s3_server, "put_object", Key=key, Body=b"theirs")
    assert await fs.ls() == ["a=b&c+d e%20f?#", "folder/file"]
    assert await fs.read_bytes("a=b&c+d e%20f?#") == b"theirs"
    assert "folder/" in await fs.ls(recursive=False)


async def test_below_a_prefix_the_rest_of_the_bucket_does_not_exist(connect: Connect, s3_server: S3Server) -> None:
    whole, inner = connect(s3_server), connect(s3_server, prefix="in/side")
    await inner.write_bytes("file", b"x")
    await whole.write_bytes("in/sidelong", b"y")
    assert await inner.ls() == ["file"]
    assert await whole.ls() == ["in/side/file", "in/sidelong"]
    assert await inner.ls(recursive=False) == ["file"]


async def test_many_are_removed_below_a_prefix_that_xml_cannot_name(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, prefix="a\x01folder")
    await fs.write_bytes("one", b"")
    await fs.write_bytes("two", b"")
    await fs.rm("one", "two")
    assert await fs.ls() == []


async def test_a_request_may_be_tried_as_often_as_one_likes(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, attempts=5000)
    await fs.write_bytes("file", b"bytes")
    assert await fs.read_bytes("file") == b"bytes"


async def test_a_key_that_would_be_too_long_is_refused(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, prefix="p" * 100)
    await fs.write_bytes("é" * 450, b"")
    with pytest.raises(ValueError, match="1025 bytes"):
        fs.open("é" * 462, "w")


async def test_metadata_go_and_come_back(fs: S3FileSystem) -> None:
    metadata = {
        "plain": "a  b",
        "empty": "",
        "spaces": " x ",
        "letters": "žluťoučký kůň",
        "fake": "=?utf-8?B?eA==?=",
    }
    await fs.write_bytes("file", b"x", metadata=metadata)
    assert (await fs.stat("file")).metadata == metadata
    await fs.write_bytes("large", bytes(9 * MIB), metadata=metadata)
    assert (await fs.stat("large")).metadata == metadata
    await fs.copy("file", "copy")
    assert (await fs.stat("copy")).metadata == metadata
    for bad in ("Upper", "with space", "aiofs-writer", ""):
        with pytest.raises(ValueError, match="metadata"):
            await fs.write_bytes("file", b"", metadata={bad: "x"})


async def test_the_content_type_is_guessed_set_and_kept(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server)
    await fs.write_bytes("page.html", b"")
    assert (await by_client(s3_server, "head_object", Key="page.html"))["ContentType"] == "text/html"
    assert (await fs.stat("page.html")).metadata == {}
    await fs.move("page.html", "page")
    assert (await by_client(s3_server, "head_object", Key="page"))["ContentType"] == "text/html"
    await connect(s3_server, content_type="image/x-any").write_bytes("page.html", b"")
    assert (await by_client(s3_server, "head_object", Key="page.html"))["ContentType"] == "image/x-any"


@pytest.mark.parametrize("told", ["text/html", "application/octet-stream", "image/x-any"])
async def test_a_content_type_that_is_not_the_one_of_new_files_is_kept(
    told: str, connect: Connect, s3_server: S3Server
) -> None:
    fs = connect(s3_server, content_type="image/x-any", checksum="sha256")
    await fs.write_bytes("new.html", b"", metadata={"kind": "page"})
    assert (await fs.stat("new.html")).metadata == {"kind": "page"}
    await by_client(s3_server, "put_object", Key="page.html", Body=b"<p>", ContentType=told)
    async with fs.open("page.html", "a") as file:
        await file.write(b"more")
    assert (await by_client(s3_server, "head_object", Key="page.html"))["ContentType"] == told


async def test_the_storage_class_is_passed_on(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server, storage_class="STANDARD_IA")
    await fs.write_bytes("small", b"x")
    await fs.write_bytes("large", bytes(9 * MIB))
    await fs.copy("small", "copy")
    for key in ("small", "large", "copy"):
        assert (await by_client(s3_server, "head_object", Key=key))["StorageClass"] == "STANDARD_IA"


@pytest.mark.parametrize("direct", [True, False])
async def test_checksums_are_offered(direct: bool, connect: Connect, s3_server: S3Server) -> None:
    data = b"some bytes"
    sums = {
        "crc32": zlib.crc32(data).to_bytes(4, "big"),
        "sha1": hashlib.sha1(data).digest(),
        "sha256": hashlib.sha256(data).digest(),
    }
    for name, digest in sums.items():
        fs = connect(s3_server, checksum=name, direct=direct)
        await fs.write_bytes("file", data)
        seen = await by_client(s3_server, "head_object", Key="file", ChecksumMode="ENABLED")
        assert seen[f"Checksum{name.upper()}"] == base64.b64encode(digest).decode()
        await fs.write_bytes("large", bytes(9 * MIB))
        assert await fs.read_bytes("large") == bytes(9 * MIB)
        await fs.copy("large", "copy")  # which is of one piece
        seen = await by_client(s3_server, "head_object", Key="copy", ChecksumMode="ENABLED")
        assert seen[f"Checksum{name.upper()}"] == checksum(name, bytes(9 * MIB))
        assert await fs.read_bytes("copy") == bytes(9 * MIB)


async def test_large_files_are_copied_in_pieces(
    fs: S3FileSystem, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "COPIED_WHOLE", 10 * MIB)
    monkeypatch.setattr(writing, "COPIED_AT_ONCE", 8 * MIB)
    data = bytes(range(256)) * (25 * MIB // 256) + b"tail"
    await fs.write_bytes("large.txt", data, metadata={"kind": "large"})
    await fs.move("large.txt", "moved")
    assert await fs.ls() == ["moved"]
    assert await fs.read_bytes("moved") == data
    seen = await by_client(s3_server, "head_object", Key="moved")
    assert seen["ETag"].endswith('-4"')
    assert seen["ContentType"] == "text/plain"
    assert (await fs.stat("moved")).metadata == {"kind": "large"}


async def test_more_parts_than_s3_takes_are_refused(fs: S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_PARTS", 2)
    with pytest.raises(TooLarge, match="larger part_size"):
        await fs.write_bytes("large", bytes(17 * MIB))
    assert await fs.ls() == []
    assert [left async for left in fs.driver.leftovers()] == []


async def test_presigned_urls_read_and_write(fs: S3FileSystem) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.put(await fs.url("a file+%.txt", "PUT", expires=60), data=b"by the bearer") as answer:
            assert answer.status == 200
        async with http.get(await fs.url("a file+%.txt")) as answer:
            assert await answer.read() == b"by the bearer"
    assert await fs.read_bytes("a file+%.txt") == b"by the bearer"


async def test_a_missing_bucket_is_not_a_missing_file(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(replace(s3_server, bucket="no-such-bucket"))
    attempts = [
        fs.stat("file"),
        fs.read_bytes("file"),
        fs.write_bytes("file", b""),
        fs.ls(),
        fs.rm("file"),
        fs.copy("file", "other"),
    ]
    for attempt in attempts:
        with pytest.raises(StoreMissing, match="bucket") as caught:
            await attempt
        assert caught.value.filename in {"file", "other", None}
    with pytest.raises(NotFound):
        await connect(s3_server).stat("file")


async def test_over_https_bodies_are_not_hashed_and_the_authority_is_checked(
    connect: Connect, s3_https_server: S3Server
) -> None:
    fs = connect(s3_https_server, ca_bundle=s3_https_server.authority)
    data = bytes(range(256)) * (17 * MIB // 256)
    await fs.write_bytes("file", data)
    assert await fs.read_bytes("file") == data
    assert await fs.ls() == ["file"]
    with pytest.raises(ConnectionError, match="certificate"):
        await connect(s3_https_server, attempts=1).stat("file")


async def test_no_message_shows_a_key(connect: Connect, s3_auth_server: S3Server) -> None:
    for direct in (True, False):
        fs = connect(s3_auth_server.with_secret("an-unheard-of-secret"), direct=direct)
        with pytest.raises(AccessDenied) as caught:
            await fs.write_bytes("file", b"")
        error: BaseException | None = caught.value
        while error is not None:
            assert "an-unheard-of-secret" not in f"{error} {error!r}"
            error = error.__cause__ or error.__context__
        assert "an-unheard-of-secret" not in f"{fs!r} {fs.driver} {fs.driver._store.settings!r}"


@pytest.mark.parametrize("direct", [True, False])
async def test_ten_thousand_keys_stream_in_pages(
    direct: bool, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    keys = [f"{number:05} {'x' * 100}" for number in range(10_000)]

    async def listed(asked: Asked) -> web.Response:
        """Give pages of a thousand, as S3 does, and once a shorter one that is not the last."""
        start = int(asked.query.get("continuation-token", 0))
        page = keys[start : start + (1000 if start else 500)]
        found = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<ETag>&quot;{key[:5]}&quot;</ETag><Size>{len(key)}</Size></Contents>"
            for key in page
        )
        more = start + len(page)
        rest = f"<NextContinuationToken>{more}</NextContinuationToken>" if more < len(keys) else ""
        truncated = "true" if rest else "false"
        text = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{rest}{found}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    before.meddle = listed
    fs = connect(server, direct=direct)
    peaks = []
    seen = []
    tracemalloc.start()
    async for name in fs.ls():
        seen.append(name)
        if len(seen) % 2000 == 0:
            peaks.append(tracemalloc.get_traced_memory()[1] - sum(map(sys.getsizeof, seen)))
            tracemalloc.reset_peak()
    tracemalloc.stop()
    assert seen == keys
    assert len(before.asked) == 11
    assert max(peaks[1:]) < min(peaks) + 2 * MIB


async def test_two_loops_one_after_the_other(s3_server: S3Server) -> None:
    fs = S3FileSystem(
        s3_server.bucket,
        endpoint_url=s3_server.endpoint_url,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
    )

    async def use(expected: list[str]) -> None:
        assert await fs.ls() == expected
        await fs.write_bytes(f"file {len(expected)}", b"")

    await asyncio.to_thread(asyncio.run, use([]))
    await asyncio.to_thread(asyncio.run, use(["file 0"]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bucket": "No_pe!"}, "'No_pe!': a bucket's name"),
        ({"endpoint_url": "http://me:mine@host"}, "no credentials"),
        ({"endpoint_url": "host:9000"}, "give http://"),
        ({"endpoint_url": "http://"}, "give http://"),
        ({"access_key": "only one"}, "go together"),
        ({"part_size": MIB}, "part_size"),
        ({"part_size": 6 << 30}, "at most"),
        ({"addressing": "virtually"}, "'auto' or 'path' or 'virtual'"),
        ({"checksum": "md5"}, "'crc32' or 'sha1' or 'sha256'"),
        ({"timeout": 0}, "timeout must be greater than 0, not 0"),
        ({"attempts": 0}, "attempts must be a whole number, at least 1, not 0"),
        ({"parallel": 0}, "parallel must be"),
        ({"page_size": 0.5}, r"page_size .* not 0\.5"),
        ({"locking": "never"}, "'lease' or 'commit'"),
        ({"lease": 0}, "lease"),
        ({"prefix": "../up"}, r"'\.\.'"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        S3FileSystem(**{"bucket": "bucket", **settings})


@pytest.mark.parametrize("locks", [True, False, "host", 30])
def test_locks_are_kept_by_a_file_system(locks: Any) -> None:
    with pytest.raises(TypeError, match=f"locks= takes None, or a file system .*{type(locks).__name__}"):
        S3FileSystem("bucket", locks=locks)


async def test_urls_are_good_for_a_second_at_least_and_for_seven_days_at_most(fs: S3FileSystem) -> None:
    """What is signed for less is good for nothing, and S3 refuses what is signed for more."""
    assert "X-Amz-Expires=1&" in await fs.url("file", expires=0.1)
    assert "X-Amz-Expires=604800&" in await fs.url("file", expires=7 * 24 * 3600)
    with pytest.raises(ValueError, match=r"at most 604800 seconds .*, not 604801"):
        await fs.url("file", expires=604801)


@pytest.mark.may_block  # the SDK looks into files
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("settings", "words"),
    [({"region": "no region!"}, "no region!"), ({"ca_bundle": "/there/is/none.pem"}, "/there/is/none.pem")],
)
async def test_settings_that_allow_for_no_client_do_not_look_like_missing_files(
    settings: dict[str, Any], words: str, direct: bool
) -> None:
    keys = {"endpoint_url": "https://127.0.0.1:1", "access_key": "key", "secret_key": "hidden"}
    async with S3FileSystem(**{"bucket": "bucket", "direct": direct, **keys, **settings}) as fs:
        for use in (fs.exists, fs.stat, fs.read_bytes):
            with pytest.raises(AiofsError, match=words) as caught:
                await use("file")
            assert not isinstance(caught.value, FileNotFoundError)
            assert caught.value.__cause__ is not None
            assert "hidden" not in str(caught.value)


@pytest.mark.may_block  # the SDK looks for credentials in files
async def test_missing_credentials_are_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with S3FileSystem("bucket", endpoint_url="http://127.0.0.1:1", region="us-east-1") as fs:
        with pytest.raises(PermissionError, match="no credentials: set them in the environment"):
            await fs.write_bytes("a", b"x")
