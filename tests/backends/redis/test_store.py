"""What is Redis's own: keys, large values, times to live, ways to connect, what is sent and what is kept."""

from __future__ import annotations

import asyncio
import inspect
import re
import tracemalloc
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from aiofs import urls
from aiofs.backends.redis import driver as driver_module
from aiofs.backends.redis.driver import RedisDriver
from aiofs.errors import AccessDenied, AlreadyExists, NoSpace, TooLarge
from aiofs.filesystem import FileSystem
from aiofs.powers import Notes
from aiofs.stores import RedisFileSystem
from aiofs.transactions.fsck import fsck
from servers.process import HOST
from servers.valkey import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from servers.proxy import FaultProxy

MIB = 1 << 20
LARGE = bytes(range(256)) * 4 * 3000  # about 3 MiB: does not come whole


@pytest.fixture
async def fs(valkey_url: str) -> AsyncIterator[RedisFileSystem]:
    async with RedisFileSystem(valkey_url) as system:
        yield system


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


async def test_a_file_is_the_key_that_its_path_spells(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("dir/path/file.bin", b"bytes")
    await fs.write_bytes("odd:name/100%", b"odd")
    assert raw.get("dir:path:file.bin") == b"bytes"
    assert raw.get("odd%3Aname:100%") == b"odd"
    assert len(raw.keys("*")) == 2


async def test_keys_of_other_programs_are_files(fs: RedisFileSystem, raw: redis.Redis) -> None:
    foreign = ["plain", "users::42", "a/b", "%3A", "%25", ".", ":", "tail:", "nul\0l", "{tag}:x", "b}a{d", ""]
    for number, key in enumerate(foreign):
        raw.set(key, f"value {number}")
    raw.set(b"\xff not text", b"x")
    names = await fs.ls()
    assert len(names) == len(foreign)
    for name in names:
        data = await fs.read_bytes(name)
        await fs.write_bytes(name, data + b"!")
    assert [raw.get(key) for key in foreign] == [b"value %d!" % number for number in range(len(foreign))]


async def test_what_is_not_a_value_is_no_file_and_is_left_alone(fs: RedisFileSystem, raw: redis.Redis) -> None:
    raw.rpush("list", "a")
    raw.hset("hash", "field", "a")
    assert await fs.ls() == []
    assert not await fs.exists("list")
    for name in ("list", "hash"):
        with pytest.raises(FileNotFoundError):
            await fs.read_bytes(name)
        with pytest.raises(AlreadyExists, match="not a file"):
            await fs.write_bytes(name, b"x")
        with pytest.raises(FileNotFoundError):
            await fs.rm(name)
    assert raw.lrange("list", 0, -1) == [b"a"]


async def test_stat_transfers_no_value(
    raw: redis.Redis, valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]]
) -> None:
    raw.set("large", LARGE)
    proxy = await fault_proxy(_port(valkey_url))
    async with RedisFileSystem(proxy.before(valkey_url)) as fs:
        entry = await fs.stat("large")
        before = proxy.to_client.passed
        assert await fs.stat("large") == entry
        assert entry.size == len(LARGE)
        assert proxy.to_client.passed - before < 200
        raw.setrange("large", 7, b"changed by another program")
        assert (await fs.stat("large")).version != entry.version


async def test_a_small_file_is_read_with_one_command(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("small", b"x" * 1000)
    await fs.read_bytes("small")
    before = raw.info("stats")["total_commands_processed"]
    assert await fs.read_bytes("small") == b"x" * 1000
    assert raw.info("stats")["total_commands_processed"] - before == 2  # with the one that asks


async def test_a_range_of_a_large_value_is_all_that_is_sent(
    raw: redis.Redis, valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]]
) -> None:
    raw.set("large", LARGE)
    proxy = await fault_proxy(_port(valkey_url))
    async with RedisFileSystem(proxy.before(valkey_url)) as fs:
        assert await fs.read_bytes("large", 1000, 1100) == LARGE[1000:1100]
        before = proxy.to_client.passed
        assert await fs.read_bytes("large", 2 * MIB, 2 * MIB + 100) == LARGE[2 * MIB : 2 * MIB + 100]
        assert proxy.to_client.passed - before < 1000


