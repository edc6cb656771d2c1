"""The clients of a container, one set for each event loop: requests, credentials, the environment, and signed URLs."""

from __future__ import annotations

import asyncio
import base64
import math
import os
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote
from urllib.request import getproxies

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import generate_blob_sas
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from aiofs import clock
from aiofs.backends.azure.errors import FAILURES, NotPermitted, failed
from aiofs.backends.azure.names import HIDDEN, check_container
from aiofs.driver import MIB
from aiofs.errors import Locked, NotFound, Unsupported
from aiofs.kit import lanes, store_url, without_defaults
from aiofs.lifetimes import PerLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from azure.storage.blob import BlobProperties, BlobSasPermissions, UserDelegationKey
    from azure.storage.blob.aio import BlobClient

TokenMaker = Callable[[], AsyncTokenCredential]
Credential = str | AzureNamedKeyCredential | AzureSasCredential | AsyncTokenCredential | TokenMaker
T = TypeVar("T")
PART = 8 * MIB
"""How much one request carries, up or down."""
SLICE = MIB // 4
"""How much goes to the transport at a time. The SDK's 4 KiB, and all in one piece, cost twice as much CPU time."""
AT_ONCE = 80
"""How many requests are made at the same time, while others wait; the transport has a hundred connections."""
ATTEMPTS = 6
SHORTEST_PAUSE = 0.05
SILENCE = 1 / 3
"""After which part of `timeout` without an answer a request is sent again."""
ONCE: dict[str, Any] = {"retry_total": 0}
"""For requests that must not happen twice: `ask` makes their new attempts, and never a client that was lent."""
_BLOBS_KEPT = 1000
_NEVER_THERE = f"{HIDDEN}never-there"
_DELETE_PERMISSION = (
    "needs the permission to delete blobs ('d' in a SAS, .../blobs/delete in a role), which was not granted"
)

_ACCOUNTS = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
_KEYS = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")
_SIGNATURES = ("AZURE_STORAGE_SAS_TOKEN",)
_IDENTITIES = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT")
"""Variables from which azure-identity's default credential knows the identity of a program."""
_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST = timedelta(days=7)
"""How long the service's keys are valid at most."""
_RESERVE = timedelta(hours=1)
"""How much longer than the first URL a key is valid, so that it can sign other URLs too."""


class AzureClients:
    """The SDK's clients for one event loop: of the container, of its account, and of the blobs used last."""

    def __init__(
        self,
        client: ContainerClient,
        service: BlobServiceClient | None = None,
        made: AsyncTokenCredential | None = None,
        *,
        lent: bool = False,
    ) -> None:
        self.client: ContainerClient = client
        self._lent = lent
        self.service: BlobServiceClient | None = service
        self._made = made
        self.turns: tuple[asyncio.Semaphore, asyncio.Semaphore] = lanes(AT_ONCE)
        self._blobs: OrderedDict[str, BlobClient] = OrderedDict()

    def blob(self, path: str) -> BlobClient:
        """Return the client of a blob. Making one costs as much as a request, so the last ones are kept."""
        blob = self._blobs.get(path)
        if blob is None:
            blob = self._blobs[path] = self.client.get_blob_client(path)
            if len(self._blobs) > _BLOBS_KEPT:
                self._blobs.popitem(last=False)
        else:
            self._blobs.move_to_end(path)
        return blob

    async def aclose(self) -> None:
        """Close the connections, unless the user lent them, and the credential that was made for them."""
        if not self._lent:
            await self.client.close()
        if self.service is not None:
            await self.service.close()
        if self._made is not None:
            await self._made.close()


