"""What every test stands on: real servers, checks that nothing blocks or is left, and hypothesis's profile."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = [
    "variants",
    "guards",
    "aiofs.testing",
    "servers.choosing",
    "servers.sharing",
    "servers.tls",
    "servers.valkey",
    "servers.valkey_pair",
    "servers.fakes",
    "servers.azurite.server",
    "servers.moto",
    "servers.seaweedfs",
    "servers.fastdfs.server",
    "servers.faults",
]

# A run tests the code, not its luck: the same examples each time. `AIOFS_TEST_EXPLORE=1` looks for new ones.
settings.register_profile("same", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("explore" if os.environ.get("AIOFS_TEST_EXPLORE") else "same")
