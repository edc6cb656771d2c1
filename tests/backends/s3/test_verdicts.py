"""What a bucket was found to promise: for itself, for as long as it is set up so, and only from clear answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.s3 import store
from aiofs.errors import Locked, Unavailable, Unsupported
from aiofs.probing import probe
from aiofs.stores import S3FileSystem
from aiofs.transactions.transaction import transaction
from backends.s3.front import Asked, refusal
from backends.s3.sessions import keep_versions, keys

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server

pytestmark = pytest.mark.usefixtures("nothing_probed")


def versions(server: S3Server, prefix: str = ".aiofs") -> list[str]:
    """The keys of all versions and delete markers of ours that the bucket keeps."""
    client = server.client()
    try:
        found = client.list_object_versions(Bucket=server.bucket, Prefix=prefix)
        return [each["Key"] for each in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]]
    finally:
        client.close()


def second_bucket(server: S3Server) -> S3Server:
    other = replace(server, bucket=f"{server.bucket[:50]}-second")
    client = server.client()
    client.create_bucket(Bucket=other.bucket)
    client.close()
    return other


class LikeCeph:
    """Ignores conditions in versioned buckets, as Ceph's RGW does."""

    def __init__(self, server: S3Server) -> None:
        self.versioned: set[str] = set()
        self._server = server

    async def __call__(self, asked: Asked) -> None:
        if asked.path.split("/")[1] in self.versioned and asked.method in {"PUT", "POST"}:
            asked.headers.pop("if-none-match", None)

    async def keep_versions(self) -> None:
        await keep_versions(self._server)
        self.versioned.add(self._server.bucket)