class Container:
    """A container, reached by a connection string, by the URL of its account and a credential, or by a lent client."""

    def __init__(
        self,
        name: str,
        connection_string: str | None,
        account_url: str | None,
        credential: Credential | None,
        timeout: float,
        *,
        lent: ContainerClient | None = None,
    ) -> None:
        if [connection_string, account_url, lent].count(None) != 2:  # noqa: PLR2004 -- all but one
            raise ValueError("give either connection_string= or account_url=, or lend a client=")
        check_container(name)
        if lent is not None:
            _check_lent(lent, name, credential)
        if not timeout > 0:
            raise ValueError(f"timeout must be greater than 0, not {timeout!r}")
        self.name = name
        self._connection_string = connection_string
        self._account_url = account_url
        self._credential = credential
        self._timeout = timeout
        self._lent = lent
        self._may_remove = False
        """Whether we know that we may remove blobs."""
        self._clients = PerLoop(self, self._new_clients, AzureClients.aclose)
        client = self._new_client(None if callable(credential) else credential)  # checks, and connects nothing
        _check_key(client)
        if self.has_token and client.scheme != "https":
            raise ValueError(f"account_url {account_url!r}: a token is sent over https only")
        self._where = client.primary_hostname
        self._account = account_of(client)
        self._signed = "sig=" in (account_url or "")

    def __reduce__(self) -> tuple[type[Container], tuple[object, ...]]:
        """Pickle without the clients: each process makes its own.

        :raises TypeError: if the user lent a client.
        """
        if self._lent is not None:
            raise TypeError("an Azure client that you lent cannot be pickled: give account_url= instead of client=")
        return Container, (self.name, self._connection_string, self._account_url, self._credential, self._timeout)

    def address(self, folder: str, settings: Mapping[str, object]) -> str:
        """Return the URL of a folder, with these settings and the account.

        :raises Unsupported: if a client was lent.
        """
        if self._lent is not None:
            raise Unsupported.of(None, f"{self} has no URL: a URL cannot have client=")
        known: dict[str, object] = {
            "account_url": self._account,
            **without_defaults({"timeout": self._timeout}, {"timeout": 60}),
        }
        if self.has_token:
            known["identity"] = True
        elif self._connection_string is None and self._credential is None and not self._signed:
            known["anonymous"] = True
        return store_url("azure", self.name, f"/{folder}" if folder else "", {**known, **settings})

    def __str__(self) -> str:
        return f"Azure container {self.name} at {self._where}"

    @property
    def account(self) -> str:
        """The URL of the account."""
        return self._account

    @property
    def has_token(self) -> bool:
        """Whether requests carry tokens of an identity, not a key or a signature."""
        return callable(self._credential) or isinstance(self._credential, AsyncTokenCredential)

    @property
    def service(self) -> BlobServiceClient:
        """This loop's client of the account; only with `has_token`."""
        service = self._clients.get().service
        assert service is not None  # noqa: S101 -- there is one with a token
        return service

    @property
    def client(self) -> ContainerClient:
        """This loop's client of the container."""
        return self._clients.get().client

    def blob(self, path: str, **kept: str) -> BlobClient:
        """Return this loop's client of a blob, or of the `snapshot` or `version_id` of it."""
        return self.client.get_blob_client(path, **kept) if kept else self._clients.get().blob(path)

    async def find(self, name: str, path: str | None = None) -> BlobProperties | None:
        """Return the properties of the blob `name`, `None` if there is none; errors name `path` if it is given."""
        try:
            return await self.ask(name if path is None else path, self.blob(name).get_blob_properties)
        except NotFound:
            return None

    async def remove(self, name: str, path: str | None, **conditions: Any) -> None:
        """Remove the blob `name`; errors name `path`.

        :raises NotFound: if there is none, unless an earlier request, whose answer was lost, may have removed it.
        :raises NotPermitted: if the credentials do not allow it; the message names the permission.
        """
        blob = self.blob(name)
        requests = 0

        async def delete() -> None:
            nonlocal requests
            requests += 1
            await blob.delete_blob(**conditions, **ONCE)

        try:
            await self.ask(path, delete)
        except NotFound:
            if requests == 1:
                raise
        except NotPermitted as error:
            raise NotPermitted.of(path, f"{error.strerror}: removing {_DELETE_PERMISSION}") from error.__cause__
        self._may_remove = True

    async def check_may_remove(self, path: str | None, what: str) -> None:
        """Raise `NotPermitted` if we may not remove blobs; `what` is what would need it.

        It is called before something is created that has to be removed later. The answer comes from removing, once,
        a blob that does not exist: the service looks at permissions first.
        """
        if self._may_remove:
            return
        try:
            await self.ask(path, self.blob(_NEVER_THERE).delete_blob)
        except NotFound:
            pass
        except NotPermitted as error:
            raise NotPermitted.of(path, f"{error.strerror}: {what} {_DELETE_PERMISSION}") from error.__cause__
        self._may_remove = True

    async def ask(
        self,
        path: str | None,
        call: Callable[[], Awaitable[T]],
        *,
        settled: Callable[[], Awaitable[T | None]] | None = None,
        urgent: bool = False,
    ) -> T:
        """Return what `call` returns; call it again after failures that may pass.

        A call that must not happen twice comes with `settled`, which is asked before each new attempt: it returns what
        an earlier attempt, whose answer was lost, would have returned, or `None` if none of them succeeded.

        :raises OSError: as the table of `errors` says.
        :raises ValueError: once the clients are closed.
        """
        deadline = math.inf
        turn = self._clients.get().turns[urgent]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with turn:
                    self._clients.check_open()
                    deadline = min(deadline, clock.monotonic() + self._timeout)
                    return await call()
            except (*FAILURES, RuntimeError) as error:  # the transport raises RuntimeError when it was closed
                self._clients.check_open(error)
                if isinstance(error, RuntimeError):
                    raise
                failure = failed(error, path)
                # A lock is not waited for here: the caller decides that.
                final = not failure.retryable or isinstance(failure, Locked)
                if final or attempt == ATTEMPTS or clock.monotonic() > deadline:
                    raise failure from error
            await asyncio.sleep(clock.up_to(SHORTEST_PAUSE * 2**attempt))
            if settled is not None:
                answer = await settled()
                if answer is not None:
                    return answer
        raise AssertionError("the last attempt returns or raises")

    async def aclose(self) -> None:
        """Close the clients of every loop that has not ended."""
        await self._clients.aclose()

    def _new_clients(self) -> AzureClients:
        if not self.has_token:
            return AzureClients(self._new_client(self._credential), lent=self._lent is not None)
        made = self._credential() if callable(self._credential) else None
        credential: Any = self._credential if made is None else made
        service = BlobServiceClient(str(self._account_url), credential=credential, **self._sdk_settings())
        return AzureClients(self._new_client(credential), service, made)

    def _new_client(self, credential: Any) -> ContainerClient:
        if self._lent is not None:
            return self._lent
        if self._connection_string is not None:
            return ContainerClient.from_connection_string(self._connection_string, self.name, **self._sdk_settings())
        return ContainerClient(str(self._account_url), self.name, credential=credential, **self._sdk_settings())

    def _sdk_settings(self) -> dict[str, Any]:
        """Return settings for a new client of the SDK, with a transport of its own."""
        wire: dict[str, Any] = {
            "connection_timeout": self._timeout,
            "read_timeout": self._timeout * SILENCE,  # so that `ask` has time left to ask again
            "connection_data_block_size": SLICE,
        }
        return {
            # Looking for proxies, and for passwords in netrc, takes two thread hops for each request.
            "transport": AioHttpTransport(use_env_settings=bool(getproxies()), **wire),
            **ONCE,
            "max_single_put_size": PART,
            "max_single_get_size": PART,
            "max_chunk_get_size": PART,
            "max_block_size": PART,
        }


