"""What every test stands on: the real servers, both event loops, and checks that nothing is left behind."""

from __future__ import annotations

pytest_plugins = [
    "servers.tls",
    "servers.valkey",
    "servers.azurite.server",
    "servers.moto",
    "servers.faults",
]
