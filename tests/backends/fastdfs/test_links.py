"""A client from a client.conf, URLs with tokens, and uploads with metadata to a chosen store path."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from aiofs.backends.fastdfs import FastDFSClient
from aiofs.errors import AiofsError
from servers.fastdfs.storage import framed

if TYPE_CHECKING:
    from pathlib import Path

    from servers.fastdfs.cluster import Cluster

NAME = "M00/00/00/fwAAA2sAcB6ACvueAAAADg4Qul0904.txt"
FILE = f"group1/{NAME}"
NUMBERED = "group1/M00/00/00/oYYBAGsAb-uAPyx8AAAADg4Qul0117.txt"
CONF = """# connect timeout in seconds
connect_timeout = 3
network_timeout=12s
base_path = /home/fastdfs
[group1]
tracker_server = {tracker}
tracker_server = 10.0.0.1,192.168.0.1:22123
http.tracker_server_port = 80
#include http.conf
"""


def stamp(url: str, secret: str) -> int:
    """The time in a URL, whose token must be right."""
    query = parse_qs(urlsplit(url).query)
    [token], [ts] = query["token"], query["ts"]
    assert token == hashlib.md5(f"{NAME}{secret}{ts}".encode()).hexdigest()
    return int(ts)


def test_url_with_a_token() -> None:
    client = FastDFSClient("tracker", base_url="https://files.example.com/", secret="s3")
    before = int(time.time())
    url = client.url(FILE)
    assert url.startswith(f"https://files.example.com/{FILE}?token=")
    assert before <= stamp(url, "s3") <= time.time()
    assert before + 600 <= stamp(client.url(FILE, secret="other", ttl=600), "other") <= time.time() + 600
    knowing = FastDFSClient("tracker", secret="s3", token_ttl=900)
    assert before - 300 <= stamp(knowing.url(FILE, ttl=600), "s3") <= time.time() - 300
    assert "s3" not in repr(knowing)


def test_url_without_a_token() -> None:
    client = FastDFSClient("tracker")
    assert client.url(FILE) == f"http://127.0.0.3/{FILE}"
    with pytest.raises(ValueError, match="secret="):
        client.url(FILE, ttl=600)
    with pytest.raises(ValueError, match="base_url="):
        client.url(NUMBERED)
    with pytest.raises(ValueError, match="not a FastDFS file id"):
        client.url("name")


async def test_client_from_a_conf(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "client.conf").write_text(CONF.format(tracker=cluster.addresses[0]))
    (tmp_path / "http.conf").write_text("http.anti_steal.token_ttl=900\nhttp.anti_steal.secret_key=s3\n")
    conf, settings = tmp_path / "client.conf", {"address_map": cluster.address_map}
    async with await asyncio.to_thread(FastDFSClient.from_conf, conf, **settings) as client:
        assert repr(client) == f"<FastDFSClient {cluster.addresses[0]},10.0.0.1:22123,192.168.0.1:22123>"
        assert await client.read(await client.upload(b"data")) == b"data"
        assert stamp(client.url(FILE, ttl=900), "s3") <= time.time()
        limits = client._network._limits
        assert (limits.connect_timeout, limits.network_timeout) == (3, 12)
    other = await asyncio.to_thread(FastDFSClient.from_conf, str(conf), network_timeout=1)
    assert other._network._limits.network_timeout == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_path=/", "names no tracker"),
        ("tracker_server=host\nconnect_timeout=soon", "client.conf:2: connect_timeout = 'soon'"),
        ("tracker_server=host:0", "not the address of a server"),
        ("#include client.conf", "include each other"),
    ],
)
def test_conf_that_cannot_be_meant(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "client.conf").write_text(text)
    with pytest.raises(ValueError, match=message):
        FastDFSClient.from_conf(tmp_path / "client.conf")


def test_conf_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FastDFSClient.from_conf(tmp_path / "client.conf")


async def test_upload_to_a_chosen_store_path(cluster: Cluster, client: FastDFSClient) -> None:
    cluster.storages[0].paths = 3
    assert (await client.upload(b"x", store_path_index=2)).startswith("group1/M02/")
    assert (await client.upload(b"x", store_path_index=-1)).startswith("group1/M00/")
    with pytest.raises(OSError, match=str(cluster.storage.port)):
        await client.upload(b"x", store_path_index=3)
    for index in (-2, 128):
        with pytest.raises(ValueError, match="store_path_index"):
            await client.upload(b"x", store_path_index=index)


async def test_upload_with_metadata(cluster: Cluster, client: FastDFSClient) -> None:
    stored = await client.upload(b"x", metadata={"author": "Ann"})
    assert await client.metadata(stored) == {"author": "Ann"}
    with pytest.raises(ValueError, match="metadata"):
        await client.upload(b"x", metadata={"": "no key"})
    cluster.storage.instead = {13: framed(b"", 5)}
    with pytest.raises(AiofsError):
        await client.upload(b"x", metadata={"author": "Ann"})
    assert len(cluster.storages[0].files) == 1
