"""Credentials of each kind, given or found in the environment, and what signs URLs."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import ssl
import sys
import time
import urllib.request
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob.aio import BlobServiceClient

import aiofs
from aiofs.errors import AccessDenied, Unsupported
from aiofs.stores import AzureFileSystem

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from servers.azurite.server import AzureAccount
    from servers.tls import Authority

VARIABLES = ("CONNECTION_STRING", "ACCOUNT_URL", "ACCOUNT", "ACCOUNT_NAME", "KEY", "ACCOUNT_KEY", "SAS_TOKEN")
IDENTITIES = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT")
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


class Identity:
    """A credential as those of azure-identity are, whose tokens Azurite believes."""

    made = closed = 0

    def __init__(self) -> None:
        Identity.made += 1

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/tenant/",
            "oid": "me",
            "tid": "us",
        }
        claims |= {"iat": now - 60, "nbf": now - 60, "exp": now + 3600}
        parts = [{"alg": "none", "typ": "JWT"}, claims]
        coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
        return AccessToken(".".join([*coded, "c2ln"]), now + 3600)

    async def close(self) -> None:
        Identity.closed += 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no account and no identity."""
    for name in [*(f"AZURE_STORAGE_{name}" for name in VARIABLES), *IDENTITIES]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Identity, "made", 0)
    monkeypatch.setattr(Identity, "closed", 0)


@pytest.fixture
def identity_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for azure-identity, which asks the outside world who we are."""
    module = ModuleType("azure.identity.aio")
    module.DefaultAzureCredential = Identity  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "azure.identity", ModuleType("azure.identity"))
    monkeypatch.setitem(sys.modules, "azure.identity.aio", module)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    """Clients trust the tests' own authority."""
    transport = partial(AioHttpTransport, connection_verify=str(authority.path))
    monkeypatch.setattr("aiofs.backends.azure.client.AioHttpTransport", transport)


async def works(fs: aiofs.FileSystem) -> None:
    async with fs:
        await fs.write_bytes("file", b"bytes")
        await fs.copy("file", "copy")
        await fs.rm("file")
        assert await fs.read_bytes("copy") == b"bytes"


@pytest.mark.parametrize("name", ["KEY", "ACCOUNT_KEY", "SAS_TOKEN", "CONNECTION_STRING"])
async def test_by_url_with_what_the_environment_has(
    azurite: AzureAccount, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "CONNECTION_STRING":
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        await works(aiofs.connect(f"azure://{azurite.container}/folder"))
        return
    monkeypatch.setenv(f"AZURE_STORAGE_{name}", azurite.signature("racwdl") if name == "SAS_TOKEN" else azurite.key)
    await works(aiofs.connect(f"azure://{azurite.container}/folder?account_url={azurite.url}"))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", azurite.url)
    await works(aiofs.connect(f"azure://{azurite.container}/folder"))


async def test_reading_without_credentials(
    azurite: AzureAccount, fs: AzureFileSystem, raw: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fs.write_bytes("file", b"public")
    raw.set_container_access_policy({}, public_access="container")
    url = f"azure://{azurite.container}?account_url={azurite.url}"
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    for where in (f"{url}&anonymous=true", url):
        async with aiofs.connect(where) as reader:
            assert await reader.read_bytes("file") == b"public"
            assert await reader.ls() == ["file"]
            with pytest.raises(FileNotFoundError):
                await reader.read_bytes("missing")
            with pytest.raises(AccessDenied):
                await reader.write_bytes("file", b"new")
            with pytest.raises(Unsupported, match="can sign URLs"):
                await reader.url("file")
        monkeypatch.delenv("AZURE_STORAGE_KEY", raising=False)


@pytest.mark.usefixtures("identity_installed", "trusting")
@pytest.mark.parametrize("variable", [None, "AZURE_CLIENT_ID", "IDENTITY_ENDPOINT"])
async def test_by_url_with_an_identity(
    azurite_with_tokens: AzureAccount,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
) -> None:
    account = azurite_with_tokens
    url = f"azure://{account.container}/folder?account_url={account.url}"
    if variable is None:
        url += "&identity=true"
    else:
        monkeypatch.setenv(variable, "us")
    fs = aiofs.connect(url)
    assert isinstance(pickle.loads(pickle.dumps(fs.driver)), aiofs.Driver)
    assert Identity.made == 0
    await works(fs)
    assert (Identity.made, Identity.closed) == (1, 1)


@pytest.mark.usefixtures("trusting")
async def test_a_lent_identity_stays_open(azurite_with_tokens: AzureAccount) -> None:
    account = azurite_with_tokens
    await works(AzureFileSystem(account.container, account_url=account.url, credential=Identity()))  # type: ignore[arg-type]
    assert Identity.closed == 0


@pytest.mark.usefixtures("trusting")
async def test_a_token_signs_urls(
    azurite_with_tokens: AzureAccount, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = azurite_with_tokens
    fs = AzureFileSystem(account.container, account_url=account.url, credential=Identity())  # type: ignore[arg-type]
    asked: list[BlobServiceClient] = []
    ask = BlobServiceClient.get_user_delegation_key
    monkeypatch.setattr(
        BlobServiceClient, "get_user_delegation_key", lambda self, *rest: (asked.append(self), ask(self, *rest))[1]
    )

    def send(url: str, data: bytes | None = None) -> bytes:
        headers = {} if data is None else {"x-ms-blob-type": "BlockBlob"}
        request = urllib.request.Request(url, data, headers, method="GET" if data is None else "PUT")
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=authority.path)) as answer:
            body: bytes = answer.read()
            return body

    async with fs:
        await asyncio.to_thread(send, await fs.url("odd é", "PUT"), b"new")
        assert await asyncio.to_thread(send, await fs.url("odd é")) == b"new"
        assert await fs.read_bytes("odd é") == b"new"
        assert len(asked) == 1  # both URLs were signed with one key
        with pytest.raises(ValueError, match="7 days at most"):
            await fs.url("odd é", expires=8 * 24 * 3600)
        await fs.rm("odd é")


async def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="AZURE_STORAGE_ACCOUNT in the environment"):
        aiofs.connect("azure://container")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "name")
    fs = aiofs.connect("azure://container")
    assert "name.blob.core.windows.net" in str(fs.driver)
    monkeypatch.setitem(sys.modules, "azure.identity.aio", None)
    with pytest.raises(ImportError, match="pip install azure-identity"):
        aiofs.connect("azure://container?identity=true")
    with pytest.raises(ValueError, match="leave out either"):
        aiofs.connect("azure://container?identity=true&anonymous=true")


def test_a_token_is_not_sent_without_tls() -> None:
    for credential, words in ((Identity(), "(?i)https"), (Identity, "over https only")):
        given: Any = credential
        with pytest.raises(ValueError, match=words):
            AzureFileSystem("container", account_url="http://127.0.0.1:1/account", credential=given)
