"""Moto's S3 server: on http, on https, and with authentication; a bucket of its own for each test."""

from __future__ import annotations

import json
import os
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import botocore.config
import botocore.session
import pytest

from servers.process import HOST, running
from servers.sharing import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from servers.tls import Authority

SESSION = botocore.session.get_session()  # one for all clients: what it reads about services costs more than a test
REGION = "us-east-1"
SERVER = str(Path(__file__).with_name("moto_server.py"))
SECRET = "a-secret-that-no-message-may-repeat"
ENVIRONMENT = {"MOTO_DISABLE_GLOBAL_CORS": "true"}
SET_UP_CALLS = 3  # what is allowed before authentication: a user, a key and a policy
ALLOW_ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


@dataclass(frozen=True)
class S3Server:
    """An endpoint, who to be there, and a bucket that no other test knows."""

    endpoint_url: str
    access_key: str = "tester"
    secret_key: str = SECRET
    region: str = REGION
    bucket: str = ""
    authority: str | None = None  # the file of the authority to trust, for https
    lasting: bool = False  # outlives the run, so that buckets are removed

    @property
    def port(self) -> int:
        """Where the server listens, for a proxy before it."""
        port = urlsplit(self.endpoint_url).port
        assert port is not None
        return port

    def through(self, port: int) -> S3Server:
        """The same server behind a proxy that listens on `port`."""
        return replace(self, endpoint_url=f"{urlsplit(self.endpoint_url).scheme}://{HOST}:{port}")

    def with_secret(self, secret: str) -> S3Server:
        """The same server for somebody with another secret."""
        return replace(self, secret_key=secret)

    def client(self, service: str = "s3") -> Any:
        """A blocking client of botocore's, to set up and to look from outside."""
        return SESSION.create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            verify=self.authority,
            config=botocore.config.Config(
                s3={"addressing_style": "path"}, retries={"total_max_attempts": 5, "mode": "standard"}
            ),
        )


def server_at(url: str) -> S3Server:
    """The server of `http://key:secret@host:port?region=...`, key and secret percent-encoded."""
    parts = urlsplit(url)
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    region = dict(parse_qsl(parts.query)).get("region", REGION)
    return S3Server(bare, unquote(parts.username or ""), unquote(parts.password or ""), region, lasting=True)


def command(*options: str) -> Callable[[int], Sequence[str]]:
    """Return what says how to start moto on a port."""
    return lambda port: (sys.executable, "-P", SERVER, "-H", HOST, "-p", str(port), *options)


def moto(folder: Path) -> AbstractContextManager[int]:
    """Run moto for whoever is no test of the run, and give the port it listens on."""
    return running("moto", command(), folder, environment=ENVIRONMENT)


@pytest.fixture(scope="session")
def s3_endpoint(pytestconfig: pytest.Config) -> S3Server:
    """A server for the whole run: moto's, or the one of AIOFS_TEST_S3."""
    if given := os.environ.get("AIOFS_TEST_S3"):
        return server_at(given)
    port, _ = shared(pytestconfig, "moto", command(), environment=ENVIRONMENT)
    return S3Server(f"http://{HOST}:{port}")


@pytest.fixture(scope="session")
def s3_https_endpoint(pytestconfig: pytest.Config, authority: Authority) -> S3Server:
    """A server on https."""
    start = command("-c", str(authority.certificate), "-k", str(authority.key))
    port, _ = shared(pytestconfig, "moto-https", start, environment=ENVIRONMENT)
    return S3Server(f"https://{HOST}:{port}", authority=str(authority.path))


@pytest.fixture(scope="session")
def s3_auth_endpoint(pytestconfig: pytest.Config) -> S3Server:
    """A server that checks signatures and rights, and the one user it knows."""
    environment = ENVIRONMENT | {"INITIAL_NO_AUTH_ACTION_COUNT": str(SET_UP_CALLS)}
    port, key = shared(pytestconfig, "moto-auth", command(), environment=environment, prepare=_with_user)
    assert isinstance(key, list)
    return S3Server(f"http://{HOST}:{port}", *key)


def _with_user(port: int) -> tuple[str, str]:
    """Make the user, and return the key."""
    iam = S3Server(f"http://{HOST}:{port}").client("iam")
    iam.create_user(UserName="tester")
    key = iam.create_access_key(UserName="tester")["AccessKey"]
    iam.put_user_policy(UserName="tester", PolicyName="everything", PolicyDocument=ALLOW_ALL)
    iam.close()
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture
def s3_server(s3_endpoint: S3Server) -> Iterator[S3Server]:
    """A server with a fresh bucket."""
    yield from with_bucket(s3_endpoint)


@pytest.fixture
def s3_https_server(s3_https_endpoint: S3Server) -> Iterator[S3Server]:
    """A server on https with a fresh bucket."""
    yield from with_bucket(s3_https_endpoint)


@pytest.fixture
def s3_auth_server(s3_auth_endpoint: S3Server) -> Iterator[S3Server]:
    """A server that checks signatures, with a fresh bucket."""
    yield from with_bucket(s3_auth_endpoint)


def with_bucket(server: S3Server) -> Iterator[S3Server]:
    bucket = f"test-{uuid.uuid4().hex}"
    client = server.client()
    try:
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": server.region}}
        client.create_bucket(Bucket=bucket, **(elsewhere if server.region != REGION else {}))
        _share_verdict(server.endpoint_url, bucket)
        yield replace(server, bucket=bucket)
        if server.lasting:
            _remove(client, bucket)
    finally:
        client.close()


def _share_verdict(endpoint: str, bucket: str) -> None:
    """Spare a new bucket what another one of the same server was tried with: once for each test costs much."""
    store = sys.modules.get("aiofs.backends.s3.store")
    if store is not None:
        known = [traits for (where, _), traits in store._PROBED.items() if where == endpoint and not traits.versioning]
        if known:
            store._PROBED[endpoint, bucket] = known[0]


def _remove(client: Any, bucket: str) -> None:
    """Remove `bucket` with all that is in it, versions and unfinished uploads included."""
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    client.delete_bucket(Bucket=bucket)
