"""Proxies that say "200 OK" without proof: nothing is believed, and nothing is published twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from aiofs.driver import MIB
from aiofs.errors import Unavailable
from backends.s3.sessions import put

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from backends.s3.front import Asked, Front
    from servers.moto import S3Server

    Change = Callable[[web.Response], web.Response]

OLD, NEW, LARGE = b"old bytes", b"new bytes", bytes(9 * MIB)
BODIES = (
    "",
    "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>later</Message></Error>",
    "<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTru",
    "<?xml version='1.0'?><Answer/>",
)

both = pytest.mark.parametrize("direct", [True, False], ids=["direct", "sdk"])
"""For what does not go by the SDK anyway."""


@pytest.fixture
def direct() -> bool:
    return True


@pytest.fixture
async def proxy(front: Fronts, s3_server: S3Server) -> tuple[Front, S3Server]:
    return await front(s3_server)


@pytest.fixture
async def fs(direct: bool, proxy: tuple[Front, S3Server], connect: Connect) -> S3FileSystem:
    """Behind the proxy, with a file."""
    fs = connect(proxy[1], direct=direct, attempts=1, part_size=5 * MIB)
    await fs.write_bytes("file", OLD)
    proxy[0].asked.clear()
    return fs


@pytest.fixture
async def behind(connect: Connect, s3_server: S3Server) -> S3FileSystem:
    """The same bucket, by a good connection."""
    return connect(s3_server)


def is_about(asked: Asked, verb: str, name: str = "file") -> bool:
    return str(asked) == verb and asked.path.endswith(f"/{name}")


def change(front: Front, verb: str, changed: Change, name: str = "file") -> None:
    """Have requests done, and their answers changed."""

    async def afterwards(asked: Asked, answer: web.Response) -> web.Response | None:
        return changed(answer) if is_about(asked, verb, name) else None

    front.afterwards = afterwards


def pretend(front: Front, verb: str, text: str = "", name: str = "file") -> None:
    """Have requests answered with "200 OK", and not done."""

    async def meddle(asked: Asked) -> web.Response | None:
        return web.Response(text=text) if is_about(asked, verb, name) else None

    front.meddle = meddle


def without_etag(answer: web.Response) -> web.Response:
    answer.headers.pop("ETag", None)
    return answer


def saying(text: str) -> Change:
    return lambda _: web.Response(text=text, content_type="application/xml")


@both
async def test_a_put_that_was_done_is_looked_up_and_done_once(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    change(proxy[0], "PUT", without_etag)
    await fs.write_bytes("file", NEW)
    assert [is_about(asked, "PUT") for asked in proxy[0].asked].count(True) == 1
    assert await fs.stat("file") == await behind.stat("file")
    assert await behind.read_bytes("file") == NEW


@both
async def test_a_put_that_was_not_done_is_not_reported_as_done(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    pretend(proxy[0], "PUT")
    with pytest.raises(Unavailable, match="may have done nothing") as failed:
        await fs.write_bytes("file", NEW)
    assert failed.value.filename == "file"
    assert failed.value.retryable
    assert await behind.read_bytes("file") == OLD


@both
async def test_locks_are_taken_renewed_and_given_back_though_no_put_tells_its_etag(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    async def afterwards(asked: Asked, answer: web.Response) -> web.Response | None:
        return without_etag(answer) if asked.method == "PUT" else None

    proxy[0].afterwards = afterwards
    async with fs.open("file", "w") as file:
        await file.write(NEW)
        lease = await fs.driver.lock("other")
        assert await lease.confirm()
        assert await lease.confirm()
        await lease.release()
    assert await behind.read_bytes("file") == NEW
    assert [left async for left in behind.driver.leftovers()] == []


@both
async def test_an_upload_without_proof_is_not_published(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    for verb in ("PUT uploadId partNumber", "POST uploads"):
        pretend(proxy[0], verb)
        with pytest.raises(Unavailable, match="may have done nothing"):
            await fs.write_bytes("file", LARGE)
    assert await behind.read_bytes("file") == OLD
    assert [left async for left in behind.driver.leftovers()] == []


async def test_a_completion_without_proof_is_looked_up(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    for text in BODIES:
        pretend(proxy[0], "POST uploadId", text)
        with pytest.raises(Unavailable):
            await fs.write_bytes("file", LARGE)
        assert await behind.read_bytes("file") == OLD
    proxy[0].meddle = None
    for size, text in enumerate(BODIES, len(LARGE)):
        change(proxy[0], "POST uploadId", saying(text))
        await fs.write_bytes("file", bytes(size))
        assert (await behind.stat("file")).size == size
    assert [left async for left in behind.driver.leftovers()] == []


async def test_an_empty_etag_of_a_completion_is_looked_up(fs: S3FileSystem, proxy: tuple[Front, S3Server]) -> None:
    """As Ceph answers every time."""
    change(
        proxy[0],
        "POST uploadId",
        saying("<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"),
    )
    async with fs.open("file", "w") as file:
        await file.write(LARGE)
    assert (await fs.stat("file")).size == len(LARGE)


async def test_a_copy_without_proof_is_looked_up(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    for text in BODIES:
        pretend(proxy[0], "PUT", text, name="copy")
        with pytest.raises(Unavailable):
            await fs.copy("file", "copy")
        assert not await behind.exists("copy")
        proxy[0].meddle = None
        change(proxy[0], "PUT", saying(text), name="copy")
        await fs.copy("file", "copy")
        assert await behind.read_bytes("copy") == OLD
        await behind.rm("copy")


@both
async def test_a_listing_without_proof_is_not_taken_for_an_empty_folder(
    fs: S3FileSystem, proxy: tuple[Front, S3Server]
) -> None:
    for text in (*BODIES, "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"):

        async def answer(asked: Asked, text: str = text) -> web.Response | None:
            return web.Response(text=text) if "list-type" in asked.query else None

        proxy[0].meddle = answer
        with pytest.raises(Unavailable):
            await fs.ls()


@both
@pytest.mark.parametrize("text", BODIES[1:])
async def test_a_removal_whose_answer_has_a_body_is_no_success(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem, text: str
) -> None:
    pretend(proxy[0], "DELETE", text)
    with pytest.raises(Unavailable):
        await fs.rm("file")
    assert await behind.read_bytes("file") == OLD


async def test_a_removal_of_many_without_proof_is_no_success(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], behind: S3FileSystem
) -> None:
    await fs.write_bytes("folder/a", OLD)
    await fs.write_bytes("folder/b", OLD)

    async def answer(asked: Asked) -> web.Response | None:
        return web.Response() if "delete" in asked.query else None

    proxy[0].meddle = answer
    with pytest.raises(Unavailable):
        await fs.driver.delete(["folder/a", "folder/b"])
    assert await behind.ls("folder") == ["folder/a", "folder/b"]


@both
async def test_a_file_without_version_or_length_is_not_believed(
    fs: S3FileSystem, proxy: tuple[Front, S3Server]
) -> None:
    def without_length(answer: web.Response) -> web.Response:
        answer.headers.pop("Content-Length", None)
        answer.enable_chunked_encoding()
        return answer

    change(proxy[0], "HEAD", without_etag)
    with pytest.raises(Unavailable, match="etag"):
        await fs.stat("file")
    change(proxy[0], "GET", without_etag)
    with pytest.raises(Unavailable, match="etag"):
        await fs.read_bytes("file")
    change(proxy[0], "GET", without_length)
    with pytest.raises(Unavailable, match="content-length"):
        await fs.read_bytes("file")


@both
async def test_bytes_from_elsewhere_are_not_taken_for_the_range(
    fs: S3FileSystem, proxy: tuple[Front, S3Server]
) -> None:
    """A proxy that knows no ranges brings the whole file."""

    async def without_range(asked: Asked) -> None:
        asked.headers.pop("range", None)

    proxy[0].meddle = without_range  # type: ignore[assignment]
    with pytest.raises(Unavailable, match="content-range"):
        await fs.read_bytes("file", 4, 9)
    assert await fs.read_bytes("file", 0, 3) == OLD[:3]


@both
async def test_a_body_that_ends_early_is_no_file(fs: S3FileSystem, proxy: tuple[Front, S3Server]) -> None:
    def cut(answer: web.Response) -> web.Response:
        assert isinstance(answer.body, bytes)
        short = web.Response(status=answer.status, headers=answer.headers, body=answer.body[:0])
        short.headers["Content-Length"] = str(len(answer.body))
        short.force_close()
        return short

    change(proxy[0], "GET", cut)
    with pytest.raises(OSError, match="file") as failed:
        await fs.read_bytes("file")
    assert failed.value.retryable  # type: ignore[attr-defined]


@both
async def test_what_goes_on_is_the_same_version_though_the_server_forgets_the_condition(
    fs: S3FileSystem, proxy: tuple[Front, S3Server], s3_server: S3Server
) -> None:
    await fs.write_bytes("file", LARGE)

    async def without_condition(asked: Asked) -> None:
        asked.headers.pop("if-match", None)

    proxy[0].meddle = without_condition  # type: ignore[assignment]
    async with fs.open("file") as file:
        await file.read(10)
        await put(s3_server, "file", bytes([1]) * len(LARGE))
        await file.seek(8 * MIB)
        with pytest.raises(BlockingIOError):
            await file.read()
