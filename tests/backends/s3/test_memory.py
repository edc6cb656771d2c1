"""A large file up and down, within little memory: of 256 MiB, in a full run a gibibyte."""

from __future__ import annotations

import os
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from aiofs.driver import MIB
from servers import canned_s3
from servers.moto import S3Server
from servers.process import HOST, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backends.s3.conftest import Connect

MUCH = 64 * MIB
TIMES = 4 if os.environ.get("AIOFS_TEST_FULL") else 1  # so often 256 MiB


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that keeps nothing of what it gets."""
    server = canned_s3.__file__
    with running("canned", lambda port: (sys.executable, server, str(port)), tmp_path_factory.mktemp("canned")) as port:
        yield S3Server(f"http://{HOST}:{port}", bucket="bucket")


async def test_a_large_file_goes_up_and_comes_down(canned: S3Server, connect: Connect) -> None:
    fs = connect(canned)
    piece = bytes(MIB)
    await fs.write_bytes("warm", piece)
    tracemalloc.start()
    try:
        async with fs.open("new", "w") as file:
            for _ in range(TIMES * 256):
                await file.write(piece)
        assert tracemalloc.get_traced_memory()[1] < MUCH
        tracemalloc.reset_peak()
        size = 0
        for _ in range(TIMES):
            async with fs.open("huge") as file:
                while data := await file.read(MIB):
                    size += len(data)
        assert tracemalloc.get_traced_memory()[1] < MUCH // 4
    finally:
        tracemalloc.stop()
    assert size == TIMES * 256 * MIB
