"""A process that sleeps in the middle of a transaction, and wakes up when others have gone on without it."""

from __future__ import annotations

import asyncio

import pytest
import redis

from aiofs.errors import Unfinished
from aiofs.stores import RedisFileSystem
from aiofs.testing import Chaos
from aiofs.transactions.fsck import fsck
from aiofs.transactions.transaction import recover, transaction

pytestmark = pytest.mark.may_block  # locks are taken away by a client that blocks


async def lose_all_locks(url: str) -> None:
    """Have all locks expire, and return when their holders know."""
    with redis.Redis.from_url(url) as raw:
        raw.delete(*raw.keys(".aiofs-lock:*"))
    await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name().startswith("lease of ")])


async def test_what_others_finished_is_not_undone(valkey_url: str) -> None:
    chaos = Chaos()
    async with RedisFileSystem(valkey_url, lease=9) as sleeper, RedisFileSystem(valkey_url) as other:

        async def sleep() -> None:
            await lose_all_locks(valkey_url)
            assert (await recover(other)).finished
            await other.write_bytes("changed", b"since")

        await sleeper.write_bytes("changed", b"old")
        await sleeper.write_bytes("kept", b"old")
        with pytest.raises(Unfinished):
            async with transaction(sleeper.over(chaos)) as tx:
                await tx.write_bytes("changed", b"new")
                await tx.write_bytes("kept", b"new")
                chaos.before("commit", sleep, nth=2)  # the first is the decision
        assert await other.read_bytes("changed") == b"since"
        assert await other.read_bytes("kept") == b"new"
        await fsck(other, fix=True)
        assert await fsck(other) == []
