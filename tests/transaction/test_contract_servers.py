"""The contract of transactions on stores that are servers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.s3.driver import S3Driver  # noqa: F401 -- loads the SDK before a loop runs
from aiofs.driver import Capabilities
from aiofs.stores import OSFileSystem, RedisFileSystem, S3FileSystem
from aiofs.testing import Harness, TransactionContract
from aiofs.testing.contract.transactions import Crashes, Refusals
from servers.leases import lease_for

if TYPE_CHECKING:
    from pathlib import Path

    from servers.moto import S3Server


class TestRedis(TransactionContract):
    declares = RedisDriver.capabilities

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, valkey_url: str) -> Harness:
        lease = lease_for(request)
        return Harness(connect=partial(RedisFileSystem, valkey_url, lease=lease), lease=lease, fenced=True)


def s3_by(server: S3Server, **settings: Any) -> partial[S3FileSystem]:
    """What connects to the server's bucket."""
    return partial(
        S3FileSystem,
        server.bucket,
        endpoint_url=server.endpoint_url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=server.region,
        **settings,
    )


class TestS3(TransactionContract):
    declares = Capabilities(locks="shared", fences=True, resume=True, metadata=True)

    @pytest.fixture
    def harness(self, request: pytest.FixtureRequest, s3_server: S3Server) -> Harness:
        lease = lease_for(request)
        return Harness(connect=s3_by(s3_server, lease=lease), lease=lease, fenced=True)


@pytest.mark.variant(Refusals, Crashes)
class TestS3LocksElsewhere(TransactionContract):
    declares = Capabilities(locks="shared", fences=True, resume=True, metadata=True)

    @pytest.fixture
    def harness(self, s3_server: S3Server, tmp_path: Path) -> Harness:
        return Harness(connect=s3_by(s3_server, locks=OSFileSystem(tmp_path).at("locks")))