@pytest.mark.parametrize("mode", ["w", "x"])
async def test_no_two_writers_get_in_once_versioning_was_switched_on(
    mode: Any, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    ceph = before.meddle = LikeCeph(s3_server)
    writers = [connect(server) for _ in range(8)]
    await writers[0].write_bytes("file", b"old")
    await ceph.keep_versions()

    async def write(number: int) -> None:
        async with writers[number].open("file" if mode == "w" else "new", mode) as file:
            await file.write(b"writer %d" % number)

    outcomes = await asyncio.gather(*map(write, range(8)), return_exceptions=True)
    assert all(isinstance(outcome, Unsupported | Locked) for outcome in outcomes), outcomes
    assert any("locks=" in str(outcome) for outcome in outcomes)
    assert await writers[0].read_bytes("file") == b"old"
    assert await keys(s3_server) == []
    with pytest.raises(Unsupported, match="exclusive creations"):
        await writers[0].write_bytes("file", b"again")


async def test_a_bucket_that_is_refused_leaves_those_beside_it_alone(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    ceph = before.meddle = LikeCeph(s3_server)
    await ceph.keep_versions()
    with pytest.raises(Unsupported, match="locks="):
        await connect(server).write_bytes("file", b"bytes")
    beside = await asyncio.to_thread(second_bucket, server)
    await connect(beside).write_bytes("file", b"bytes")
    with pytest.raises(Unsupported, match="locks="):
        await connect(server).write_bytes("file", b"bytes")


async def test_a_sound_bucket_is_tried_again_when_its_versioning_is_switched_on(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    _, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"old")
    await keep_versions(s3_server)
    for number in range(3):
        await fs.write_bytes("file", b"%d" % number)
    assert [traits.versioning for traits in store._PROBED.values()] == ["all"]
    assert await asyncio.to_thread(versions, s3_server) == []


async def test_a_versioned_bucket_keeps_no_locks(connect: Connect, s3_server: S3Server) -> None:
    await keep_versions(s3_server)
    fs = connect(s3_server, lease=6.0)
    for number in range(3):
        await fs.write_bytes(f"file {number}", b"bytes")
        await fs.write_bytes(f"file {number}", b"others")
    lease = await fs.driver.lock("long")
    while (await fs.driver._objects.look("long")).note["turn"] < 2:
        assert len(await asyncio.to_thread(versions, s3_server)) <= 3
    lease.abandon()  # as if its process had died
    while (await fs.driver._objects.look("long")).live:  # noqa: ASYNC110 -- the server tells nobody
        await asyncio.sleep(0.1)
    await fs.write_bytes("long", b"taken over")
    assert await asyncio.to_thread(versions, s3_server) == []


def ignore_conditions(asked: Asked) -> None:
    asked.headers.pop("if-match", None)
    asked.headers.pop("if-none-match", None)


@pytest.mark.parametrize("where", ["service", "global", "profile", "services"])
async def test_an_endpoint_that_is_configured_is_tried_like_one_that_is_given(
    where: str, front: Fronts, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, server = await front(s3_server)

    async def ignore(asked: Asked) -> None:
        ignore_conditions(asked)

    before.meddle = ignore
    configure(monkeypatch, tmp_path, where, server.endpoint_url)
    async with S3FileSystem(server.bucket, access_key=server.access_key, secret_key=server.secret_key) as fs:
        with pytest.raises(Unsupported, match="locks="):
            await fs.open("file", "w")
    assert await keys(s3_server) == []
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    async with S3FileSystem(server.bucket, access_key="key", secret_key=server.secret_key, region="eu-west-1") as fs:
        held = await fs.driver._store.clients.current()
        assert held.endpoint is None
        assert "amazonaws.com" in held.client.meta.endpoint_url


def configure(monkeypatch: pytest.MonkeyPatch, folder: Path, where: str, url: str) -> None:
    """Say where the store is in one of the places where AWS's tools look, and in a later one that it is elsewhere."""
    config = folder / "config"
    config.write_text(
        f"[default]\nendpoint_url = {url if where == 'profile' else 'http://127.0.0.1:1'}\n"
        + (f"services = ours\n[services ours]\ns3 =\n  endpoint_url = {url}\n" if where == "services" else "")
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    if where == "service":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    if where in {"service", "global"}:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url if where == "global" else "http://127.0.0.1:1")


async def test_an_endpoint_in_the_environment_holds_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:a-secret@127.0.0.1:1")
    async with S3FileSystem("bucket", access_key="key", secret_key="secret") as fs:
        with pytest.raises(ValueError, match="AWS_ENDPOINT_URL must hold no credentials") as caught:
            await fs.read_bytes("file")
        assert "a-secret" not in str(caught.value)


@pytest.mark.parametrize("failing", ["PUT", "DELETE", "HEAD"])
async def test_a_store_that_fails_while_it_is_tried_is_asked_again(
    failing: str, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server, attempts=1)

    async def fail(asked: Asked) -> web.Response | None:
        return refusal(500, "InternalError") if asked.method == failing else None

    before.meddle = fail
    with pytest.raises(Unavailable) as caught:
        await fs.write_bytes("file", b"bytes")
    assert caught.value.filename == "file"
    assert store._PROBED == {}
    before.meddle = None
    await fs.write_bytes("file", b"bytes")
    assert await fs.read_bytes("file") == b"bytes"
    if failing == "PUT":
        assert await keys(s3_server) == []


async def test_a_store_that_fails_for_some_of_the_losers_is_served(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    """As Ceph: one wins, and of the others some are told that the store failed."""
    before, server = await front(s3_server)

    async def fail(asked: Asked, answer: web.Response) -> web.Response:
        return refusal(500, "InternalError") if asked.method == "PUT" and answer.status == 412 else answer

    before.afterwards = fail
    fs = connect(server, attempts=1)
    with pytest.raises(Unavailable):  # a stale condition, with which no race is lost
        await fs.write_bytes("file", b"bytes")

    async def fail_in_races(asked: Asked, answer: web.Response) -> web.Response:
        stale = asked.headers.get("if-match", "").strip('"') == "0" * 32
        return answer if stale else await fail(asked, answer)

    before.afterwards = fail_in_races
    await fs.write_bytes("file", b"bytes")


async def test_a_store_whose_delete_knows_no_conditions_is_served(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)

    async def refuse(asked: Asked) -> web.Response | None:
        conditional = asked.method == "DELETE" and "if-match" in asked.headers
        return refusal(501, "NotImplemented") if conditional else None

    before.meddle = refuse
    fs = connect(server)
    await fs.write_bytes("file", b"bytes")
    async with fs.open("file", "r+") as file:
        await file.write(b"B")
    assert await fs.read_bytes("file") == b"Bytes"
    assert await keys(s3_server) == []


class MayNotRemove:
    """Refuses every removal, as a bucket's policy does."""

    def __init__(self) -> None:
        self.wanted = 0

    async def __call__(self, asked: Asked) -> web.Response | None:
        if asked.method == "DELETE" or "delete" in asked.query:
            self.wanted += 1
            return refusal(403, "AccessDenied")
        return None


async def test_who_may_not_remove_can_write(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    before.meddle = MayNotRemove()
    fs, second = connect(server), connect(server)
    for writer in (fs, second, fs):
        await writer.write_bytes("file", b"bytes")
        async with writer.open("file", "a") as file:
            with pytest.raises(Locked):
                await second.open("file", "w")
            await file.write(b"!")
    await fs.write_bytes("large", bytes(9 << 20))
    assert await fs.read_bytes("file") == b"bytes!"
    for refused in (fs.rm("file"), fs.rm("file", "large"), fs.move("file", "moved")):
        with pytest.raises(PermissionError, match="s3:DeleteObject"):
            await refused
    with pytest.raises(PermissionError, match="s3:DeleteObject"):
        async with transaction(fs) as unit:
            await unit.write_bytes("one", b"1")
            await unit.write_bytes("two", b"2")
    assert await fs.ls() == ["file", "large"]
    probes = [key for key in await keys(s3_server) if "probe" in key]
    assert len(probes) == 1
    store._PROBED.clear()
    await connect(server).write_bytes("file", b"by another process")
    assert [key for key in await keys(s3_server) if "probe" in key] == probes
    # Everybody else takes the free locks, and removes them.
    store._PROBED.clear()
    free = connect(s3_server)
    await free.write_bytes("file", b"by somebody who may")
    await free.rm("file", "large")
    locks = [left async for left in free.driver.leftovers() if left.kind == "lock object"]
    assert all(left.holder is None and not left.live for left in locks)
    assert all([await free.driver.sweep(each) for each in locks])
    assert await keys(s3_server) == probes


async def test_only_one_gets_a_lock_that_was_left_free(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    before, server = await front(s3_server)
    before.meddle = MayNotRemove()
    writers = [connect(server) for _ in range(6)]
    await writers[0].write_bytes("file", b"0")

    async def count(fs: S3FileSystem) -> bool:
        try:
            async with fs.open("file", "r+") as file:
                number = int(await file.read())
                await file.seek(0)
                await file.write(b"%d" % (number + 1))
        except BlockingIOError:
            return False
        return True

    done = 0
    for _ in range(5):
        done += sum(await asyncio.gather(*map(count, writers)))
    assert done > 0
    assert int(await writers[0].read_bytes("file")) == done


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_probe_by_the_user_leaves_no_version(connect: Connect, s3_server: S3Server, keeps: bool) -> None:
    if keeps:
        await keep_versions(s3_server)
    fs = connect(s3_server, prefix="in")
    report = await probe(fs)
    assert (report.locks, report.conditional, report.ordered) == ("shared", True, True)
    assert report.keeps_versions is keeps
    assert await keys(s3_server, "") == []
    assert await asyncio.to_thread(versions, s3_server, "") == []


async def test_a_probe_says_why_there_are_no_locks(connect: Connect, s3_server: S3Server, front: Fronts) -> None:
    """Conditions that are ignored make locks impossible, and the report says what to set."""
    meddling, server = await front(s3_server)

    async def ignore(asked: Asked) -> None:
        asked.headers.pop("if-match", None)

    meddling.meddle = ignore
    report = await probe(connect(server))
    assert (report.writes, report.locks) == (False, None)
    assert "give locks=, another file system" in report.advice[0]
    assert await keys(s3_server, "") == []