async def test_too_large_is_said_before_anything_is_sent(
    valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert driver_module.LARGEST_VALUE == 512 * MIB
    monkeypatch.setattr(driver_module, "LARGEST_VALUE", 3 * MIB)
    proxy = await fault_proxy(_port(valkey_url))
    async with RedisFileSystem(proxy.before(valkey_url)) as fs:
        async with fs.open("file", "w") as file:
            await file.write(bytes(3 * MIB))
        assert (await fs.stat("file")).size == 3 * MIB
        file = await fs.open("file", "w")
        await file.write(bytes(3 * MIB))
        before = proxy.to_server.passed
        with pytest.raises(TooLarge, match="chunked=True"):
            await file.write(bytes(MIB))
        assert proxy.to_server.passed == before
        await file.abort()


async def test_ttl(valkey_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_url, ttl=100) as fs:
        await fs.write_bytes("small", b"x")
        await fs.write_bytes("large", LARGE)
        await fs.copy("small", "copy")
        assert all(90 < raw.ttl(key) <= 100 for key in ("small", "large", "copy"))
    async with RedisFileSystem(valkey_url) as fs:
        await fs.write_bytes("small", b"y")
        assert raw.ttl("small") == -1


async def test_over_a_unix_socket(valkey_socket_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_socket_url) as fs:
        await fs.write_bytes("file", b"x")
    assert raw.get("file") == b"x"


async def test_over_tls(valkey_tls_url: str, raw: redis.Redis) -> None:
    async with RedisFileSystem(valkey_tls_url) as fs:
        await fs.write_bytes("file", b"x")
        assert await fs.read_bytes("file") == b"x"
    assert raw.get("file") == b"x"


async def test_tls_is_never_plain(valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]]) -> None:
    proxy = await fault_proxy(_port(valkey_url))
    async with RedisFileSystem(proxy.before(valkey_url).replace("redis:", "rediss:"), timeout=1) as fs:
        with pytest.raises(OSError, match="Redis"):
            await fs.write_bytes("file", b"in the clear")
    assert proxy.connections


async def test_a_lent_client_is_never_closed(valkey_url: str) -> None:
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        async with RedisFileSystem(client=client) as fs:
            await fs.write_bytes("file", b"x")
        assert await client.get("file") == b"x"


async def test_what_cannot_work_is_refused_at_once(valkey_url: str) -> None:
    async with redis.asyncio.Redis.from_url(valkey_url, decode_responses=True) as client:
        with pytest.raises(ValueError, match="decode_responses"):
            RedisFileSystem(client=client)
    with pytest.raises(ValueError, match="decode_responses"):
        RedisFileSystem(f"{valkey_url}?decode_responses=true")
    with pytest.raises(ValueError, match="frobnicate"):
        RedisFileSystem(f"{valkey_url}?frobnicate=1")
    with pytest.raises(ValueError, match="scheme"):
        RedisFileSystem("http://127.0.0.1/")
    with pytest.raises(ValueError, match="URL"):
        RedisFileSystem()


async def test_errors_of_the_server(valkey_users: dict[str, str], raw: redis.Redis) -> None:
    raw.set("file", b"x")
    async with RedisFileSystem(valkey_users["reader"]) as fs:
        assert await fs.read_bytes("file") == b"x"
        with pytest.raises(AccessDenied) as denied:
            await fs.write_bytes("file", b"y")
        assert SECRET not in repr(fs) + str(denied.value) + repr(denied.value)
        assert denied.value.filename == "file"
        assert isinstance(denied.value.__cause__, redis.RedisError)
    async with RedisFileSystem(valkey_users["full"]) as fs:
        raw.config_set("maxmemory", 1)
        try:
            with pytest.raises(NoSpace):
                await fs.write_bytes("file", b"y")
        finally:
            raw.config_set("maxmemory", 0)
        await fs.write_bytes("file", b"z")
    assert raw.get("file") == b"z"


