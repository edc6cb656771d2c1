"""File systems and files by URL."""

from __future__ import annotations

import re
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

import aiofs
from aiofs import stores
from aiofs.layers import Gzip, Prefix
from aiofs.urls import _SCHEMES, open_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_file_url_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    async with aiofs.connect(folder.as_uri() + "?durable=false") as fs:
        await fs.write_bytes("a/b", b"x")
    assert (folder / "a" / "b").read_bytes() == b"x"


async def test_each_memory_url_is_a_store_of_its_own() -> None:
    one, other = aiofs.connect("memory://"), aiofs.connect("memory://")
    await one.write_bytes("a", b"x")
    assert await other.ls() == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gopher://host/x", "scheme 'gopher' is unknown: use one of"),
        ("no url at all", "scheme '' is unknown"),
        ("file:///tmp?durable", "file URL has a parameter without a value: write ?name=value"),
        ("file:///tmp?durable=true&durable=false", "file URL has the parameter 'durable' twice"),
        ("redis://host/0?db=1&db=2", "redis URL has the parameter 'db' twice"),
        ("redis://host/0?protocol=9", "the URL of a Redis: protocol"),
        ("redis://host/0?ttl=inf", "ttl must be a finite number of seconds, not inf"),
        ("fastdfs://host?index=memory://&connections=0", "connections must be a whole number"),
        ("file:///tmp?locks=", "locks='' is not a URL: give"),
        ("s3://bucket?locks=memory", "locks='memory' is not a URL: give"),
        ("file:///tmp?locks=memory://", "locks=memory://… keeps locks within this process"),
        ("s3://bucket?locks=memory://", "locks=memory://… keeps locks within this process"),
        ("file:///tmp?locks=s3://bucket?locking=commit", "locks=s3://… keeps locks within this process"),
        ("file:///tmp?fast=yes", "unknown parameter 'fast'; known: durable"),
        ("file:///tmp?durable=perhaps", "file URL has durable=perhaps: neither true nor false"),
        ("s3://bucket?lease=long", "s3 URL has lease=long: could not convert"),
        ("redis://host/0?timeout=-1", "timeout must be greater than 0, not -1.0"),
        ("redis://host/folder", "'/folder' is no number of a database"),
        ("redis://host/0?max_connections=few", "redis URL has max_connections=few"),
        ("redis://host/0?decode_responses=true", "must not be set to decode_responses"),
        ("file:relative/folder", "no absolute folder, but 'relative/folder'"),
        ("file://", "no absolute folder"),
        ("file:", "no absolute folder"),
        ("fastdfs://host/folder?index=memory://", "has a path, '/folder'"),
        ("azure://container", "AZURE_STORAGE_CONNECTION_STRING"),
        ("file://host/share", "names a host, 'host'"),
        ("file:///tmp#part", "fragment"),
        ("memory://name", "memory:// has no parts"),
        ("file:///a\nb", "file URL has a control character: leave it out"),
        ("s3://buc\tket/x", "s3 URL has a control character"),
        ("redis://host/0\x7f", "redis URL has a control character"),
        (" file:///tmp", "file URL begins with a space"),
        ("file:///a%00b", "file URL has %00"),
        ("file:///a%ffb", "file URL has %FF, which is not UTF-8"),
        ("s3://bucket/a?region=%00", "s3 URL has %00"),
    ],
)
def test_bad_url_is_refused_before_anything_happens(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    with pytest.raises(ValueError, match=re.escape(words)):
        aiofs.connect(url)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="credentials belong in the environment") as caught:
        aiofs.connect("file://somebody:hunter2@host/share")
    assert "hunter2" not in str(caught.value)


async def test_file_is_opened_by_its_whole_url(tmp_path: Path) -> None:
    url = (tmp_path / "100% sure.txt").as_uri()
    async with open_url(url, "w") as file:
        await file.write(b"old")
    with pytest.raises(RuntimeError):
        async with open_url(url, "w") as file:
            await file.write(b"half")
            raise RuntimeError
    async with open_url(url, encoding="ascii") as file:
        assert await file.read() == "old"


async def test_memory_urls_of_files_lead_to_one_store() -> None:
    async with open_url("memory://test_urls/shared", "w") as file:
        await file.write(b"x")
    file = await open_url("memory://test_urls/shared")
    assert await file.read() == b"x"
    await file.close()


