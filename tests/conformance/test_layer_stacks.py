"""The contract on more stacks of layers: names and codecs over local files, gzip in a folder on S3."""

from __future__ import annotations

import asyncio
import base64
import gzip
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.osfiles import OSDriver
from aiofs.backends.s3.driver import S3Driver  # noqa: F401 -- loads the SDK before a loop runs
from aiofs.driver import Capabilities
from aiofs.layers import Base64, Checked, Gzip, HashPrefix, Limit, Log, Percent, Prefix, Timeout
from aiofs.stores import OSFileSystem, S3FileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.contract.cancel import CancelledReading, CancelledWriting
from aiofs.testing.contract.commit import Commit
from aiofs.testing.contract.listing import Listings
from aiofs.testing.contract.locking import NamedLocks
from aiofs.testing.contract.names import PathNames
from aiofs.testing.contract.reading import Changing
from aiofs.testing.contract.removing import Removing
from aiofs.testing.contract.sessions import Leftovers, Prepared
from aiofs.testing.contract.writing import WrittenBytes
from layers.sealed import checked_file
from servers.leases import lease_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiofs.driver import Layer
    from servers.moto import S3Server

ENCODED = replace(OSDriver.capabilities, listed_sizes=False, rewrite=False)
UNCERTAIN = replace(OSDriver.capabilities, certain=False)


def over_files(
    root: Path, *layers: Layer, inward: Callable[[str], str] = str, encode: Callable[[bytes], bytes] = bytes
) -> Harness:
    """Layers over a folder, of which a meddler knows the names and bytes underneath."""

    def replaced(path: Path, data: bytes) -> None:
        beside = root / "meddled"
        beside.write_bytes(data)
        beside.replace(path)

    async def meddle(path: str, data: bytes) -> None:
        await asyncio.to_thread(replaced, root / inward(path), encode(data))

    def cannot_hold(name: str) -> bool:
        return any(len(segment.encode()) > 255 for segment in inward(name).split("/"))

    connect = partial(OSFileSystem, root, durable=False)
    return Harness(connect=connect, layers=layers, meddle=meddle, cannot_hold=cannot_hold)


@pytest.mark.variant(Prepared, Leftovers, PathNames, Listings, Removing, NamedLocks)
class TestHashPrefix(Contract):
    declares = OSDriver.capabilities
    lacks = {58: "`a` and `a/b` are mostly in different folders, where they do not meet"}  # noqa: RUF012

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return over_files(tmp_path, HashPrefix(1), inward=HashPrefix(1).inward)


@pytest.mark.variant(WrittenBytes, Commit, CancelledWriting, Prepared, Leftovers)
class TestLoggedAndLimitedBase64WithPlainNames(Contract):
    declares = ENCODED

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        layers = Percent(), Base64(), Limit(1 << 26), Log()
        return over_files(tmp_path, *layers, inward=layers[0].inward, encode=base64.b64encode)


@pytest.mark.variant(WrittenBytes, Commit, CancelledWriting, Prepared, Leftovers, Listings)
class TestCheckedInAFolder(Contract):
    declares = replace(OSDriver.capabilities, rewrite=False)

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return over_files(tmp_path, Prefix("a folder/"), Checked(), inward="a folder/{}".format, encode=checked_file)


@pytest.mark.variant(CancelledWriting, CancelledReading, Prepared, Leftovers, Listings, NamedLocks)
class TestTimeout(Contract):
    declares = UNCERTAIN

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return over_files(tmp_path, Timeout(60))


@pytest.mark.variant(WrittenBytes, Changing, Prepared, Leftovers, Removing)
class TestGzipInAFolderOnS3(Contract):
    declares = Capabilities(locks="shared", fences=True, resume=True, metadata=True, listed_sizes=False)
    lacks = {  # noqa: RUF012
        42: "a part of the store's holds several of the layer's",
        45: "what is read there compresses to so little that it comes with the first request",
    }

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, s3_server: S3Server) -> Harness:
        lease = lease_for(request)

        def put(path: str, data: bytes) -> None:
            client = s3_server.client()
            client.put_object(Bucket=s3_server.bucket, Key=f"a folder/{path}", Body=gzip.compress(data))
            client.close()

        async def meddle(path: str, data: bytes) -> None:
            await asyncio.to_thread(put, path, data)

        connect = partial(
            S3FileSystem,
            s3_server.bucket,
            endpoint_url=s3_server.endpoint_url,
            access_key=s3_server.access_key,
            secret_key=s3_server.secret_key,
            region=s3_server.region,
            lease=lease,
        )
        return Harness(
            connect=connect,
            layers=[Prefix("a folder/"), Gzip()],
            lease=lease,
            fenced=True,
            meddle=meddle,
            versions_differ=False,
            model_examples=4,
        )