IN_6_2 = "Error running script (call to f_1f8f): @user_script:9: @user_script: 9: "
NO_COMMAND = "The user executing the script can't run this command or subcommand"
NO_KEY = "The user executing the script can't access at least one of the keys mentioned in the command arguments"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f"{NO_COMMAND} script: 1f8f, on @user_script:1.", AccessDenied),
        (f"{NO_KEY} script: 1f8f, on @user_script:1.", AccessDenied),
        (f"{IN_6_2}{NO_COMMAND}", AccessDenied),
        (f"{IN_6_2}-OOM command not allowed when used memory > 'maxmemory'.", NoSpace),
    ],
    ids=["7.0 command", "7.0 key", "6.2 command", "6.2 full"],
)
async def test_errors_in_the_words_of_older_servers(words: str, kind: type[OSError], valkey_url: str) -> None:
    class Older(redis.asyncio.Redis):
        async def execute_command(self, *args: object, **options: object) -> object:
            if args[0] == "EVALSHA":
                raise redis.ResponseError(words)
            return await super().execute_command(*args, **options)

    async with Older.from_url(valkey_url) as client, RedisFileSystem(client=client) as fs:
        with pytest.raises(kind, match=r"Redis: (The user|OOM)") as caught:
            await fs.write_bytes("file", b"x")
        assert caught.value.filename == "file"
        assert isinstance(caught.value.__cause__, redis.ResponseError)


async def test_a_server_that_forgot_the_scripts_is_told_again(fs: RedisFileSystem, raw: redis.Redis) -> None:
    await fs.write_bytes("file", b"x")
    raw.script_flush()
    await fs.write_bytes("file", b"y")
    assert raw.get("file") == b"y"


async def test_the_lock_says_who_and_since_when(fs: RedisFileSystem) -> None:
    async with fs.open("file", "w"):
        with pytest.raises(BlockingIOError, match=r"by .+:\d+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"):
            await fs.write_bytes("file", b"x")


async def test_ten_thousand_keys_are_listed_in_flat_memory(valkey_url: str, raw: redis.Redis) -> None:
    names = [f"folder/{number:05}" for number in range(10_000)]
    raw.mset({name.replace("/", ":"): b"x" for name in names})
    async with FileSystem(RedisDriver(valkey_url, page=500)) as fs:
        assert await fs.ls("folder") == names
        tracemalloc.start()
        try:
            listed = 0
            async for _ in fs.ls():
                listed += 1
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert listed == len(names)
    assert peak < 1 * MIB


async def test_a_range_of_the_listing_asks_for_what_begins_so(fs: RedisFileSystem, raw: redis.Redis) -> None:
    for key in ("a*b:1", "a*b:2", "axb:1", "a[1]:x", "a1:x", "q%3A%253A:z"):
        raw.set(key, b"")
    assert await fs.ls("a*b") == ["a*b/1", "a*b/2"]
    assert await fs.ls("a[1]") == ["a[1]/x"]
    assert await fs.ls("q:%3A") == ["q:%3A/z"]
    assert await fs.ls(prefix="q:%3") == ["q:%3A/z"]
    assert await fs.ls(recursive=False) == ["a*b/", "a1/", "a[1]/", "axb/", "q:%3A/"]


async def test_r_plus_and_append_send_only_what_changes(
    raw: redis.Redis, valkey_url: str, fault_proxy: Callable[[int], Awaitable[FaultProxy]]
) -> None:
    raw.set("large", LARGE)
    proxy = await fault_proxy(_port(valkey_url))
    async with RedisFileSystem(proxy.before(valkey_url)) as fs:
        async with fs.open("large", "a") as file:
            await file.write(b"tail")
        assert proxy.to_server.passed < 2 * MIB
        assert raw.get("large") == LARGE + b"tail"
        assert proxy.to_client.passed < 2 * MIB


async def test_notes(fs: RedisFileSystem, raw: redis.Redis) -> None:
    notes = fs.driver.offers(Notes)
    assert notes is not None
    await notes.note(".aiofs/note", b"line")
    with pytest.raises(AlreadyExists):
        await notes.note(".aiofs/note", b"another")
    assert raw.get(".aiofs:note") == b"line"
    await notes.erase([".aiofs/note", ".aiofs/never"])
    assert raw.keys("*") == []


def _port(url: str) -> int:
    found = re.search(rf"{re.escape(HOST)}:(\d+)", url)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("most", [None, 5])
