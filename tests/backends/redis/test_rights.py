"""Commands that a user of an access list may not run: only calls that need them are refused, and name them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import redis

import aiofs
from aiofs.errors import AccessDenied, Locked
from aiofs.stores import RedisFileSystem
from servers.process import HOST
from servers.valkey import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.valkey import Valkey

pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@contextmanager
def user(valkey: Valkey, *rules: str) -> Iterator[str]:
    """Make a user with all rights but for these rules, and give the URL of the user."""
    with redis.Redis.from_url(valkey.url) as raw:
        raw.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{SECRET}", "~*", "+@all", *rules)
        try:
            yield f"redis://limited:{SECRET}@{HOST}:{valkey.port}/0"
        finally:
            raw.execute_command("ACL", "DELUSER", "limited")


async def test_a_user_who_may_not_remove_a_lock_releases_it(own_valkey: Valkey) -> None:
    with user(own_valkey.emptied(), "-del", "-unlink") as url:
        async with RedisFileSystem(url) as fs, RedisFileSystem(own_valkey.url) as other:
            for system in (fs, other, fs, fs):
                await system.write_bytes("file", b"bytes")
            for mode in ("a", "r+"):
                async with fs.open("file", mode) as file:
                    await file.write(b"more!")
                    with pytest.raises(Locked, match="this file is being written"):
                        await other.write_bytes("file", b"")
            await fs.copy("file", "copy")
            await fs.move("copy", "moved")
            assert await fs.read_bytes("moved") == b"more!more!"
        async with RedisFileSystem(url, chunked=True, chunk_size=10) as parts:
            for data in (b"x" * 25, b"y" * 15, b"z"):
                await parts.write_bytes("file", data)
            assert await parts.read_bytes("file") == b"z"


async def test_what_must_remove_is_refused_and_names_the_command(own_valkey: Valkey) -> None:
    with user(own_valkey.emptied(), "-del", "-unlink") as url:
        async with RedisFileSystem(url) as fs:
            await fs.write_bytes("file", b"bytes")
            with pytest.raises(AccessDenied, match=r"(?i)unlink") as caught:
                await fs.rm("file")
            assert "correct-horse" not in str(caught.value)
            with pytest.raises(AccessDenied, match="a transaction, which removes its journal at the end, needs"):
                async with aiofs.transaction(fs) as tx:
                    await tx.write_bytes("file", b"new")
                    await tx.write_bytes("other", b"new")
            assert await fs.ls() == ["file"]
            assert await fs.read_bytes("file") == b"bytes"


@pytest.mark.parametrize(
    ("rule", "named"), [("-evalsha", "evalsha"), ("-@scripting", "evalsha"), ("-set", "set"), ("-append", "append")]
)
async def test_what_writing_needs_is_named(own_valkey: Valkey, rule: str, named: str) -> None:
    async with RedisFileSystem(own_valkey.emptied().url) as all_rights:
        await all_rights.write_bytes("file", b"old")  # has the scripts known, too
        with user(own_valkey, rule) as url:
            async with RedisFileSystem(url) as fs:
                with pytest.raises(AccessDenied, match=f"(?i){named}") as caught:
                    await fs.write_bytes("file", b"new")
                assert caught.value.filename == "file"
                assert await fs.read_bytes("file") == b"old"
