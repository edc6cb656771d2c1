"""Valkey as a primary with a replica, and a sentinel that watches them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest
import redis

from servers.process import HOST, running, wait_until
from servers.valkey import binary, command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SERVICE = "files"


@dataclass(frozen=True)
class Pair:
    """A primary and its replica, both with nothing in them."""

    primary: int
    replica: int

    @property
    def url(self) -> str:
        """The primary's only database."""
        return f"redis://{HOST}:{self.primary}/0"

    @property
    def replica_url(self) -> str:
        """The same on the replica."""
        return f"redis://{HOST}:{self.replica}/0"

    def caught_up(self) -> None:
        """Return when the replica has all that the primary has."""
        with redis.Redis(HOST, self.primary) as client:
            wait_until(lambda: bool(client.execute_command("WAIT", 1, 1000)), "valkey's replica")

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Let the replica keep what it has, whatever is written to the primary."""
        with redis.Redis(HOST, self.replica) as client:
            client.replicaof("NO", "ONE")
            try:
                yield
            finally:
                client.replicaof(HOST, self.primary)
                _linked(client)


@pytest.fixture(scope="session")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with _started(tmp_path_factory.mktemp("valkey-pair")) as pair:
        yield pair


@pytest.fixture
def valkey_pair(_pair: Pair) -> Pair:
    """A primary and a replica of the run's own."""
    with redis.Redis(HOST, _pair.primary) as client:
        client.flushall()
    _pair.caught_up()
    return _pair


@dataclass(frozen=True)
class Watched:
    """A pair that a sentinel watches."""

    pair: Pair
    sentinel: int


@pytest.fixture
def valkey_watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A pair of its own, as it is not what it was after a failover, and a sentinel."""
    folder = tmp_path_factory.mktemp("valkey-watched")
    with _started(folder) as pair, running("sentinel", partial(_sentinel, folder, pair), folder) as port:
        with redis.Redis(HOST, port) as client:
            wait_until(
                lambda: [replica["master-link-status"] for replica in client.sentinel_slaves(SERVICE)] == ["ok"],
                "valkey's sentinel",
            )
        yield Watched(pair, port)


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[Pair]:
    options = ("--repl-diskless-sync-delay", "0")
    with running("primary", lambda port: command(port, folder, *options), folder) as primary:
        follow = ("--replicaof", f"{HOST} {primary}")
        with running("replica", lambda port: command(port, folder, *options, *follow), folder) as replica:
            with redis.Redis(HOST, replica) as client:
                _linked(client)
            yield Pair(primary, replica)


def _linked(client: redis.Redis) -> None:
    wait_until(lambda: client.info("replication")["master_link_status"] == "up", "valkey's replica")


def _sentinel(folder: Path, pair: Pair, port: int) -> Sequence[str]:
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"bind {HOST}\nport {port}\ndir {folder}\n"
        f"sentinel monitor {SERVICE} {HOST} {pair.primary} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} 1000\n"
        f"sentinel failover-timeout {SERVICE} 2000\n"
    )
    return (binary(), str(settings), "--sentinel")
