"""What the client does, over a whole cluster."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.fastdfs import FastDFSClient, FileId
from aiofs.errors import AiofsError, AlreadyExists, NotFound, Unavailable, Unsupported
from servers.fastdfs.versions import CURRENT, MIDDLE, OLD, OLDEST, VERSIONS, WIDE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backends.fastdfs.conftest import Connects, Starts
    from servers.fastdfs.cluster import Cluster
    from servers.fastdfs.versions import Version

MISSING = "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt"


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


@pytest.fixture(params=VERSIONS, ids=lambda version: f"{version.name}{'w' if version.wide else ''}")
async def any_client(request: pytest.FixtureRequest, start: Starts, connect: Connects) -> FastDFSClient:
    """A client of each version."""
    return connect(await start(version=request.param))


@pytest.mark.both_loops
async def test_upload_and_read(client: FastDFSClient) -> None:
    stored = await client.upload(b"hello fastdfs\n", extension="txt")
    file = FileId.parse(stored)
    assert (file.kind, file.size, file.crc32, file.source) == ("normal", 14, zlib.crc32(b"hello fastdfs\n"), "10.0.1.1")
    assert await client.read(stored) == b"hello fastdfs\n"


async def test_life_of_a_file_in_every_version(any_client: FastDFSClient) -> None:
    stored = await any_client.upload(b"0123456789", extension="tar.gz")
    assert stored.endswith(".tar.gz")
    assert await any_client.read(stored, 3, 6) == b"345"
    info = await any_client.info(stored)
    assert (info.size, info.crc32, info.source) == (10, zlib.crc32(b"0123456789"), "10.0.1.1")
    await any_client.set_metadata(stored, {"b": "2", "a": "ä"})
    assert await any_client.metadata(stored) == {"a": "ä", "b": "2"}
    await any_client.delete(stored)
    assert not await any_client.exists(stored)
    with pytest.raises(NotFound) as caught:
        await any_client.read(stored)
    assert caught.value.filename == stored


async def test_life_of_an_appender_in_every_version(any_client: FastDFSClient) -> None:
    log = await any_client.upload(b"one", extension="log", appender=True)
    assert FileId.parse(log).kind == "appender"
    await any_client.append(log, b" two")
    await any_client.modify(log, 1, b"NE")
    await any_client.modify(log, 6, b"o three")
    assert await any_client.read(log) == b"oNE two three"
    await any_client.truncate(log, 3)
    await any_client.truncate(log, 5)
    assert await any_client.read(log) == b"oNE\0\0"
    assert (await any_client.info(log)).size == 5


@pytest.mark.parametrize("version", [CURRENT, WIDE, OLD, MIDDLE])
async def test_regenerate(version: Version, start: Starts, connect: Connects) -> None:
    client = connect(await start(version=version))
    log = await client.upload(b"data", appender=True, extension="log")
    await client.set_metadata(log, {"a": "b"})
    stored = await client.regenerate(log)
    assert (FileId.parse(stored).kind, FileId.parse(stored).size) == ("normal", 4)
    assert await client.read(stored) == b"data"
    assert await client.metadata(stored) == {}
    assert not await client.exists(log)


async def test_oldest_servers_cannot_regenerate(start: Starts, connect: Connects) -> None:
    client = connect(await start(version=OLDEST))
    log = await client.upload(b"data", appender=True)
    with pytest.raises(Unsupported):
        await client.regenerate(log)


async def test_upload_of_an_iterable(client: FastDFSClient) -> None:
    stored = await client.upload(pieces(b"ab", b"", b"cde"), 5)
    assert await client.read(stored) == b"abcde"


@pytest.mark.parametrize("size", [4, 6])
async def test_iterable_of_another_size_stores_nothing(client: FastDFSClient, cluster: Cluster, size: int) -> None:
    with pytest.raises(ValueError, match="announced"):
        await client.upload(pieces(b"ab", b"cde"), size)
    assert cluster.storages[0].files == {}
    assert await client.read(await client.upload(b"next")) == b"next"


async def test_iterable_that_fails_stores_nothing(client: FastDFSClient, cluster: Cluster) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError(5, "my disk")

    with pytest.raises(OSError, match="my disk"):
        await client.upload(failing(), 2)
    assert cluster.storages[0].files == {}
    assert await client.read(await client.upload(b"next")) == b"next"


async def test_iterable_needs_a_size(client: FastDFSClient) -> None:
    with pytest.raises(TypeError, match="size"):
        await client.upload(pieces(b"a"))


async def test_size_of_bytes_must_be_theirs(client: FastDFSClient) -> None:
    with pytest.raises(ValueError, match="announced"):
        await client.upload(b"abc", 4)


async def test_slave(client: FastDFSClient) -> None:
    master = await client.upload(b"big picture", extension="jpg")
    slave = await client.upload_slave(master, "_small", b"small", extension="jpg")
    assert slave == master.replace(".jpg", "_small.jpg")
    assert (FileId.parse(slave).kind, FileId.parse(slave).size) == ("slave", None)
    assert await client.read(slave) == b"small"
    assert (await client.info(slave)).size == 5
    with pytest.raises(AlreadyExists):
        await client.upload_slave(master, "_small", b"other", extension="jpg")
    await client.delete(master)
    assert await client.read(slave) == b"small"
    with pytest.raises(NotFound):
        await client.upload_slave(master, "_large", b"large", extension="jpg")


async def test_slave_that_looks_like_a_normal_file(client: FastDFSClient) -> None:
    master = await client.upload(b"0123456789", extension="txt")
    slave = await client.upload_slave(master, "12", b"abcdefghijklmno", extension="c")
    assert FileId.parse(slave).kind == "normal"
    assert await client.read(slave) == b"abcdefghijklmno"
    assert await client.read(slave, 8) == b"ijklmno"


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (0, None, b"0123456789"),
        (2, 5, b"234"),
        (5, None, b"56789"),
        (8, 100, b"89"),
        (0, 0, b""),
        (10, None, b""),
        (10, 20, b""),
        (11, None, b""),
        (5, 3, b""),
    ],
)
async def test_ranges_in_every_version(any_client: FastDFSClient, begin: int, end: int | None, expected: bytes) -> None:
    stored = await any_client.upload(b"0123456789")
    assert await any_client.read(stored, begin, end) == expected
    appender = await any_client.upload(b"0123456789", appender=True)
    assert await any_client.read(appender, begin, end) == expected


async def test_ranges_must_be_some(client: FastDFSClient) -> None:
    with pytest.raises(ValueError, match="-1"):
        await client.download(MISSING, -1)


async def test_download_in_chunks(client: FastDFSClient) -> None:
    stored = await client.upload(bytes(range(256)) * 4)
    async with await client.download(stored) as download:
        assert download.size == 1024
        assert await download.chunk(10) == bytes(range(10))
        assert b"".join([chunk async for chunk in download]) == (bytes(range(256)) * 4)[10:]
        assert await download.chunk() == b""


async def test_download_closed_early(client: FastDFSClient, cluster: Cluster) -> None:
    stored = await client.upload(bytes(5000))
    async with await client.download(stored) as download:
        await download.chunk(1)
    with pytest.raises(ValueError, match="closed"):
        await download.chunk()
    assert await client.read(stored) == bytes(5000)
    assert cluster.storage.connections == 2


async def test_trunk_files(start: Starts, connect: Connects) -> None:
    client = connect(await start(trunk=True))
    stored = await client.upload(b"small file in a trunk", extension="txt")
    file = FileId.parse(stored)
    assert (file.kind, file.size, file.trunk is not None) == ("normal", 21, True)
    assert await client.read(stored, 6) == b"file in a trunk"
    slave = await client.upload_slave(stored, "_s", b"x", extension="txt")
    assert FileId.parse(slave).kind == "slave"
    assert await client.read(slave) == b"x"


async def test_clusters_with_storage_ids(start: Starts, connect: Connects) -> None:
    client = connect(await start(numbers=True, version=WIDE))
    log = await client.upload(b"id in name", appender=True)
    assert FileId.parse(log).source == 100101
    await client.append(log, b"!")
    assert await client.read(log) == b"id in name!"


async def test_metadata(client: FastDFSClient) -> None:
    stored = await client.upload(b"x")
    assert await client.metadata(stored) == {}
    await client.set_metadata(stored, {"width": "160", "author": "Ann"})
    await client.set_metadata(stored, {"width": "170", "note": "café"}, merge=True)
    assert await client.metadata(stored) == {"author": "Ann", "note": "café", "width": "170"}
    await client.set_metadata(stored, {"only": ""})
    assert await client.metadata(stored) == {"only": ""}
    await client.set_metadata(stored, {})
    assert await client.metadata(stored) == {}


async def test_longest_metadata_arrives(client: FastDFSClient, cluster: Cluster) -> None:
    stored = cluster.storages[0].put(b"x")
    metadata = {f"{number:03}".ljust(64, "k"): "v" * 256 for number in range(600)}
    await client.set_metadata(stored, metadata)
    assert await client.metadata(stored) == metadata


async def test_missing_files(client: FastDFSClient) -> None:
    assert not await client.exists(MISSING)
    for attempt in (
        client.read(MISSING),
        client.info(MISSING),
        client.delete(MISSING),
        client.metadata(MISSING),
        client.set_metadata(MISSING, {"a": "b"}),
        client.upload_slave(MISSING, "_s", b"x"),
    ):
        with pytest.raises(NotFound) as caught:
            await attempt
        assert caught.value.filename == MISSING
        assert caught.value.__cause__ is not None


async def test_groups_and_storages(start: Starts, connect: Connects) -> None:
    client = connect(await start(groups=(2, 1)))
    assert [(group.name, group.storages, group.writable) for group in await client.groups()] == [
        ("group1", 2, 2),
        ("group2", 1, 1),
    ]
    assert (await client.group("group2")).storages == 1
    assert [storage.ip for storage in await client.storages("group1")] == ["10.0.1.1", "10.0.1.2"]
    assert [storage.state for storage in await client.storages("group1", "10.0.1.2")] == ["ACTIVE"]
    assert {(await client.query_store()).group for _ in range(2)} == {"group1", "group2"}
    assert [place.address.host for place in await client.query_store_all("group1")] == ["10.0.1.1", "10.0.1.2"]
    stored = await client.upload(b"x", group="group2")
    assert stored.startswith("group2/")
    for place in (
        await client.query_fetch(stored),
        await client.query_update(stored),
        *await client.query_fetch_all(stored),
    ):
        assert (place.group, str(place.address)) == ("group2", "10.0.2.1:23000")


async def test_groups_of_old_versions(any_client: FastDFSClient) -> None:
    [group] = await any_client.groups()
    assert (group.name, group.total_mb, group.readable) == ("group1", 258019, 1)
    [storage] = await any_client.storages("group1")
    assert (storage.state, storage.ip, storage.port) == ("ACTIVE", "10.0.1.1", 23000)


async def test_unknown_group_is_not_a_missing_file(client: FastDFSClient) -> None:
    for attempt in (
        client.upload(b"x", group="nogroup"),
        client.query_store("nogroup"),
        client.read(MISSING.replace("group1", "nogroup")),
        client.delete(MISSING.replace("group1", "nogroup")),
        client.group("nogroup"),
    ):
        with pytest.raises(Unavailable, match="nogroup") as caught:
            await attempt
        assert not isinstance(caught.value, FileNotFoundError)


async def test_names(client: FastDFSClient, cluster: Cluster) -> None:
    stored = [await client.upload(b"x", extension="txt") for _ in range(3)]
    await client.set_metadata(stored[0], {"a": "b"})
    await client.delete(stored[1])
    expected = [FileId.parse(stored[0]).name, FileId.parse(stored[2]).name, FileId.parse(stored[0]).name + "-m"]
    assert [logged.name async for logged in client.names("group1")] == expected
    assert [logged.name async for logged in client.names("group1", storage="10.0.1.1")] == expected
    assert [logged async for logged in client.names("group1", 1)] == []
    assert {logged.operation async for logged in client.names("group1")} == {"C"}
    cluster.storages[0].active = False
    with pytest.raises(Unavailable):
        await anext(client.names("group1"))


async def test_names_in_a_log_whose_length_has_the_byte_of_a_line_break(
    client: FastDFSClient, cluster: Cluster
) -> None:
    await client.upload(b"data")
    (line,) = cluster.storages[0].log
    length = len("{} {} {}\n".format(*line))
    count = next(count for count in range(1, 1000) if b"\n" in (count * length).to_bytes(8))
    cluster.storages[0].log = [line] * count
    assert len([logged async for logged in client.names("group1")]) == count


async def test_names_of_another_group_are_refused(client: FastDFSClient) -> None:
    with pytest.raises(AiofsError) as caught:
        await anext(client.names("group2", storage="10.0.1.1"))
    assert caught.value.errno == 22


async def test_active_test(client: FastDFSClient, cluster: Cluster) -> None:
    await client.active_test(cluster.addresses[0])
    await client.active_test("10.0.1.1:23000")
    with pytest.raises(ConnectionError):
        await client.active_test("127.0.0.1:1")


async def test_address_map_by_host(cluster: Cluster) -> None:
    mapped = {"10.0.1.1": cluster.address_map["10.0.1.1:23000"]}
    async with FastDFSClient(cluster.addresses[0], address_map=mapped) as client:
        assert await client.read(await client.upload(b"x")) == b"x"


async def test_addresses_that_need_no_map(cluster: Cluster) -> None:
    cluster.storages[0].ip, cluster.storages[0].port = "127.0.0.1", cluster.storage.port
    async with FastDFSClient(cluster.addresses) as client:
        assert await client.read(await client.upload(b"x")) == b"x"


async def test_closed_client(client: FastDFSClient, cluster: Cluster) -> None:
    stored = await client.upload(b"x")
    await client.aclose()
    await client.aclose()
    with pytest.raises(ValueError, match="closed"):
        await client.read(stored)
    await cluster.storage.hung_up.wait()
    assert cluster.storage.asked[-1] == 82


def test_a_client_needs_trackers() -> None:
    with pytest.raises(ValueError, match="tracker"):
        FastDFSClient([])


@pytest.mark.parametrize("address", ["", ":1", "host:", "host:0", "host:65536", "host:port", "[::1]:x"])
def test_tracker_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        FastDFSClient(address)
