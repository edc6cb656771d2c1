"""Layers: values that are put over a file system by `fs.over(...)`. Each is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiofs.layers.checked import Checked
    from aiofs.layers.codecs import Base64
    from aiofs.layers.gzip import Gzip
    from aiofs.layers.names import HashPrefix, Percent, Prefix
    from aiofs.layers.observers import Event, Log, Notify
    from aiofs.layers.pace import Timeout
    from aiofs.layers.policy import Allow, Limit, Matching, ReadOnly, WriteOnly
    from aiofs.layers.signing import SignedUrls

__all__ = [
    "Allow",
    "Base64",
    "Checked",
    "Event",
    "Gzip",
    "HashPrefix",
    "Limit",
    "Log",
    "Matching",
    "Notify",
    "Percent",
    "Prefix",
    "ReadOnly",
    "SignedUrls",
    "Timeout",
    "WriteOnly",
]

_ROOMS = {
    "checked": ("Checked",),
    "codecs": ("Base64",),
    "gzip": ("Gzip",),
    "names": ("HashPrefix", "Percent", "Prefix"),
    "observers": ("Event", "Log", "Notify"),
    "pace": ("Timeout",),
    "policy": ("Allow", "Limit", "Matching", "ReadOnly", "WriteOnly"),
    "signing": ("SignedUrls",),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    room = _HOMES.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{room}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
