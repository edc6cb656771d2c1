"""Sessions of a driver: versions as conditions, prepared writes, and what killed writers leave."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.driver import ABSENT
from aiofs.powers import Sweeps
from aiofs.testing.harness import PATIENCE, needs

if TYPE_CHECKING:
    from aiofs.driver import WriteSession
    from aiofs.testing.harness import Harness


@needs("writable", "conditional")
class Conditions:
    """Requests for one version of a file."""

    async def test_121_read_of_a_version(self, store: Harness) -> None:
        """Reading a version that is gone raises BlockingIOError, and does not read another one."""
        driver = store.driver
        await store.put("file", b"one")
        stale = (await driver.stat("file")).version
        assert b"one".startswith(await _first_bytes(store, "file", stale))
        await store.put("file", b"the second")
        with pytest.raises(BlockingIOError):
            await _first_bytes(store, "file", stale)
        await store.fs.rm("file")
        with pytest.raises((BlockingIOError, FileNotFoundError)):
            await _first_bytes(store, "file", stale)

    async def test_122_delete_of_a_version(self, store: Harness) -> None:
        """Removing a version that is gone raises BlockingIOError, and removes nothing."""
        driver = store.driver
        await store.put("file", b"one")
        stale = (await driver.stat("file")).version
        await store.put("file", b"the second")
        with pytest.raises(BlockingIOError):
            await driver.delete(["file"], match=stale)
        assert await store.get("file") == b"the second"
        await driver.delete(["file"], match=(await driver.stat("file")).version)
        assert await store.names() == []

    async def test_123_commit_over_a_removal(self, store: Harness) -> None:
        """A session for a version is not published if the file was removed meanwhile, or did not exist."""
        for match in ("no-such-version", ABSENT):
            lease = await store.driver.lock("file")
            try:
                if match == ABSENT:
                    session = await store.driver.begin("file", lease, match=match)
                    await session.write(b"new")
                    assert (await session.commit()).version == (await store.driver.stat("file")).version
                    continue
                with pytest.raises(BlockingIOError):
                    await _published(await store.driver.begin("file", lease, match=match), b"new")
                assert await store.get("file") is None
            finally:
                await lease.release()
        assert await store.get("file") == b"new"


@needs("writable", "resume")
class Prepared:
    """A prepared write can be finished with its token."""

    async def test_124_prepared_then_committed(self, store: Harness) -> None:
        """Another process can publish what a killed process prepared; to do it again changes nothing."""
        await store.put("file", b"old")
        token = await _prepared(store, "file", b"new " * 1000)
        assert await store.get("file") == b"old"
        assert await store.names() == ["file"]
        session = await _resumed(store, token)
        await session.commit()
        await session.abort()
        assert await store.get("file") == b"new " * 1000
        for publish in (True, False):
            again = await _resumed(store, token)
            if publish:
                await again.commit()
            await again.abort()
            assert await store.get("file") == b"new " * 1000
        await store.write_at_once("file")
        assert await store.leftovers() == []

    async def test_125_prepared_then_aborted(self, store: Harness) -> None:
        """Another process can abort it, which leaves nothing; to do it again changes nothing."""
        await store.put("file", b"old")
        tokens = [await _prepared(store, path, b"n" * (store.part_size + 1)) for path in ("file", "folder/new")]
        for token in tokens:
            for _ in range(2):
                session = await _resumed(store, token)
                await session.abort()
                await session.abort()
        assert await store.get("file") == b"old"
        assert await store.names() == ["file"]
        assert await store.leftovers() == []
        await store.write_at_once("file")

    async def test_126_prepared_by_the_living(self, store: Harness) -> None:
        """While the process that prepared it lives, no other process can finish it or write the file."""
        await store.put("file", b"old")
        lease = await store.driver.lock("file")
        session = await store.driver.begin("file", lease)
        await session.write(b"new")
        token = _as_json(await session.prepare())
        with pytest.raises(BlockingIOError):
            await store.fresh().driver.resume(token)
        with pytest.raises(BlockingIOError):
            await store.fresh().open("file", "w")
        await session.commit()
        await lease.release()
        assert await store.get("file") == b"new"
        await store.write_at_once("file")


@needs("writable")
class Leftovers:
    """What unfinished writers leave can be listed and removed."""

    async def test_127_living_writers_are_not_swept(self, store: Harness) -> None:
        """Sweeping removes nothing that belongs to a living writer."""
        async with store.fs.open("folder/file", "w") as file:
            await file.write(b"n" * (store.part_size + 1))
            there = sorted(await store.leftovers())
            await store.sweep()
            assert sorted(await store.leftovers()) == there
            await file.write(b"the end")
        assert await store.get("folder/file") == b"n" * (store.part_size + 1) + b"the end"
        assert await store.leftovers() == []

    @needs("resume")
    async def test_128_dead_writers_are_swept(self, store: Harness) -> None:
        """What a killed writer prepared is listed and can be swept; the old bytes stay."""
        for path in ("file", "other"):
            await store.put(path, b"old")
        taken_back, token = [await _prepared(store, path, b"new") for path in ("other", "file")]
        await (await _resumed(store, taken_back)).abort()
        deadline = time.monotonic() + store.lease + PATIENCE
        while await store.leftovers() and time.monotonic() < deadline:
            await store.sweep()
            await store.pause()
        assert await store.get("file") == b"old"
        if store.driver.offers(Sweeps) is not None:
            assert await store.leftovers() == []
            await store.write_at_once("file")
        await (await _resumed(store, token)).abort()


async def _first_bytes(store: Harness, path: str, match: str | None) -> bytes:
    stream = await store.driver.read(path, match=match)
    try:
        return await stream.chunk(100)
    finally:
        await stream.aclose()


async def _published(session: WriteSession, data: bytes) -> None:
    try:
        await session.write(data)
        await session.commit()
    finally:
        await session.abort()


async def _prepared(store: Harness, path: str, data: bytes) -> dict[str, Any]:
    """Prepare a write as a process does that is killed then, and return its token."""
    driver = store.fresh().driver
    lease = await driver.lock(path)
    session = await driver.begin(path, lease)
    for start in range(0, len(data), driver.part_size):
        await session.write(data[start : start + driver.part_size])
    token = await session.prepare()
    await asyncio.to_thread(session.abandon)
    await asyncio.to_thread(lease.abandon)
    return _as_json(token)


async def _resumed(store: Harness, token: dict[str, Any]) -> WriteSession:
    """Take over a prepared write as soon as the lock of the process that prepared it is free."""
    deadline = time.monotonic() + store.lease + PATIENCE
    while True:
        try:
            return await store.fresh().driver.resume(token)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            await store.pause()


def _as_json(token: dict[str, Any]) -> dict[str, Any]:
    again: dict[str, Any] = json.loads(json.dumps(token))
    return again
