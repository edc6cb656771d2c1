"""One bucket and prefix: its names, its requests, and how it treats conditions. All parts of this room share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiofs.backends.s3.calls import Sdk
from aiofs.backends.s3.clients import Clients
from aiofs.backends.s3.direct import Direct
from aiofs.backends.s3.facts import Facts, read_facts
from aiofs.backends.s3.probe import AWS, Traits, probe
from aiofs.errors import NotFound, StoreMissing

if TYPE_CHECKING:
    from aiofs.backends.s3.settings import Settings

LOCKS = ".aiofs-locks/"
"""Where lock objects are, below the prefix; no listing shows them."""
LONGEST_KEY = 1024
_PROBED: dict[str, Traits] = {}  # by endpoint: what was found out once holds for all file systems of this process


class Store:
    """What the parts of this room know about the bucket together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients: Clients = Clients(settings)
        self.calls: Sdk = (Direct if settings.direct else Sdk)(self.clients, settings)
        self._bucket_seen = False

    def key(self, path: str) -> str:
        """Return the key of a path."""
        return self.settings.prefix + path

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a path whose key is too long."""
        length = len(self.key(path).encode())
        if length > LONGEST_KEY:
            raise ValueError(f"path {path!r}: its key has {length} bytes, and S3 takes {LONGEST_KEY}")

    async def facts(self, path: str, version_id: str | None = None) -> Facts:
        """Ask for the facts of an object, or of an old version of it.

        :raises NotFound: if there is none.
        :raises StoreMissing: if there is not even the bucket, which an answer without a body does not tell.
        """
        kept = {} if version_id is None else {"VersionId": version_id}
        try:
            answer = await self.calls.send("head_object", path, Key=self.key(path), **kept)
        except NotFound:
            await self._check_bucket(path)
            raise
        return read_facts(answer.headers, hashed=self.hashed)

    @property
    def hashed(self) -> bool:
        """Whether an ETag of 32 digits is the MD5 of the bytes: not in directory buckets."""
        return not self.settings.bucket.endswith("--x-s3")

    async def tags(self, path: str, version_id: str | None = None) -> dict[str, str]:
        """Ask for an object's tags."""
        kept = {} if version_id is None else {"VersionId": version_id}
        answer = await self.calls.send("get_object_tagging", path, Key=self.key(path), **kept)
        return {tag["Key"]: tag["Value"] for tag in answer.parsed.get("TagSet", ())}

    async def look(self, path: str) -> Facts | None:
        """Ask for an object's facts; `None` if there is none."""
        try:
            return await self.facts(path)
        except NotFound:
            return None

    async def traits(self) -> Traits:
        """Return how the store treats conditions, found out once; AWS is known."""
        endpoint = self.settings.endpoint_url
        if endpoint is None:
            return AWS
        if endpoint not in _PROBED:
            async with (await self.clients.held()).lock:
                if endpoint not in _PROBED:
                    _PROBED[endpoint] = await probe(self.calls, self.key(LOCKS))
        return _PROBED[endpoint]

    async def _check_bucket(self, path: str) -> None:
        if not self._bucket_seen:
            try:
                await self.calls.send("head_bucket", path)
            except NotFound as error:
                raise StoreMissing.of(path, f"there is no bucket {self.settings.bucket!r}") from error
            self._bucket_seen = True