@pytest.mark.parametrize("url", ["file:///", "memory://", "memory://a//b", "memory://../a"])
def test_url_without_a_file_name_is_refused_at_the_call(url: str) -> None:
    with pytest.raises(ValueError, match="path"):
        open_url(url)


def test_bad_mode_is_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="mode 'q'"):
        open_url("memory://a", "q")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://bucket?speed=high", "unknown parameter 'speed'; known: addressing"),
        ("s3://key:hunter2@bucket/", "credentials belong in the environment"),
        ("redis://127.0.0.1:1/0?colour=red", "unknown parameter 'colour'; known: auth, chunk_size"),
        ("fastdfs://127.0.0.1:1", "needs index=URL"),
        ("s3:///x", "names no bucket"),
        ("azure://", "names no container"),
        ("data", "a local folder is ./folder or /folder"),
        ("", "a local folder is ./folder or /folder"),
        ("redis://localhost?auth=hunter2", "write auth=environment"),
        ("redis://localhost?auth=environment", "REDISCLI_AUTH is not set"),
    ],
)
def test_bad_url_of_a_server_is_refused_without_asking_it(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        aiofs.connect(url)
    assert "hunter2" not in str(caught.value)


def test_url_is_text(tmp_path: Path) -> None:
    takers: list[Any] = [aiofs.connect, open_url, aiofs.blocking.open]
    for take in takers:
        for url in (tmp_path, None, 3, b"file:///data"):
            with pytest.raises(TypeError, match="a URL is a str, not"):
                take(url)


def test_a_local_path_that_is_opened_as_a_url_is_told_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    for take in (open_url, aiofs.blocking.open):
        with pytest.raises(ValueError, match=re.escape(f"{path!r} is no URL: for a local file")):
            take(path)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/name", "unix:///run/redis.sock?db=0", "s3://bucket"])
def test_url_that_names_a_store_but_no_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"path|write the database|name a socket"):
        open_url(url)


async def test_redis_by_url(valkey_url: str) -> None:
    async with aiofs.connect(valkey_url + "?ttl=60") as fs:
        await fs.write_bytes("a/b", b"x")
    async with open_url(valkey_url + "/a/b") as file:
        assert await file.read() == b"x"