async def test_thousands_at_once_wait_for_their_turn(most: int | None, valkey_url: str) -> None:
    """More requests than there can be connections; none is refused, and no lock is left."""
    url = valkey_url + (f"?max_connections={most}" if most else "")
    async with RedisFileSystem(url) as system:
        names = [f"{number:04}" for number in range(1000)]
        await asyncio.gather(*(system.write_bytes(name, name.encode()) for name in names))
        assert await asyncio.gather(*map(system.read_bytes, names)) == [name.encode() for name in names]
        await system.rm(*names)
        assert await fsck(system) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lease": 0}, "lease must be greater than 0, not 0"),
        ({"timeout": -1}, "timeout must be greater than 0, not -1"),
        ({"ttl": 0}, "ttl must be greater than 0, not 0"),
        ({"chunk_size": 0}, "chunk_size must be greater than 0, not 0"),
        ({"ttl": inf}, "ttl must be a finite number of seconds"),
        ({"lease": inf}, "lease must be a finite number of seconds"),
        ({"chunk_size": 1.5}, r"chunk_size must be a whole number, not 1\.5"),
        ({"chunk_size": 1 << 30, "chunked": True}, "chunk_size must be at most 536870912, .* not 1073741824"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisFileSystem("redis://localhost", **settings)


@pytest.mark.parametrize(
    ("url", "client", "error", "words"),
    [
        (None, redis.Redis(), TypeError, "of redis.asyncio, not"),
        (None, object(), TypeError, "of redis.asyncio, not"),
        ("redis://localhost", redis.asyncio.Redis(), ValueError, "not both"),
    ],
)
def test_clients_that_cannot_be_lent(url: str | None, client: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        RedisFileSystem(url, client=client)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://localhost/0?protocol=9", "protocol"),
        ("rediss://localhost/0?ssl_cert_reqs=perhaps", "perhaps"),
        ("unix://run/redis.sock", "unix:// names a host, 'run'"),
    ],
)
def test_urls_that_redis_py_does_not_take(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RedisFileSystem(url)


@pytest.mark.parametrize(
    "url", ["redis://localhost/folder", "redis://localhost/1/2", "rediss://localhost/-1", "unix://"]
)
def test_urls_that_name_no_database(url: str) -> None:
    """The client would take them for database 0, or for 12."""
    with pytest.raises(ValueError, match=r"no number of a database|no socket"):
        RedisFileSystem(url)


def test_connect_takes_what_urls_of_redis_py_take() -> None:
    """But for `timeout`, which is aiofs's own, and what no URL can say: objects, and where the server is."""
    known = set(redis.asyncio.connection.URL_QUERY_ARGUMENT_PARSERS) - {"timeout"}
    for kind in redis.asyncio.SSLConnection.__mro__[:-1]:
        for parameter in inspect.signature(kind).parameters.values():  # those of which a default says that text will do
            if isinstance(parameter.default, str | int) and parameter.name not in {"host", "port"}:
                known.add(parameter.name)
    assert known <= set(urls._REDIS_SETTINGS)


async def test_parameters_of_redis_py_reach_it(valkey_url: str, raw: redis.Redis) -> None:
    query = (
        "client_name=archive&max_connections=3&health_check_interval=9&socket_timeout=20&socket_keepalive=yes&timeout=9"
    )
    async with urls.connect(f"{valkey_url}?{query}") as fs:
        await fs.write_bytes("file", b"x")
        assert "archive" in {client["name"] for client in raw.client_list()}


async def test_fsck_names_a_key_of_another_type_that_is_in_a_locks_place(valkey_url: str, raw: redis.Redis) -> None:
    raw.hset(".aiofs-lock:{folder:file}", "one", "1")
    async with RedisFileSystem(valkey_url) as fs:
        (finding,) = await fsck(fs, fix=True)
        assert (finding.path, finding.kind, finding.fixed) == ("folder/file", "lock", False)
        assert "'.aiofs-lock:{folder:file}' is not a lock" in finding.why
    assert raw.delete(".aiofs-lock:{folder:file}")


async def test_a_prefix_is_a_folder_of_the_store(fs: RedisFileSystem, raw: redis.Redis, valkey_url: str) -> None:
    async with RedisFileSystem(valkey_url, prefix="tenant/a") as inside:
        await inside.write_bytes("sub/file", b"bytes")
        assert await inside.ls() == ["sub/file"]
    assert raw.get("tenant:a:sub:file") == b"bytes"
    assert await fs.ls() == ["tenant/a/sub/file"]
    with pytest.raises(ValueError, match="segment"):
        RedisFileSystem(valkey_url, prefix="a/../b")
