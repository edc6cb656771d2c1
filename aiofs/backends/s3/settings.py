"""The settings of an S3 store, and the checks of their values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args
from urllib.parse import urlsplit

from aiofs.driver import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

Checksum = Literal["crc32", "sha1", "sha256"]
Locking = Literal["lease", "commit"]
Addressing = Literal["auto", "path", "virtual"]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]
SMALLEST_PART, LARGEST_PART = 5 * MIB, 5 * 1024 * MIB
CUSTOMER_KEY = 32
_DIRECTORY_BUCKET = "--x-s3"  # how all their names end, and no others
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")


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
        for name in ("lease", "timeout"):
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
