"""The `client.conf` of FastDFS: what of it says how to reach a cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
