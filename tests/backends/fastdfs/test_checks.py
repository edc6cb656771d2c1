"""The client refuses what servers would refuse, or accept and damage, before it sends anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aiofs.errors import TooLarge, Unsupported
from aiofs.stores import FastDFSFileSystem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aiofs.backends.fastdfs import FastDFSClient
    from servers.fastdfs.cluster import Cluster

NORMAL = "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt"
APPENDER = "group1/M00/00/00/CgABAWsAcB6ENLlUAAAAAKaEx8Y931.log"
SLAVE = "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904_small.txt"


@pytest.fixture(autouse=True)
def _nothing_is_sent(cluster: Cluster) -> Iterator[None]:
    yield
    assert cluster.tracker.asked == []
    assert cluster.storage.asked == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "group1",
        "group1/",
        "/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt",
        "group_1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt",
        "group1group1group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt",
        "group1/../../../etc/passwd",
        "group1/M00/00/00/../../CgABAWsAcB6ACvueAAAADg4Qul0904.txt",
        "group1/M00/00/00/short.txt",
        "group1/X00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt",
        "group1/M00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt",
        "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.txt\n",
        "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.tx\0",
        "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0904.tä",
        "group1/M00/00/00/CgABAWsAcB6ACvueAAAADg4Qul0" + "x" * 91,
    ],
)
async def test_what_is_no_id(client: FastDFSClient, text: str) -> None:
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: client.read(text),
        lambda: client.info(text),
        lambda: client.delete(text),
        lambda: client.append(text, b"x"),
        lambda: client.metadata(text),
        lambda: client.query_fetch(text),
        lambda: client.upload_slave(text, "_s", b"x"),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="not a FastDFS file id"):
            await attempt()


@pytest.mark.parametrize("extension", ["a/b", ".txt", "toolong", "ä", " ", "a\0"])
async def test_extensions(client: FastDFSClient, extension: str) -> None:
    with pytest.raises(ValueError, match="extension"):
        await client.upload(b"x", extension=extension)
    with pytest.raises(ValueError, match="extension"):
        await client.upload_slave(NORMAL, "_s", b"x", extension=extension)


@pytest.mark.parametrize(
    "settings",
    [
        {"group": "no group"},
        {"connections": 0},
        {"connections": 1.5},
        {"connect_timeout": 0},
        {"network_timeout": float("nan")},
        {"pool_timeout": -1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        FastDFSFileSystem("localhost", index=None, **settings)


@pytest.mark.parametrize("group", ["", "a/b", "g" * 17, "gruppe-1", "ä"])
async def test_groups(client: FastDFSClient, group: str) -> None:
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: client.upload(b"x", group=group),
        lambda: client.query_store(group),
        lambda: client.query_store_all(group),
        lambda: client.group(group),
        lambda: client.storages(group),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="group"):
            await attempt()


@pytest.mark.parametrize("prefix", ["", "p" * 17, "a/b", "ä"])
async def test_slave_prefixes(client: FastDFSClient, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        await client.upload_slave(NORMAL, prefix, b"x")


@pytest.mark.parametrize("file", [NORMAL, SLAVE])
async def test_only_appenders_change(client: FastDFSClient, file: str) -> None:
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: client.append(file, b"x"),
        lambda: client.modify(file, 0, b"x"),
        lambda: client.truncate(file, 0),
        lambda: client.regenerate(file),
    ]
    for attempt in attempts:
        with pytest.raises(Unsupported) as caught:
            await attempt()
        assert caught.value.filename == file


async def test_nothing_is_sent_for_nothing(client: FastDFSClient) -> None:
    """Servers answer a change by no bytes with junk, and downloads of nothing with errors or not at all."""
    await client.append(APPENDER, b"")
    await client.modify(APPENDER, 5, b"")
    assert await (await client.download(APPENDER, 5, size=5)).read() == b""
    assert await (await client.download(APPENDER, 7, size=5)).read() == b""
    assert await (await client.download(NORMAL, 0, 0, size=5)).read() == b""


async def test_negative_numbers(client: FastDFSClient) -> None:
    for attempt in (client.truncate(APPENDER, -1), client.modify(APPENDER, -1, b"x"), client.append(APPENDER, b"", -1)):
        with pytest.raises(ValueError, match="-1"):
            await attempt


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "value"),
        ("k" * 65, "value"),
        ("ä" * 33, "value"),
        ("key", "v" * 257),
        ("key", "ä" * 129),
        ("a\x01b", "value"),
        ("a\x02b", "value"),
        ("a\0b", "value"),
        ("key", "a\x01b"),
        ("key", "a\x02b"),
        ("key", "a\0b"),
    ],
)
async def test_metadata_that_servers_would_spoil(client: FastDFSClient, key: str, value: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        await client.set_metadata(NORMAL, {key: value})


async def test_too_much_metadata(client: FastDFSClient) -> None:
    with pytest.raises(TooLarge):
        await client.set_metadata(NORMAL, {f"key{number:04}": "v" * 256 for number in range(1000)})
