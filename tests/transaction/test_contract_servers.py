"""The contract of transactions on stores that are servers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.redis.driver import RedisDriver
from aiofs.backends.s3.driver import S3Driver  # noqa: F401 -- loads the SDK before a loop runs
from aiofs.driver import Capabilities
from aiofs.stores import RedisFileSystem, S3FileSystem
from aiofs.testing import Harness, TransactionContract

if TYPE_CHECKING:
    from servers.moto import S3Server

LEASE = 5.0


class TestRedis(TransactionContract):
    declares = RedisDriver.capabilities

    @pytest.fixture
    def harness(self, valkey_url: str) -> Harness:
        return Harness(connect=partial(RedisFileSystem, valkey_url, lease=LEASE), lease=LEASE, fenced=True)


class TestS3(TransactionContract):
    declares = Capabilities(locks="shared", resume=True, metadata=True)

    @pytest.fixture
    def harness(self, s3_server: S3Server) -> Harness:
        connect = partial(
            S3FileSystem,
            s3_server.bucket,
            endpoint_url=s3_server.endpoint_url,
            access_key=s3_server.access_key,
            secret_key=s3_server.secret_key,
            region=s3_server.region,
            lease=LEASE,
        )
        return Harness(connect=connect, lease=LEASE, fenced=True)
