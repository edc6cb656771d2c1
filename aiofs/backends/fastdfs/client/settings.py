"""The settings of a client, its `client.conf`, and the URLs of files."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from aiofs import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aiofs.backends.fastdfs.client.ids import FileId

_INCLUDE = "#include"
_DEEPEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits in seconds, and the largest number of connections to a server."""

    connect_timeout: float = 5.0
    network_timeout: float = 30.0
    """Without sending or receiving a byte of a request or an answer."""
    pool_timeout: float = 60.0
    """For waiting until one of a server's connections is free."""
    connections: int = 16
    idle_check: float = 60.0
    """A connection that was idle for longer is tested before it is used again."""

    def __post_init__(self) -> None:
        """Check the values.

        :raises ValueError: if one is not possible.
        """
        for name in ("connect_timeout", "network_timeout", "pool_timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be greater than 0, not {value!r}")
        if not isinstance(self.connections, int) or self.connections < 1:
            raise ValueError(f"connections must be a whole number from 1 on, not {self.connections!r}")


class LimitOptions(TypedDict, total=False):
    """The fields of `Limits` that are settings of a client."""

    connect_timeout: float
    network_timeout: float
    pool_timeout: float
    connections: int


class ClientOptions(LimitOptions, total=False):
    """All settings of a client, except its trackers."""

    address_map: Mapping[str, str]
    retired: Iterable[str]
    log_delay: float
    base_url: str
    secret: str
    token_ttl: float


def read_conf(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the settings of `FastDFSClient` in a `client.conf` and the files that it includes.

    :raises OSError: if a file cannot be read.
    :raises ValueError: if it names no tracker, or a value cannot be read.
    """
    trackers: list[str] = []
    settings: dict[str, Any] = {}
    for where, name, value in _settings(os.fspath(path), _DEEPEST):
        try:
            if name == "tracker_server":
                trackers += _addresses(value)
            elif name in _READERS and value:
                setting, read = _READERS[name]
                settings[setting] = read(value)
        except ValueError as error:
            raise ValueError(f"{where}: {name} = {value!r} cannot be read: {error}") from error
    if not trackers:
        raise ValueError(f"{os.fspath(path)} names no tracker: it needs a line such as tracker_server = host:22122")
    return {"trackers": trackers, **settings}


def _settings(path: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Yield the file and line of each setting, its name and its value."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(None, 1)
        if words and words[0] == _INCLUDE and len(words) > 1:
            if not depth:
                raise ValueError(f"{path}:{number}: files include each other more than {_DEEPEST} deep")
            yield from _settings(os.path.join(os.path.dirname(path), words[1].strip()), depth - 1)
        elif not line.lstrip().startswith(("#", "[")):
            name, equals, value = line.partition("=")
            if equals:
                yield f"{path}:{number}", name.strip(), value.strip()


def _addresses(value: str) -> list[str]:
    """Return the addresses of one tracker: several that share a port are separated by commas."""
    hosts = [host.strip() for host in value.split(",")]
    _, colon, port = hosts[-1].rpartition(":")
    if not colon or not port.isdecimal():
        return hosts
    return [host if host == hosts[-1] or ":" in host else f"{host}:{port}" for host in hosts]


def _seconds(value: str) -> float:
    return float(value.removesuffix("s"))


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "connect_timeout": ("connect_timeout", _seconds),
    "network_timeout": ("network_timeout", _seconds),
    "http.anti_steal.secret_key": ("secret", str),
    "http.anti_steal.token_ttl": ("token_ttl", _seconds),
}


@dataclass(frozen=True, slots=True)
class Links:
    """Makes URLs of files behind the web servers of a cluster, with tokens that are valid for some time."""

    base_url: str | None
    secret: str | None = field(repr=False)
    token_ttl: float

    def url(self, file: FileId, secret: str | None, ttl: float | None) -> str:
        """Return the URL of a file, with a token if there is a secret.

        :raises ValueError: if `ttl` is given without a secret, or the id does not tell the address of the web server.
        """
        base = self.base_url
        if base is None:
            if not isinstance(file.source, str):
                raise ValueError(f"{file} does not tell the address of its web server: give the client base_url=")
            base = f"http://{file.source}"
        address = f"{base.rstrip('/')}/{file}"
        secret = self.secret if secret is None else secret
        if secret is None:
            if ttl is not None:
                raise ValueError("ttl= needs the secret of the web servers: give secret=")
            return address
        now = clock.now().timestamp()
        stamp = int(now if ttl is None else now + ttl - self.token_ttl)
        token = hashlib.md5(f"{file.name}{secret}{stamp}".encode(), usedforsecurity=False).hexdigest()
        return f"{address}?token={token}&ts={stamp}"
