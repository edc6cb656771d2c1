"""fakeredis behind a port: what tests of connections and of other processes need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from servers.process import HOST, running

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name(
    "fakeredis_server.py"
)  # run with -P: beside it lies a valkey.py that is not the client


@pytest.fixture(scope="session")
def _fakeredis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fakeredis")
    path = {"PYTHONPATH": str(SCRIPT.parent.parent)}
    with running(
        "fakeredis", lambda port: (sys.executable, "-P", str(SCRIPT), str(port)), folder, environment=path
    ) as port:
        yield f"redis://{HOST}:{port}/0"


@pytest.fixture
def fakeredis_url(_fakeredis: str) -> str:
    """The URL of an empty database of fakeredis."""
    with redis.Redis.from_url(_fakeredis) as client:
        client.flushall()
    return _fakeredis
