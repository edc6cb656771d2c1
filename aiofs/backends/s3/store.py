"""One bucket and prefix: its names, its requests, and how it treats conditions. All parts of this room share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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
_PROBED: dict[tuple[str, str], Traits] = {}
"""By endpoint and bucket, as versioning changes what some stores promise; for all file systems of this process."""
_UNORDERED: set[tuple[str | None, str]] = set()
"""Where names were found to be listed in another order than that of their bytes."""


class Store:
    """What the parts of this room know about the bucket together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients: Clients = Clients(settings)
        self.calls: Sdk = (Direct if settings.direct else Sdk)(self.clients, settings)
        self.may_remove: bool | None = None
        """Whether we may remove objects; `None` until one was removed, or that was refused."""
        self.may_remove_versions = True
        """Whether old versions may be removed by us: until that is refused."""
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

    async def traits(self, path: str) -> Traits:
        """Return how this bucket treats conditions, which was tried before; AWS is known.

        :raises OSError: about `path`, if the store did not answer clearly; then it is asked again next time.
        """
        held = await self.clients.held()
        if held.endpoint is None:
            return AWS
        place = (held.endpoint, self.settings.bucket)
        if place not in _PROBED:
            async with held.lock:
                if place not in _PROBED:
                    _PROBED[place] = await probe(self.calls, self.key(LOCKS), path)
        return _PROBED[place]

    def forget(self, traits: Traits) -> None:
        """Have the bucket tried again: it is set up otherwise than when that was found out."""
        for place in [place for place, known in _PROBED.items() if known is traits]:
            del _PROBED[place]

    async def ordered(self) -> bool | None:
        """Return whether the store lists names by their bytes; `None` if nobody has found out."""
        place = ((await self.clients.held()).endpoint, self.settings.bucket)
        if place in _UNORDERED:
            return False
        if place[0] is None:
            return True
        traits = _PROBED.get((place[0], place[1]))
        return None if traits is None else traits.ordered

    async def unordered(self) -> Literal[False]:
        """Remember that the store lists names in another order."""
        _UNORDERED.add(((await self.clients.held()).endpoint, self.settings.bucket))
        return False

    async def _check_bucket(self, path: str) -> None:
        if not self._bucket_seen:
            try:
                await self.calls.send("head_bucket", path)
            except NotFound as error:
                raise StoreMissing.of(path, f"there is no bucket {self.settings.bucket!r}") from error
            self._bucket_seen = True
