"""The settings of a client, and its URLs of files."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aiofs.backends.fastdfs.client.ids import FileId

_INCLUDE = "#include"
_DEEPEST = 10


def read_conf(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a `client.conf`, and the files that it includes, say to `FastDFSClient`; the rest is for others.

    :raises OSError: if a file cannot be read.
    :raises ValueError: if it names no tracker, or a value cannot be meant.
    """
    trackers: list[str] = []
    settings: dict[str, Any] = {}
    for where, name, value in _lines(os.fspath(path), _DEEPEST):
        try:
            if name == "tracker_server":
                trackers += _addresses(value)
            elif name in _SETTINGS and value:
                setting, read = _SETTINGS[name]
                settings[setting] = read(value)
        except ValueError as error:
            raise ValueError(f"{where}: {name} = {value!r} cannot be read: {error}") from error
    if not trackers:
        raise ValueError(f"{os.fspath(path)} names no tracker: it needs a line such as tracker_server = host:22122")
    return {"trackers": trackers, **settings}


def _lines(path: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Yield where each setting stands, its name and its value."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(None, 1)
        if words and words[0] == _INCLUDE and len(words) > 1:
            if not depth:
                raise ValueError(f"{path}:{number}: files include each other more than {_DEEPEST} deep")
            yield from _lines(os.path.join(os.path.dirname(path), words[1].strip()), depth - 1)
        elif not line.lstrip().startswith(("#", "[")):
            name, equals, value = line.partition("=")
            if equals:
                yield f"{path}:{number}", name.strip(), value.strip()


def _addresses(value: str) -> list[str]:
    """Return the addresses of one tracker: a few that share a port are divided by commas."""
    hosts = [host.strip() for host in value.split(",")]
    _, colon, port = hosts[-1].rpartition(":")
    if not colon or not port.isdecimal():
        return hosts
    return [host if host == hosts[-1] or ":" in host else f"{host}:{port}" for host in hosts]


def _seconds(value: str) -> float:
    return float(value.removesuffix("s"))


_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "connect_timeout": ("connect_timeout", _seconds),
    "network_timeout": ("network_timeout", _seconds),
    "http.anti_steal.secret_key": ("secret", str),
    "http.anti_steal.token_ttl": ("token_ttl", _seconds),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds, and how many connections a server gets."""

    connect_timeout: float = 5.0
    network_timeout: float = 30.0
    """Without any progress of a request or an answer."""
    pool_timeout: float = 60.0
    """Until one of a server's connections is free."""
    connections: int = 16
    idle_check: float = 60.0
    """A connection that was idle for longer is tested before it is used."""

    def __post_init__(self) -> None:
        """Check the values.

        :raises ValueError: for one that cannot be meant.
        """
        for name in ("connect_timeout", "network_timeout", "pool_timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} {value!r}: it must be more than nothing")
        if not isinstance(self.connections, int) or self.connections < 1:
            raise ValueError(f"connections {self.connections!r}: it must be a whole number, 1 at least")


class LimitOptions(TypedDict, total=False):
    """The fields of `Limits` that a client can be given."""

    connect_timeout: float
    network_timeout: float
    pool_timeout: float
    connections: int


class ClientOptions(LimitOptions, total=False):
    """What a client can be told beside its trackers."""

    address_map: Mapping[str, str]
    retired: Iterable[str]
    log_delay: float
    base_url: str
    secret: str
    token_ttl: float


@dataclass(frozen=True, slots=True)
class Links:
    """What URLs of files are made of."""

    base_url: str | None
    secret: str | None = field(repr=False)
    token_ttl: float

    def url(self, file: FileId, secret: str | None, ttl: float | None) -> str:
        """Return the URL of a file, with a token where there is a secret.

        :raises ValueError: if there is no secret for a `ttl`, or the id does not tell where its web server is.
        """
        base = self.base_url
        if base is None:
            if not isinstance(file.source, str):
                raise ValueError(f"{file} does not tell where its web server is: give the client base_url=")
            base = f"http://{file.source}"
        address = f"{base.rstrip('/')}/{file}"
        secret = self.secret if secret is None else secret
        if secret is None:
            if ttl is not None:
                raise ValueError("a URL that ends needs the secret of the web servers: give secret=")
            return address
        now = time.time()
        stamp = int(now if ttl is None else now + ttl - self.token_ttl)
        token = hashlib.md5(f"{file.name}{secret}{stamp}".encode(), usedforsecurity=False).hexdigest()
        return f"{address}?token={token}&ts={stamp}"