def _check_lent(client: ContainerClient, name: str, credential: Credential | None) -> None:
    if not isinstance(client, ContainerClient):
        raise TypeError(f"client= takes a ContainerClient of azure.storage.blob.aio, not {type(client)!r}")
    if client.container_name != name:
        raise ValueError(f"client= is for the container {client.container_name!r}, not {name!r}")
    if credential is not None:
        raise ValueError("a client that is lent has a credential already: leave out credential=")


def _check_key(client: ContainerClient) -> None:
    """Raise `ValueError` for a key that is not in base64; the SDK would find out only when it signs."""
    key = getattr(client.credential, "account_key", None)
    try:
        base64.b64decode(key or "", validate=True)
    except ValueError:
        raise ValueError("the account's key is not in base64: copy it as Azure shows it") from None


def settings(account_url: str | None, *, anonymous: bool, identity: bool) -> dict[str, Any]:
    """Return `connection_string`, or `account_url` and `credential`, from the environment.

    The variables are those of Azure's own command line, of adlfs and of obstore.

    :raises ValueError: if the environment names no account.
    :raises ImportError: if azure-identity is needed and not installed.
    """
    if anonymous and identity:
        raise ValueError("anonymous= sends no credential, and identity= sends one: leave out either")
    string = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if string and not (anonymous or identity) and (account_url is None or _is_of(string, account_url)):
        return {"connection_string": string}
    if account_url is None:
        account_url = os.environ.get("AZURE_STORAGE_ACCOUNT_URL") or _url_of(_first(_ACCOUNTS))
    if account_url is None:
        known = "AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT_URL or AZURE_STORAGE_ACCOUNT"
        raise ValueError(f"azure URL needs account_url=, or {known} in the environment")
    return {"account_url": account_url, "credential": None if anonymous else _credential(identity)}


