"""What can be set about an S3 store."""

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
    """When they stop to be good: the callable is asked again before. Without it, it is asked once."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a store; credentials are left out of its `repr`."""

    bucket: str
    prefix: str = ""
    """What all keys begin with: `""`, or a folder with its `/`."""
    endpoint_url: str | None = None
    """Where the store is; by default where AWS's own tools find it configured, and AWS where they find nothing."""
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    """The name of a profile in AWS's own files, which may tell the endpoint and region as well."""
    role_arn: str | None = None
    """A role to assume, asked for with the credentials that are found otherwise."""
    role_session_name: str = "aiofs"
    external_id: str | None = None
    """What the role's owner wants to hear, where it belongs to another account."""
    credentials: Callable[[], S3Keys | Awaitable[S3Keys]] | None = field(default=None, repr=False)
    """What gives fresh credentials, at once or awaited."""
    session: Any = field(default=None, repr=False)
    """A session of aiobotocore's, lent: its credentials and settings are used."""
    client: Any = field(default=None, repr=False)
    """A client of aiobotocore's, lent: it makes all requests, and is never closed."""
    anonymous: bool = False
    """Whether requests are not signed."""
    region: str | None = None
    requester_pays: bool = False
    """Whether to agree to pay for requests to the bucket of somebody else."""
    encryption: Encryption | None = None
    """How the store is to encrypt new files, if not as the bucket says."""
    kms_key: str | None = None
    """The key for that."""
    customer_key: bytes | None = field(default=None, repr=False)
    """32 bytes by which the store is to encrypt and decrypt all, and which it does not keep."""
    addressing: Addressing | None = None
    """Whether the bucket goes into the path or the host name; by default as AWS does, elsewhere into the path."""
    ca_bundle: str | None = None
    """A file of certificates to trust in place of the usual ones."""
    locking: Locking = "lease"
    lease: float = 30.0
    """For how many seconds a lock is granted at a time."""
    part_size: int = 8 * MIB
    parallel: int = 4
    """How many parts of one file are on their way at the same time."""
    page_size: int = 1000
    content_type: str | None = None
    """The content type of new files, where their metadata says none; by default guessed from the name."""
    storage_class: str | None = None
    checksum: Checksum | None = None
    """What the store is to check uploads against, beside the hash of the body that signatures carry."""
    timeout: float = 30.0
    """For how many seconds a connection may be silent."""
    attempts: int = 6
    """How often a request is tried that failed for a moment."""
    direct: bool = True
    """Whether plain requests are sent without the SDK."""

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ValueError(f"bucket {self.bucket!r}: no bucket has such a name")
        if self.bucket.endswith(_DIRECTORY_BUCKET):
            raise ValueError(
                f"bucket {self.bucket!r}: directory buckets (S3 Express One Zone) are not supported: they list without "
                "order and know no prefix within a name"
            )
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url, "endpoint_url")
        self._check_credentials()
        self.check_encryption(self.endpoint_url)
        self._check_headers()
        if self.part_size < SMALLEST_PART:
            raise ValueError(f"part_size {self.part_size}: S3 takes no parts below {SMALLEST_PART} bytes")
        if self.part_size > LARGEST_PART:
            raise ValueError(f"part_size {self.part_size}: S3 takes no parts above {LARGEST_PART} bytes")
        self._check_choices()
        self._check_numbers()

    def _check_credentials(self) -> None:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together")
        sources = ("access_key", "profile", "credentials", "session", "client")
        given = [f"{name}=" for name in sources if getattr(self, name) is not None]
        given += ["anonymous="] if self.anonymous else []
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one of them")
        if self.role_arn is not None and (self.anonymous or self.client is not None):
            raise ValueError(f"role_arn= needs credentials to ask for the role with, not {given[0]}")

    def check_encryption(self, endpoint: str | None) -> None:
        """Raise `ValueError` for settings of encryption that do not go together, or not with this endpoint."""
        if self.kms_key is not None and self.encryption not in {"aws:kms", "aws:kms:dsse"}:
            raise ValueError("kms_key= goes with encryption='aws:kms' or 'aws:kms:dsse'")
        if self.customer_key is None:
            return
        if not isinstance(self.customer_key, bytes) or len(self.customer_key) != CUSTOMER_KEY:
            raise ValueError(f"customer_key= must be {CUSTOMER_KEY} bytes")  # which are not repeated here
        if self.encryption is not None:
            raise ValueError("customer_key= and encryption= exclude each other")
        where = urlsplit(endpoint or "https://aws")
        if where.scheme != "https" and where.hostname not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("customer_key= goes with an https endpoint_url only: everybody on the way could read it")

    def _check_headers(self) -> None:
        for name in ("content_type", "storage_class", "kms_key"):
            value = getattr(self, name)
            if value is not None and not (value.isascii() and value.isprintable() and value == value.strip()):
                raise ValueError(f"{name} {value!r}: only printable ASCII characters, without space around them")

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
                raise ValueError(f"{name} {value!r}: it must be more than nothing")
        for name in ("parallel", "page_size", "attempts"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} {value!r}: it must be a whole number, 1 at least")

    @property
    def place(self) -> str:
        """What tells this bucket and prefix from those of other servers."""
        return f"{self.endpoint_url or ''} {self}"

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def check_endpoint(url: str, name: str) -> str:
    """Return the URL that a setting or a variable called `name` holds.

    :raises ValueError: if it is none, or holds credentials, which would be seen in messages.
    """
    where = urlsplit(url)
    if "@" in where.netloc:
        raise ValueError(f"{name} must hold no credentials; pass access_key= and secret_key=")
    if where.scheme not in {"http", "https"} or not where.hostname:
        raise ValueError(f"{name} {url!r}: give http://host:port or https://host")
    return url
