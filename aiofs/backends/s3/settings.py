"""What can be set about an S3 store."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, TypedDict, get_args
from urllib.parse import urlsplit

from aiofs.driver import MIB

Checksum = Literal["crc32", "sha1", "sha256"]
Locking = Literal["lease", "commit"]
Addressing = Literal["auto", "path", "virtual"]
SMALLEST_PART, LARGEST_PART = 5 * MIB, 5 * 1024 * MIB
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")


class S3Options(TypedDict, total=False):
    """The settings that few need, as `S3FileSystem` takes them; `Settings` tells what they mean."""

    session_token: str
    addressing: Addressing
    ca_bundle: str
    locking: Locking
    lease: float
    part_size: int
    parallel: int
    page_size: int
    content_type: str
    storage_class: str
    checksum: Checksum
    timeout: float
    attempts: int
    direct: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a store; credentials are left out of its `repr`."""

    bucket: str
    prefix: str = ""
    """What all keys begin with: `""`, or a folder with its `/`."""
    endpoint_url: str | None = None
    """Where the store is, if it is not AWS."""
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
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
        endpoint = urlsplit(self.endpoint_url or "https://aws")
        if "@" in endpoint.netloc:
            raise ValueError("endpoint_url must hold no credentials; pass access_key= and secret_key=")
        if endpoint.scheme not in {"http", "https"} or not endpoint.hostname:
            raise ValueError(f"endpoint_url {self.endpoint_url!r}: give http://host:port or https://host")
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key go together")
        if self.part_size < SMALLEST_PART:
            raise ValueError(f"part_size {self.part_size}: S3 takes no parts below {SMALLEST_PART} bytes")
        if self.part_size > LARGEST_PART:
            raise ValueError(f"part_size {self.part_size}: S3 takes no parts above {LARGEST_PART} bytes")
        self._check_choices()
        self._check_numbers()

    def _check_choices(self) -> None:
        for name, kind in {"locking": Locking, "addressing": Addressing, "checksum": Checksum}.items():
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