def default_identity() -> AsyncTokenCredential:
    """Return azure-identity's default credential.

    :raises ImportError: if azure-identity is not installed.
    """
    made: AsyncTokenCredential = _identity().DefaultAzureCredential()
    return made


def _credential(identity: bool) -> Any:
    given = None if identity else _first(_KEYS) or _first(_SIGNATURES)
    if given is None and (identity or _first(_IDENTITIES)):
        _identity()  # so that a missing package is reported now, not by the first request
        return default_identity
    return given


def account_of(client: ContainerClient) -> str:
    """Return the URL of the account, without a signature."""
    return f"{client.scheme}://{client.primary_hostname}"


def _is_of(connection_string: str, account_url: str) -> bool:
    """Whether the connection string is of the account with this URL."""
    return account_of(ContainerClient.from_connection_string(connection_string, "container")) == account_url.rstrip("/")


def _identity() -> Any:
    try:
        return import_module("azure.identity.aio")
    except ImportError as error:
        raise ImportError("credentials of this environment need azure-identity: pip install azure-identity") from error


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _url_of(account: str | None) -> str | None:
    return None if account is None else f"https://{account}.blob.core.windows.net"


class Signer:
    """Signs URLs of the blobs of one container, and keeps the key that the service gave last."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._key: UserDelegationKey | None = None
        self._expiry = datetime.min.replace(tzinfo=UTC)

    def __reduce__(self) -> tuple[type[Signer], tuple[Container]]:
        """Pickle without the key, which is a secret."""
        return Signer, (self._container,)

    async def url(self, path: str, permission: BlobSasPermissions, seconds: float, **version: Any) -> str | None:
        """Return a URL that permits its bearer something about a blob for so many seconds.

        `version` may be the `snapshot` or `version_id` that is meant. Returns `None` if we have nothing to sign with.

        :raises ValueError: if the service gives no key for so long.
        :raises NotPermitted: if the service gives us no key.
        """
        container = self._container
        client = container.client
        now = clock.now().replace(microsecond=0)
        start, expiry = now - _CLOCK_SKEW, now + timedelta(seconds=seconds)
        key: dict[str, Any] = {"account_key": getattr(client.credential, "account_key", None)}
        if key["account_key"] is None:
            if not container.has_token:
                return None
            key = {"user_delegation_key": await self._delegated(path, start, expiry)}
        signature = generate_blob_sas(
            str(client.account_name),
            container.name,
            path,
            permission=permission,
            start=start,
            expiry=expiry,
            **version,
            **key,
        )
        wanted = "".join(f"{name.replace('_', '')}={quote(value)}&" for name, value in version.items())
        return f"{container.blob(path).url}?{wanted}{signature}"

    async def _delegated(self, path: str, start: datetime, expiry: datetime) -> UserDelegationKey:
        """Return the service's key for signatures that are valid from `start` to `expiry`."""
        if expiry - start > _LONGEST:
            raise ValueError("a URL that is signed without the account's key is valid for 7 days at most")
        if self._key is None or expiry > self._expiry:
            until = min(expiry + _RESERVE, start + _LONGEST)
            service = self._container.service
            try:
                self._key = await self._container.ask(path, lambda: service.get_user_delegation_key(start, until))
            except NotPermitted as error:
                reason = f"{error.strerror}: signing a URL with a token needs the permission generateUserDelegationKey"
                raise NotPermitted.of(path, reason) from error.__cause__
            self._expiry = until
        return self._key
