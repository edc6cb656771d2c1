"""The contract on S3, over a real server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

from aiofs.backends.s3.driver import S3Driver  # noqa: F401 -- loads the SDK before a loop runs
from aiofs.driver import Capabilities
from aiofs.stores import OSFileSystem, S3FileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.life import Life
from aiofs.testing.contract.modes import Modes
from aiofs.testing.contract.processes import Processes
from aiofs.testing.contract.reading import Reading, Text
from aiofs.testing.contract.seeking import Changing, Seeking
from aiofs.testing.needs import number_of
from servers.process import HOST, NOBODY

if TYPE_CHECKING:
    from pathlib import Path

    from servers.moto import S3Server

LEASE = 6.0  # long enough for a hundred writers at once on a busy machine
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
SLOWER_LEASE = 12.0  # and where each request takes twice the time
pytestmark = pytest.mark.timeout(180)  # every call is several requests to a server that takes its time


def connect(server: S3Server, **settings: object) -> S3FileSystem:
    """A file system in the server's bucket."""
    return S3FileSystem(
        server.bucket,
        endpoint_url=server.endpoint_url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=server.region,
        **settings,  # type: ignore[arg-type]
    )


def harness_of(server: S3Server, lease: float = LEASE, **settings: object) -> Harness:
    """What the suite must know of the server."""

    async def meddle(path: str, data: bytes) -> None:
        await asyncio.to_thread(put, path, data)

    def put(path: str, data: bytes) -> None:
        client = server.client()
        client.put_object(Bucket=server.bucket, Key=f"{settings.get('prefix', '')}{path}", Body=data)
        client.close()

    return Harness(
        connect=partial(connect, server, lease=lease, **settings),
        lease=lease,
        fenced=True,
        paged=lambda size: connect(server, page_size=size, **settings),
        unreachable=lambda: connect(replace(server, endpoint_url=f"http://{HOST}:{NOBODY}"), attempts=1),
        denied=lambda: connect(server.with_secret("wrong"), **settings),
        secrets=[server.secret_key],
        meddle=meddle,
        versions_differ=False,
        model_examples=8,
    )


@pytest.mark.both_loops(full=True)
class TestS3(Contract):
    declares = Capabilities(locks="shared", resume=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, s3_server: S3Server) -> Harness:
        return harness_of(s3_server)


class TestS3Signed(Contract):
    """On a server that checks every signature."""

    declares = Capabilities(locks="shared", resume=True, metadata=True)
    server = True
    credentials = True
    lacks: ClassVar = {55: "cannot check signatures of names with control characters, the SDK's included"}

    @pytest.fixture
    def harness(self, s3_auth_server: S3Server) -> Harness:
        return harness_of(s3_auth_server, SLOWER_LEASE)


class TestS3BySdk(Contract):
    """Below a prefix, every request by way of the SDK, with checksums."""

    declares = Capabilities(locks="shared", resume=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, s3_server: S3Server) -> Harness:
        return harness_of(s3_server, SLOWER_LEASE, prefix="a folder/", direct=False, checksum="crc32")


class TestS3LocksAtCommit(Contract):
    """Without lock objects: writers exclude each other in one process, others find the conflict at commit."""

    declares = Capabilities(resume=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, s3_server: S3Server) -> Harness:
        return replace(harness_of(s3_server, locking="commit"), lease=0.0, fenced=False)


class TestS3LocksElsewhere(Contract):
    """Another store has the locks, in a folder of it: they hold for all processes, and end with their holder."""

    declares = Capabilities(locks="shared", resume=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, s3_server: S3Server, tmp_path: Path) -> Harness:
        locks = OSFileSystem(tmp_path).at("locks")
        return replace(harness_of(s3_server, prefix="a folder/", locks=locks), lease=0.0, fenced=False)


def numbers(*chapters: type) -> list[int]:
    """The numbers of their behaviours."""
    return [number for chapter in chapters for name in vars(chapter) if (number := number_of(name)) is not None]


SAME_EVERYWHERE = numbers(Reading, Text, Seeking, Changing, Modes, CancelledWriting, CancelledReading, Processes, Life)
"""What aiofs does with the answers of a server, whichever that is."""


class TestS3OnSeaweedFS(Contract):
    """On a server that lists out of byte order, and keeps files in folders."""

    declares = Capabilities(locks="shared", resume=True, metadata=True)
    server = True
    credentials = True
    lacks: ClassVar = {
        **(
            {}
            if FULL
            else dict.fromkeys(set(SAME_EVERYWHERE) - {74}, "is tried on moto, and here with AIOFS_TEST_FULL=1")
        ),
        60: "cannot create a file where there is a folder of that name",
        109: "lists folders whose last file is gone",
        117: "keeps no metadata whose value is empty",
    }

    @pytest.fixture
    def harness(self, seaweedfs: S3Server) -> Harness:
        return replace(harness_of(seaweedfs), cannot_hold=lambda name: "\\" in name)