async def test_s3_by_url(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    query = f"?endpoint_url={s3_server.endpoint_url}&region={s3_server.region}"
    async with aiofs.connect(f"s3://{s3_server.bucket}/some%20folder{query}") as fs:
        await fs.write_bytes("a", b"x")
    async with open_url(f"s3://{s3_server.bucket}/some%20folder/a{query}") as file:
        assert await file.read() == b"x"


async def test_azure_by_url(azurite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    async with aiofs.connect(f"azure://{azurite.container}/some%20folder") as fs:
        await fs.write_bytes("a", b"x")
    async with open_url(f"azure://{azurite.container}/some%20folder/a") as file:
        assert await file.read() == b"x"


async def test_fastdfs_url_has_its_index_by_url(tmp_path: Path) -> None:
    async with aiofs.connect(f"fastdfs://127.0.0.1:1/?index={tmp_path.as_uri()}") as fs:
        assert await fs.ls() == []


async def test_a_prefix_is_a_folder_of_the_index(tmp_path: Path) -> None:
    async with aiofs.connect(f"fastdfs://127.0.0.1:1/?index={tmp_path.as_uri()}&prefix=a/b") as fs:
        assert str(fs.driver).startswith("Prefix(")
        assert await fs.ls() == []


PARTS = {"root", "url", "bucket", "prefix", "container", "trackers"}  # which stand in the URL before its parameters
NOT_SAID = {  # why no URL says it
    "client": "lent",
    "session": "lent",
    "close_index": "what a URL names is closed with its file system",
    "close_locks": "what a URL names is closed with its file system",
    "credential": "a secret",
    "credentials": "a callable",
    "connection_string": "a secret",
    "access_key": "a secret",
    "secret_key": "a secret",
    "session_token": "a secret",
    "customer_key": "a secret",
    "secret": "a secret",
}
WITH_A_SECRET = {"file": {"base_url"}, "memory": {"base_url"}}
"""Settings that nobody gives without a secret."""


@pytest.mark.parametrize(
    ("scheme", "store"),
    [
        ("file", stores.OSFileSystem),
        ("memory", stores.MemoryFileSystem),
        ("redis", stores.RedisFileSystem),
        ("s3", stores.S3FileSystem),
        ("azure", stores.AzureFileSystem),
        ("fastdfs", stores.FastDFSFileSystem),
    ],
)
def test_a_url_says_all_that_the_constructor_takes(scheme: str, store: type) -> None:
    parameters = signature(store).parameters
    assert not [each for each in parameters.values() if each.kind is Parameter.VAR_KEYWORD], "help() shows no settings"
    taken = set(parameters)
    missing = taken - PARTS - set(NOT_SAID) - set(_SCHEMES[scheme].settings) - WITH_A_SECRET.get(scheme, set())
    assert not missing, f"{scheme} URLs cannot say {missing}"
    assert not set(_SCHEMES[scheme].settings) & set(NOT_SAID)


async def test_settings_of_an_s3_url_arrive() -> None:
    url = (
        "s3://bucket/folder?endpoint_url=http://127.0.0.1:1&region=eu-west-1&addressing=path&ca_bundle=/a.pem"
        "&locking=lease&checksum=sha1&profile=p&role_arn=arn:aws:iam::1:role/r&role_session_name=n&external_id=e"
        "&encryption=aws:kms&kms_key=k&content_type=text/plain&storage_class=GLACIER_IR&lease=5&timeout=6"
        "&part_size=6000000&parallel=2&page_size=7&attempts=3&requester_pays=true&direct=no&anonymous=false"
        "&locks=file:///tmp/locks"
    )
    async with aiofs.connect(url) as fs:
        settings = fs.driver._store.settings  # type: ignore[attr-defined]
        said: dict[str, object] = {
            "region": "eu-west-1",
            "profile": "p",
            "role_arn": "arn:aws:iam::1:role/r",
            "external_id": "e",
        }
        said |= {"encryption": "aws:kms", "kms_key": "k", "content_type": "text/plain", "storage_class": "GLACIER_IR"}
        said |= {"lease": 5.0, "timeout": 6.0, "parallel": 2, "page_size": 7, "requester_pays": True, "direct": False}
        assert {name: getattr(settings, name) for name in said} == said


async def test_locks_of_an_s3_url_are_kept_by_the_file_system_it_names(
    s3_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    url = f"s3://{s3_server.bucket}?endpoint_url={s3_server.endpoint_url}&region=us-east-1&locks={tmp_path.as_uri()}"
    async with aiofs.connect(url) as fs, fs.open("file", "w") as file:
        await file.write(b"bytes")
        assert list(tmp_path.iterdir()), "the lock is there"
        async with aiofs.connect(url) as other:
            with pytest.raises(BlockingIOError):
                await other.write_bytes("file", b"")
    with pytest.raises(ValueError, match="closed"):
        await fs.read_bytes("file")


@pytest.mark.parametrize("folder", ["./data", "data/.", "../data", "/srv/data", "~/data", ".", "..", "~", "/"])
def test_a_folder_that_can_be_nothing_else_is_local(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    if folder == "data/.":
        with pytest.raises(ValueError, match="a local folder is"):
            aiofs.connect(folder)
        return
    fs = aiofs.connect(folder)
    assert fs / "a" == aiofs.OSFileSystem(folder.replace("~", "/home/ann")) / "a"


LOCKS = "redis://localhost/2"


def addressed() -> dict[str, aiofs.FileSystem]:
    """File systems by their URLs."""
    redis, local = aiofs.RedisFileSystem, aiofs.OSFileSystem
    keeper = redis(LOCKS)
    account = "https://account.blob.core.windows.net"
    key = "a2V5"
    systems: dict[str, aiofs.FileSystem] = {
        "file:///srv/da%20ta%23": local("/srv/da ta#"),
        "file:///srv/a/b?durable=false": local("/srv", durable=False).at("a").at("b"),
        "file:///srv?locks=host": local("/srv", locks="host"),
        "file:///srv?durable=false&locks=redis%3A%2F%2Flocalhost%2F2": local("/srv", durable=False, locks=keeper),
        "redis://localhost:1/0": redis("redis://localhost:1/0"),
        "redis://ann@localhost/1?auth=environment": redis("redis://ann:hunter2@localhost/1"),
        "redis://localhost?auth=environment&lease=5&chunked=true&prefix=a%2Fb": redis(
            "redis://localhost?password=hunter2", lease=5, chunked=True, prefix="a/b"
        ),
        "unix:///run/redis.sock?db=1&timeout=2&ttl=60&replica=redis%3A%2F%2Flocalhost%3A2": redis(
            "unix:///run/redis.sock?db=1", timeout=2, ttl=60, replica="redis://localhost:2"
        ),
        "s3://bucket": aiofs.S3FileSystem("bucket", access_key="key", secret_key="hunter2"),
        "s3://bucket/a/b?endpoint_url=http%3A%2F%2Flocalhost%3A9000&region=eu&parallel=2": aiofs.S3FileSystem(
            "bucket", prefix="a/b", endpoint_url="http://localhost:9000", region="eu", parallel=2
        ),
        "s3://bucket/a?anonymous=true&locks=redis%3A%2F%2Flocalhost%2F2": aiofs.S3FileSystem(
            "bucket", anonymous=True, locks=keeper
        ).at("a"),
        f"azure://container?account_url={quote(account, safe='')}&anonymous=true": aiofs.AzureFileSystem(
            "container", account_url=account
        ),
        f"azure://container/a?account_url={quote(account, safe='')}&lease=20": aiofs.AzureFileSystem(
            "container", connection_string=f"AccountName=account;AccountKey={key}", lease=20, prefix="a"
        ),
        "fastdfs://localhost:1,localhost:2/?index=redis%3A%2F%2Flocalhost%2F2&prefix=a&retired=g1&address_map=a%3Db": (
            aiofs.FastDFSFileSystem(
                ["localhost:1", "localhost:2"], index=keeper, prefix="a", retired=["g1"], address_map={"a": "b"}
            )
        ),
    }
    return systems


@pytest.mark.parametrize("url", addressed())
def test_url_of_a_file_system(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = addressed()[url]
    monkeypatch.setenv("REDISCLI_AUTH", "hunter2")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=account;AccountKey=a2V5")
    found = fs.url_of()
    assert sorted(found.replace("?", "&").split("&")) == sorted(url.replace("?", "&").split("&"))
    assert "hunter2" not in found
    other = aiofs.connect(found)
    assert other.url_of() == found
    assert other / "a" == fs / "a"


@pytest.mark.parametrize(
    "made",
    [
        aiofs.MemoryFileSystem,
        lambda: aiofs.OSFileSystem("/srv").over(Gzip()),
        lambda: aiofs.TransactionalFileSystem(aiofs.OSFileSystem("/srv")),
        lambda: aiofs.transaction(aiofs.OSFileSystem("/srv")),
        lambda: aiofs.OSFileSystem("/srv", locks=aiofs.MemoryFileSystem()),
        lambda: aiofs.OSFileSystem("/srv", locks=aiofs.RedisFileSystem(LOCKS)).at("a"),
        lambda: aiofs.OSFileSystem("/srv").over(Prefix("a")),
        lambda: aiofs.RedisFileSystem(client=Redis()),
        lambda: aiofs.RedisFileSystem("rediss://localhost?ssl_password=hunter2"),
        lambda: aiofs.S3FileSystem("bucket", customer_key=b"hunter2!" * 4),
        lambda: aiofs.S3FileSystem("bucket").at("a"),
        lambda: aiofs.FastDFSFileSystem("localhost", index=aiofs.RedisFileSystem(LOCKS), secret="hunter2"),
        lambda: aiofs.FastDFSFileSystem("localhost", index=None),
    ],
)
def test_what_has_no_url_says_so(made: Callable[[], aiofs.FileSystem]) -> None:
    with pytest.raises(aiofs.Unsupported, match="has no URL") as caught:
        made().url_of()
    assert "hunter2" not in str(caught.value)


async def test_a_closed_file_system_has_no_url() -> None:
    fs = aiofs.OSFileSystem("/srv")
    await fs.aclose()
    with pytest.raises(ValueError, match="closed"):
        fs.url_of()
