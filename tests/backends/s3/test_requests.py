"""What operations cost in requests, and that large files are changed without being sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs.driver import MIB

if TYPE_CHECKING:
    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from backends.s3.front import Front
    from servers.moto import S3Server

PART = 8 * MIB
LARGE = bytes(range(256)) * (3 * PART // 256) + b"the end"


@pytest.fixture
async def counted(front: Fronts, s3_server: S3Server, connect: Connect) -> tuple[S3FileSystem, list[str], Front]:
    """A file system whose client and probe have been made, and what it asks from then on."""
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("warm", b"up")
    before.asked.clear()
    return fs, before.verbs, before


async def test_reading_a_file_is_one_request(counted: tuple[S3FileSystem, list[str], Front]) -> None:
    fs, _, front = counted
    assert await fs.read_bytes("warm") == b"up"
    async with fs.open("warm") as file:
        assert await file.read() == b"up"
    assert front.verbs == ["GET", "GET"]


async def test_the_first_window_brings_the_version_that_all_others_are_of(
    counted: tuple[S3FileSystem, list[str], Front],
) -> None:
    fs, _, front = counted
    await fs.write_bytes("large", LARGE)
    front.asked.clear()
    async with fs.open("large") as file:
        assert await file.read() == LARGE
    assert set(front.verbs) == {"GET"}
    first, *others = front.asked
    assert first.headers["range"] == "bytes=0-262143"
    assert others
    assert all(asked.headers["if-match"] for asked in others)


async def test_a_small_file_is_one_put_between_lock_and_release(
    counted: tuple[S3FileSystem, list[str], Front],
) -> None:
    fs, _, front = counted
    await fs.write_bytes("file", b"bytes")
    assert front.verbs == ["PUT", "HEAD", "PUT", "DELETE"]


async def test_without_lock_objects_a_small_file_is_one_request(
    front: Fronts, s3_server: S3Server, connect: Connect
) -> None:
    before, server = await front(s3_server)
    fs = connect(server, locking="commit")
    await fs.write_bytes("warm", b"up")
    before.asked.clear()
    await fs.write_bytes("file", b"bytes")
    assert before.verbs == ["PUT"]


async def test_a_large_file_goes_in_parts(counted: tuple[S3FileSystem, list[str], Front]) -> None:
    fs, _, front = counted
    await fs.write_bytes("large", LARGE)
    verbs = front.verbs
    assert verbs.count("PUT uploadId partNumber") == 4
    assert verbs.count("POST uploads") == verbs.count("POST uploadId") == 1
    assert await fs.read_bytes("large") == LARGE


async def test_changing_a_large_file_sends_the_changed_part_only(
    counted: tuple[S3FileSystem, list[str], Front],
) -> None:
    fs, _, front = counted
    await fs.write_bytes("large", LARGE)
    front.asked.clear()
    async with fs.open("large", "r+") as file:
        await file.seek(PART + 100)
        await file.write(b"changed")
    sent = [asked for asked in front.asked if str(asked) == "PUT uploadId partNumber"]
    copied = [asked for asked in sent if "x-amz-copy-source" in asked.headers]
    assert [asked.headers["x-amz-copy-source-range"] for asked in copied] == [
        f"bytes=0-{PART - 1}",
        f"bytes={2 * PART}-{len(LARGE) - 1}",
    ]
    assert len(sent) == 3
    expected = bytearray(LARGE)
    expected[PART + 100 : PART + 107] = b"changed"
    assert await fs.read_bytes("large") == expected


async def test_appending_to_a_large_file_sends_its_tail_only(
    counted: tuple[S3FileSystem, list[str], Front],
) -> None:
    fs, _, front = counted
    await fs.write_bytes("large", LARGE)
    front.asked.clear()
    async with fs.open("large", "a") as file:
        await file.write(b" and more")
    sent = [asked for asked in front.asked if str(asked) == "PUT uploadId partNumber"]
    assert [asked.headers.get("x-amz-copy-source-range") for asked in sent] == [f"bytes=0-{3 * PART - 1}", None]
    assert await fs.read_bytes("large") == LARGE + b" and more"


async def test_a_file_cut_short_keeps_its_beginning(fs: S3FileSystem) -> None:
    await fs.write_bytes("large", LARGE)
    for size in (2 * PART + 5, PART, 1000, 0):
        async with fs.open("large", "r+") as file:
            await file.truncate(size)
        assert await fs.read_bytes("large") == LARGE[:size]


async def test_removing_many_takes_pages_of_a_thousand(
    counted: tuple[S3FileSystem, list[str], Front],
) -> None:
    fs, _, front = counted
    await fs.rm(*(f"missing {number}" for number in range(2500)), missing_ok=True)
    assert front.verbs.count("POST delete") == 3
    assert len(front.verbs) == 4, "one look at the locks, and three pages"
