"""The contract on S3, over a real server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

from aiofs.backends.s3.driver import S3Driver  # noqa: F401 -- loads the SDK before a loop runs
from aiofs.backends.s3.settings import SMALLEST_PART
from aiofs.driver import Capabilities
from aiofs.stores import OSFileSystem, S3FileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.cancel import CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.life import Life
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.locking import LocksOfProcesses, NamedLocks
from aiofs.testing.contract.names import PathNames
from aiofs.testing.contract.partial import Partials, PartialsOfProcesses
from aiofs.testing.contract.reading import ReadingFiles
from aiofs.testing.contract.removing import FileFacts, Removing
from aiofs.testing.contract.sessions import Conditions, Leftovers, Prepared
from aiofs.testing.contract.writers import Processes, Writers
from aiofs.testing.contract.writing import WrittenBytes
from servers.leases import LONG, lease_for
from servers.process import HOST, NOBODY

if TYPE_CHECKING:
    from pathlib import Path

    from servers.moto import S3Server

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
SLOWER = 12  # where each request takes twice the time
# Every call is several requests to a server that takes its time; in a full run one behaviour counts to 3200.
pytestmark = pytest.mark.timeout(3600 if FULL else 600)


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


def harness_of(server: S3Server, lease: int, **settings: object) -> Harness:
    """What the suite must know of the server."""

    async def meddle(path: str, data: bytes) -> None:
        await asyncio.to_thread(put, path, data)

    def put(path: str, data: bytes) -> None:
        client = server.client()
        client.put_object(Bucket=server.bucket, Key=f"{settings.get('prefix', '')}{path}", Body=data)
        client.close()

    return Harness(
        connect=partial(connect, server, lease=lease, part_size=SMALLEST_PART, **settings),
        lease=lease,
        fenced=True,
        paged=lambda size: connect(server, page_size=size, **settings),
        unreachable=lambda: connect(replace(server, endpoint_url=f"http://{HOST}:{NOBODY}"), attempts=1),
        denied=lambda: connect(server.with_secret("wrong"), **settings),
        secrets=[server.secret_key],
        meddle=meddle,
        versions_differ=False,
        model_examples=8 if FULL else 4,
        every_moment=FULL,
    )


@pytest.mark.both_loops(full=True)
class TestS3(Contract):
    declares = Capabilities(locks="shared", fences=True, resume=True, partial=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, s3_server: S3Server) -> Harness:
        return harness_of(s3_server, lease_for(request))


@pytest.mark.variant(WrittenBytes, PathNames, Listings, Removing, Life)
class TestS3Signed(Contract):
    """On a server that checks every signature."""

    declares = Capabilities(locks="shared", fences=True, resume=True, partial=True, metadata=True)
    server = True
    credentials = True
    lacks: ClassVar = {55: "cannot check signatures of names with control characters, the SDK's included"}

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, s3_auth_server: S3Server) -> Harness:
        return harness_of(s3_auth_server, lease_for(request, SLOWER))


@pytest.mark.variant(
    *(WrittenBytes, ReadingFiles, FileFacts),
    *(CancelledWriting.test_42_cancel_in_part, CancelledWriting.test_43_cancel_in_commit),
    *(Commit.test_30_old_bytes_stay, Commit.test_37_failed_commit, Commit.test_104_commit_answer_lost),
    *(Listings.test_60_ls_order, Listings.test_61_ls_pages, Listings.test_63_ls_after),
    *(Removing.test_68_rm_then_gone, Removing.test_113_rm_all_or_none, Removing.test_115_copy_and_move),
    Partials.test_361_every_byte_is_safe,
)
class TestS3BySdk(Contract):
    """Below a prefix, every request by way of the SDK, with checksums: what makes, cancels and reads requests."""

    declares = Capabilities(locks="shared", fences=True, resume=True, partial=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, s3_server: S3Server) -> Harness:
        return harness_of(s3_server, lease_for(request, SLOWER), prefix="a folder/", direct=False, checksum="crc32")


@pytest.mark.variant(
    Writers,
    Conditions,
    Prepared,
    Leftovers,
    Removing,
    Partials.test_363_replaces_its_base,
    Partials.test_368_kept_for_days,
)
class TestS3LocksAtCommit(Contract):
    """Without lock objects: writers exclude each other in one process, others find the conflict at commit."""

    declares = Capabilities(resume=True, partial=True, metadata=True)
    server = True
    lacks: ClassVar = dict.fromkeys(range(250, 258), "keeps no locks with names: they are refused")

    @pytest.fixture
    def harness(self, s3_server: S3Server) -> Harness:
        return replace(harness_of(s3_server, LONG, locking="commit"), lease=0.0, fenced=False)


@pytest.mark.variant(
    Writers,
    Prepared,
    Leftovers,
    Processes,
    NamedLocks,
    LocksOfProcesses,
    Removing,
    Partials.test_368_kept_for_days,
)
class TestS3LocksElsewhere(Contract):
    """Another store has the locks, in a folder of it: they hold for all processes, and end with their holder."""

    declares = Capabilities(locks="shared", fences=True, resume=True, partial=True, metadata=True)
    server = True

    @pytest.fixture
    def harness(self, s3_server: S3Server, tmp_path: Path) -> Harness:
        locks = OSFileSystem(tmp_path).at("locks")
        return replace(harness_of(s3_server, LONG, prefix="a folder/", locks=locks), lease=0.0, fenced=False)


@pytest.mark.variant(
    WrittenBytes,
    Commit,
    Writers,
    Conditions,
    Prepared,
    Leftovers,
    NamedLocks,
    PathNames,
    Listings,
    Removing,
    FileFacts,
    Partials.test_361_every_byte_is_safe,
    Partials.test_363_replaces_its_base,
    Partials.test_368_kept_for_days,
    PartialsOfProcesses,
    Life.test_74_denied,
    Life.test_74_no_secret_shown,
)
class TestS3OnSeaweedFS(Contract):
    """On a server that lists out of byte order, and keeps files in folders."""

    declares = Capabilities(locks="shared", fences=True, resume=True, partial=True, metadata=True)
    server = True
    credentials = True
    lacks: ClassVar = {
        60: "cannot create a file where there is a folder of that name",
        109: "lists folders whose last file is gone",
        117: "keeps no metadata whose value is empty",
    }

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, seaweedfs: S3Server) -> Harness:
        return replace(harness_of(seaweedfs, lease_for(request)), cannot_hold=lambda name: "\\" in name)
