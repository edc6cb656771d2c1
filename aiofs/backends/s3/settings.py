"""The settings of an S3 store: checks of their values, the credentials and endpoint that they lead to, parameters."""

from __future__ import annotations

import base64
import inspect
import logging
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args
from urllib.parse import urlsplit

from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioCredentials, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.loaders import create_loader

from aiofs.driver import MIB
from aiofs.errors import AccessDenied, Unsupported
from aiofs.kit import store_url
from aiofs.partials import DAYS
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from datetime import datetime

Checksum = Literal["crc32", "sha1", "sha256"]
Locking = Literal["lease", "commit"]
Addressing = Literal["auto", "path", "virtual"]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]
SMALLEST_PART, LARGEST_PART = 5 * MIB, 5 * 1024 * MIB
CUSTOMER_KEY = 32
_DIRECTORY_BUCKET = "--x-s3"  # how all their names end, and no others
_UNSAID = frozenset(
    (
        "bucket",
        "prefix",
        "access_key",
        "secret_key",
        "session_token",
        "credentials",
        "session",
        "client",
        "customer_key",
    )
)
"""The settings that no parameter of a URL says."""
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""The environment variables that may name the endpoint, in the order of their rank."""
OWN = "aiofs"
"""The name under which the SDK knows credentials that `credentials=` returned."""
_SDK = ("aiobotocore", "botocore")
_NEW = ("put_object", "create_multipart_upload", "copy_object")
_COPIES = ("copy_object", "upload_part_copy")
_WITH_KEY = (*_NEW, "get_object", "head_object", "upload_part", "upload_part_copy")
_PAID = (
    *_WITH_KEY,
    "abort_multipart_upload",
    "complete_multipart_upload",
    "delete_object",
    "delete_objects",
    "get_object_tagging",
    "list_multipart_uploads",
    "list_object_versions",
    "list_objects_v2",
    "list_parts",
)


_REACHED_WITH = (
    *("endpoint_url", "access_key", "secret_key", "session_token", "profile", "role_arn", "external_id", "credentials"),
    *("session", "client", "anonymous", "region", "requester_pays", "customer_key"),
)
"""The settings that must be the same in two stores if one is to copy from the other by itself."""


class S3Keys(TypedDict, total=False):
    """What a callable for `credentials=` returns."""

    access_key: str
    secret_key: str
    session_token: str | None
    expires: datetime | None
    """When they expire: the callable is called again before that. Without it, the callable is called once."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a store. Its `repr` shows no credentials."""

    bucket: str
    prefix: str = ""
    """The beginning of all keys: `""`, or a folder with its `/`."""
    endpoint_url: str | None = None
    """The URL of the store. By default, the one that AWS's own tools find in their settings; AWS if they find none."""
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    """The name of a profile in AWS's own files, which may also set the endpoint and the region."""
    role_arn: str | None = None
    """A role to assume. The other settings give the credentials that ask for it."""
    role_session_name: str = "aiofs"
    external_id: str | None = None
    """The external id that the owner of the role demands, if the role belongs to another account."""
    credentials: Callable[[], S3Keys | Awaitable[S3Keys]] | None = field(default=None, repr=False)
    """A function, which may be asynchronous, that returns fresh credentials."""
    session: Any = field(default=None, repr=False)
    """A session of aiobotocore that the caller lends: its credentials and settings are used."""
    client: Any = field(default=None, repr=False)
    """A client of aiobotocore that the caller lends: it makes all requests, and is never closed here."""
    anonymous: bool = False
    """Whether requests are sent without a signature."""
    region: str | None = None
    requester_pays: bool = False
    """Whether to agree to pay for requests to somebody else's bucket."""
    encryption: Encryption | None = None
    """How the store encrypts new files. By default, as the bucket's own setting says."""
    kms_key: str | None = None
    """The KMS key that encrypts them."""
    customer_key: bytes | None = field(default=None, repr=False)
    """32 bytes with which the store encrypts and decrypts everything. The store does not keep them."""
    addressing: Addressing | None = None
    """Whether the bucket's name is in a URL's path or host. By default as AWS wants it, and elsewhere in the path."""
    ca_bundle: str | None = None
    """A file of certificates that are trusted in place of the usual ones."""
    locking: Locking = "lease"
    lease: float = 30.0
    """For how many seconds a lock is granted before it must be renewed."""
    part_size: int = 8 * MIB
    parallel: int = 4
    """How many parts of one file are uploaded at the same time."""
    page_size: int = 1000
    content_type: str | None = None
    """The content type of new files that are written without one. By default, it is guessed from the name."""
    storage_class: str | None = None
    checksum: Checksum | None = None
    """The checksum that the store checks uploads with, in addition to the hash in the signature."""
    timeout: float = 30.0
    """After how many seconds without a byte a request fails."""
    attempts: int = 6
    """How often a request is tried whose failures are temporary."""
    direct: bool = True
    """Whether simple requests are signed and sent by this package, without the SDK, which is faster."""
    keep_partial: float = DAYS
    """For how many days a sweep leaves a partial write alone."""

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ValueError(f"bucket {self.bucket!r}: a bucket's name has 1 to 255 letters, digits, '.', '_' and '-'")
        if self.bucket.endswith(_DIRECTORY_BUCKET):
            raise ValueError(
                f"bucket {self.bucket!r}: directory buckets (S3 Express One Zone) are not supported: their listings "
                "have no order, and no prefix that ends within a name"
            )
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url, "endpoint_url")
        self._check_credentials()
        self.check_encryption(self.endpoint_url)
        self._check_headers()
        if self.part_size < SMALLEST_PART:
            raise ValueError(f"part_size {self.part_size}: a part in S3 has at least {SMALLEST_PART} bytes")
        if self.part_size > LARGEST_PART:
            raise ValueError(f"part_size {self.part_size}: a part in S3 has at most {LARGEST_PART} bytes")
        self._check_choices()
        self._check_numbers()

    def _check_credentials(self) -> None:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together: give both")
        sources = ("access_key", "profile", "credentials", "session", "client")
        given = [f"{name}=" for name in sources if getattr(self, name) is not None]
        given += ["anonymous="] if self.anonymous else []
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of them")
        if self.role_arn is not None and (self.anonymous or self.client is not None):
            raise ValueError(f"role_arn= needs credentials to ask for the role with, not {given[0]}")

    def check_encryption(self, endpoint: str | None) -> None:
        """Raise `ValueError` if settings of encryption contradict each other, or cannot be used with this endpoint."""
        if self.kms_key is not None and self.encryption not in {"aws:kms", "aws:kms:dsse"}:
            raise ValueError("kms_key= goes with encryption='aws:kms' or 'aws:kms:dsse'")
        if self.customer_key is None:
            return
        if not isinstance(self.customer_key, bytes) or len(self.customer_key) != CUSTOMER_KEY:
            raise ValueError(f"customer_key= must be {CUSTOMER_KEY} bytes")  # the message must not show the key
        if self.encryption is not None:
            raise ValueError("customer_key= and encryption= exclude each other")
        where = urlsplit(endpoint or "https://aws")
        if where.scheme != "https" and where.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError(
                "customer_key= needs an https endpoint_url: over http, everybody on the way could read the key"
            )

    def _check_headers(self) -> None:
        for name in ("content_type", "storage_class", "kms_key"):
            value = getattr(self, name)
            if value is not None and not (value.isascii() and value.isprintable() and value == value.strip()):
                raise ValueError(f"{name} {value!r}: give printable ASCII characters, without space around them")

    def _check_choices(self) -> None:
        kinds = {"locking": Locking, "addressing": Addressing, "checksum": Checksum, "encryption": Encryption}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and value not in get_args(kind):
                raise ValueError(f"{name} {value!r}: use {' or '.join(map(repr, get_args(kind)))}")

    def _check_numbers(self) -> None:
        for name in ("lease", "timeout", "keep_partial"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be greater than 0, not {value!r}")
        for name in ("parallel", "page_size", "attempts"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number, at least 1, not {value!r}")

    @property
    def place(self) -> str:
        """The endpoint, bucket and prefix, which no other store has."""
        return f"{self.endpoint_url or ''} {self}"

    def address(self, folder: str, locks: str | None) -> str:
        """Return the URL of a folder, without credentials.

        :raises Unsupported: if something was lent, or files need a key that no environment has.
        """
        lent = [name for name in ("session", "client", "customer_key") if getattr(self, name) is not None]
        if lent:
            raise Unsupported.of(None, f"{self} has no URL: a URL cannot have {lent[0]}=")
        own = {each.name: (getattr(self, each.name), each.default) for each in fields(self) if each.name not in _UNSAID}
        settings = {name: value for name, (value, usual) in own.items() if value != usual}
        return store_url("s3", self.bucket, f"/{self.prefix}{folder}".removesuffix("/"), {**settings, "locks": locks})

    @property
    def reached(self) -> tuple[object, ...]:
        """What says which bucket this is. A lent client is known by itself."""
        return (self.endpoint_url, self.profile, self.session, self.client, self.bucket)

    def reaches(self, other: Settings) -> bool:
        """Whether the other one's files can be read with these credentials, by the store itself."""
        return self.customer_key is None and all(getattr(self, name) == getattr(other, name) for name in _REACHED_WITH)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def check_endpoint(url: str, name: str) -> str:
    """Return the URL of an endpoint, which the setting or variable `name` holds.

    :raises ValueError: if it is not a URL, or contains credentials, which would appear in messages.
    """
    where = urlsplit(url)
    if "@" in where.netloc:
        raise ValueError(f"{name} must hold no credentials; pass access_key= and secret_key=")
    if where.scheme not in {"http", "https"} or not where.hostname:
        raise ValueError(f"{name} {url!r}: give http://host:port or https://host")
    return url


def configured_endpoint(session: Any) -> str | None:
    """Return the endpoint that a session of the SDK uses if none is given; `None` for AWS's own.

    The rules are those of all of AWS's tools: first the environment, then the section of services that the profile
    names, then the profile itself; none of them if `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` is true. A store that is
    configured there may be another than AWS, so its promises are probed like those of one that is given.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    for name in ENDPOINT_VARIABLES:
        if url := os.environ.get(name):
            return check_endpoint(url, name)
    profile: Mapping[str, Any] = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    for section, name in (
        (services.get("s3", {}), "endpoint_url of s3 in the profile's services"),
        (profile, "endpoint_url of the profile"),
    ):
        if url := section.get("endpoint_url"):
            return check_endpoint(url, name)
    return None


def endpoint_of(client: Any) -> str | None:
    """Return the URL to which a client that was lent sends its requests; `None` for AWS."""
    url: str = client.meta.endpoint_url
    host = urlsplit(url).hostname or ""
    return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else url


async def session_for(settings: Settings) -> Any:
    """Return the session whose credentials and settings the client uses.

    :raises AccessDenied: if there are no credentials.
    """
    session = settings.session or await hop(_session, settings)
    if settings.anonymous:
        return session
    if settings.credentials is not None:
        session._credentials = await _given(settings)  # noqa: SLF001 -- set_credentials() takes no expiring ones
    # This may need the network. It is done here, where a failure is reported as one; later calls are answered at once.
    found = await session.get_credentials()
    if found is None:
        raise AccessDenied.of(settings.bucket, "no credentials: set them in the environment, or pass access_key=")
    if settings.role_arn is not None:
        return await _with_role(session, found, settings)
    return session


def _session(settings: Settings) -> AioSession:
    """Make a session, which reads AWS's own settings."""
    session = AioSession(profile=settings.profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    if settings.access_key is not None:
        session.set_credentials(settings.access_key, settings.secret_key, settings.session_token)
    return session


@cache
def _loader(data_path: str | None) -> Any:
    """Return the loader of the SDK's models, one for all sessions: they have a megabyte, which is then read once."""
    return create_loader(data_path)


async def _with_role(asking: Any, credentials: Any, settings: Settings) -> AioSession:
    """Return a session with the credentials of the role, which are asked for again before they expire."""
    extra = {"RoleSessionName": settings.role_session_name}
    if settings.external_id is not None:
        extra["ExternalId"] = settings.external_id

    def client(service: str, **keys: Any) -> Any:
        region = settings.region or asking.get_config_variable("region") or "us-east-1"
        return asking.create_client(service, region_name=region, verify=settings.ca_bundle, **keys)

    fetcher = AioAssumeRoleCredentialFetcher(client, credentials, settings.role_arn, extra_args=extra)
    session: AioSession = await hop(_session, settings)
    session._credentials = AioDeferredRefreshableCredentials(  # noqa: SLF001 -- set_credentials() takes no expiring ones
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    return session


async def _given(settings: Settings) -> Any:
    """Return the credentials from `credentials=`, which is called again when they are about to expire."""
    first = await _ask(settings)
    if first["expiry_time"] is None:
        return AioCredentials(first["access_key"], first["secret_key"], first["token"], method=OWN)
    kept: list[dict[str, Any]] = [first]

    async def fresh() -> dict[str, Any]:
        return kept.pop() if kept else await _ask(settings)

    return AioDeferredRefreshableCredentials(method=OWN, refresh_using=fresh)


async def _ask(settings: Settings) -> dict[str, Any]:
    """Call `credentials=` and return its result in the form that the SDK takes.

    :raises TypeError: if the result is not credentials; the message does not show it.
    """
    assert settings.credentials is not None  # noqa: S101 -- checked by the caller
    keys: Any = settings.credentials()
    if inspect.isawaitable(keys):
        keys = await keys
    try:
        return _as_sdk(keys)
    except (AttributeError, KeyError, TypeError):
        raise TypeError(
            "credentials= must return a dict with access_key and secret_key, and expires if they expire"
        ) from None


def _as_sdk(keys: Mapping[str, Any]) -> dict[str, Any]:
    expires = keys.get("expires")
    return {
        "access_key": keys["access_key"],
        "secret_key": keys["secret_key"],
        "token": keys.get("session_token"),
        "expiry_time": expires if expires is None else expires.isoformat(),
    }


class _KeyFilter(logging.Filter):
    """Replaces a key in messages: at the level DEBUG the SDK logs the headers of its requests."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._shown = (base64.b64encode(key).decode(), repr(key))

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if any(shown in message for shown in self._shown):
            for shown in self._shown:
                message = message.replace(shown, "***")
            record.msg, record.args = message, ()
        return True


@contextmanager
def hide_key(key: bytes) -> Iterator[None]:
    """Keep `key` out of the SDK's log while the context lasts."""
    key_filter = _KeyFilter(key)
    loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith(_SDK)]
    for logger in loggers:
        logger.addFilter(key_filter)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(key_filter)


def default_parameters(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the parameters that the settings add to all requests, by operation."""
    added: dict[str, dict[str, Any]] = {operation: {} for operation in _PAID}
    if settings.requester_pays:
        for operation in _PAID:
            added[operation]["RequestPayer"] = "requester"
    if settings.encryption is not None:
        for operation in _NEW:
            added[operation]["ServerSideEncryption"] = settings.encryption
            if settings.kms_key is not None:
                added[operation]["SSEKMSKeyId"] = settings.kms_key
    if settings.customer_key is not None:
        for operation in _WITH_KEY:
            added[operation].update(SSECustomerAlgorithm="AES256", SSECustomerKey=settings.customer_key)
        for operation in _COPIES:
            added[operation].update(
                CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=settings.customer_key
            )
    return added
