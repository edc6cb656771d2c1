"""Azurite for the whole run, and a container of its own for each test."""

from __future__ import annotations

import base64
import os
import uuid
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from servers.azurite.install import NODE, install
from servers.process import HOST
from servers.sharing import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azure.storage.blob import ContainerClient

    from servers.tls import Authority

ACCOUNT = "aiofs"
KEY = base64.b64encode(b"a key that no message may repeat").decode()
NO_COLLECTION = Path(__file__).with_name("no_collection.js")
OPTIONS = ("--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck")


@dataclass(frozen=True)
class AzureAccount:
    """An account, and a container in it that no other test knows."""

    url: str
    name: str
    key: str
    container: str = ""

    @property
    def connection_string(self) -> str:
        """What the SDK and `AzureFileSystem` connect with."""
        scheme = urlsplit(self.url).scheme
        return (
            f"DefaultEndpointsProtocol={scheme};AccountName={self.name};AccountKey={self.key};BlobEndpoint={self.url};"
        )

    def through(self, port: int) -> AzureAccount:
        """The same account behind a proxy that listens on `port`."""
        parts = urlsplit(self.url)
        return replace(self, url=parts._replace(netloc=f"{HOST}:{port}").geturl())

    def signature(self, permissions: str) -> str:
        """A SAS for the container; its permissions are Azure's letters, `rwdl` to read, write, delete and list."""
        from azure.storage.blob import (  # noqa: PLC0415  (it loads for most of a second)
            ContainerSasPermissions,
            generate_container_sas,
        )

        return generate_container_sas(
            self.name,
            self.container,
            account_key=self.key,
            permission=ContainerSasPermissions.from_string(permissions),
            expiry="2099-01-01T00:00:00Z",
        )

    def client(self, **options: Any) -> ContainerClient:
        """A blocking client of the SDK's for the container, to set up and to look from outside."""
        from azure.storage.blob import ContainerClient  # noqa: PLC0415  (it loads for most of a second)

        return ContainerClient.from_connection_string(self.connection_string, self.container, **options)

    @property
    def port(self) -> int:
        """Where the server listens, for a proxy before it."""
        port = urlsplit(self.url).port
        assert port is not None
        return port


def account_at(url: str) -> AzureAccount:
    """The account of `http://name:key@host:port/path`, name and key percent-encoded."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return AzureAccount(bare, unquote(parts.username or ""), unquote(parts.password or ""))


def azurite_of(
    config: pytest.Config, scheme: str, *options: str, prepare: Callable[[AzureAccount], None] = lambda _account: None
) -> AzureAccount:
    """Return the account of an Azurite of the run."""
    script = install()
    at = partial("{}://{}:{}/{}".format, scheme, HOST)
    port, _ = shared(
        config,
        f"azurite-{scheme}",
        lambda port: (
            *(str(NODE), "--require", str(NO_COLLECTION), str(script)),
            *("--blobHost", HOST, "--blobPort", str(port), *OPTIONS, *options),
        ),
        environment={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
        prepare=lambda port: prepare(AzureAccount(at(port, ACCOUNT), ACCOUNT, KEY)),
    )
    return AzureAccount(at(port, ACCOUNT), ACCOUNT, KEY)


@pytest.fixture(scope="session")
def azure_account(pytestconfig: pytest.Config) -> AzureAccount:
    """An account for the whole run: Azurite's, or the one of AIOFS_TEST_AZURE."""
    if given := os.environ.get("AIOFS_TEST_AZURE"):
        return account_at(given)
    return azurite_of(pytestconfig, "http")


@pytest.fixture(scope="session")
def azurite_with_tokens(pytestconfig: pytest.Config, authority: Authority) -> AzureAccount:
    """Azurite over TLS, which tokens of an identity need; it accepts any that is well formed."""

    def prepare(account: AzureAccount) -> None:
        with replace(account, container="tokens").client(connection_verify=str(authority.path)) as client:
            client.create_container()

    options = ("--oauth", "basic", "--cert", str(authority.certificate), "--key", str(authority.key))
    return replace(azurite_of(pytestconfig, "https", *options, prepare=prepare), container="tokens")


@pytest.fixture
def azurite(azure_account: AzureAccount) -> Iterator[AzureAccount]:
    """The account with a fresh container, removed after the test."""
    account = replace(azure_account, container=f"test-{uuid.uuid4().hex}")
    with account.client() as client:
        client.create_container()
        yield account
        client.delete_container()
