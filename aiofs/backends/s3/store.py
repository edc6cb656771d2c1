"""One bucket and prefix: its names, its requests, and how it treats conditions. All parts of this room share it."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeVar

from aiofs.backends.s3.client import Clients
from aiofs.backends.s3.errors import refused
from aiofs.backends.s3.facts import Facts, read_facts
from aiofs.backends.s3.probe import AWS, STALE, Traits, probe
from aiofs.backends.s3.requests import Direct, Sdk
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, Conflict, NotFound, StoreMissing, Unsupported
from aiofs.kit import each, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aiofs.backends.s3.settings import Settings

T = TypeVar("T")
PAGE = 1000
"""How many objects one request removes at most."""
LOOKED_AT_ONCE = 32
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

    async def check_present(self, paths: Sequence[str]) -> None:
        """Raise `NotFound` naming the first path that is not there."""
        for batch in batches(paths, LOOKED_AT_ONCE):
            await together(map(self.facts, batch))

    async def check_may_remove(self, path: str, what: str) -> None:
        """Raise `AccessDenied` if we may not remove objects; `what` says who needs to.

        It is tried once, by a removal with a condition that the store refuses in any case. A store that does not check
        conditions of removals cannot be asked like this, and the next removal fails instead.
        """
        if self.may_remove:
            return
        traits = await self.traits(path)
        if traits.deletes:
            with suppress(Conflict, NotFound):
                await self.calls.send("delete_object", path, Key=self.key(path), **traits.same(STALE))
            self.may_remove = True
        elif traits.deletes is None:
            raise AccessDenied.of(path, f"{what} needs the permission s3:DeleteObject")

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects, whether they are there or not."""
        # XML has no control characters, so keys that hold some go one by one; so does a key that is alone.
        plain = [path for path in paths if self.key(path).isprintable()] if len(paths) > 1 else []
        odd = [path for path in paths if not self.key(path).isprintable()] if plain else paths
        await each(odd, lambda path: self.calls.send("delete_object", path, Key=self.key(path)))
        for page in batches(plain, PAGE):
            named = {self.key(path): path for path in page}
            objects = {"Objects": [{"Key": key} for key in named]}  # not quiet: no answer looks like an empty one then
            answer = await self.calls.send("delete_objects", page[0], Delete=objects)
            for error in answer.parsed.get("Errors", ()):
                if error.get("Code") != "NoSuchKey":
                    raise refused(0, error, named.get(error.get("Key", ""), page[0]), "delete_objects")

    async def remove_version(self, path: str, match: str, *, missing_ok: bool) -> None:
        """Remove an object if it is the version `match`.

        The version is looked at first, and the store compares it again if it can.

        :raises Conflict: if it is another version.
        :raises NotFound: if there is none, unless `missing_ok`.
        """
        facts = await self.look(path)
        if facts is None and missing_ok:
            return
        if facts is None and match != ABSENT:
            raise NotFound.of(path)
        if facts is None or facts.version != match:
            raise Conflict.of(path, "the file was changed meanwhile; it was not removed")
        condition = (await self.traits(path)).same(match)
        try:
            await self.calls.send("delete_object", path, Key=self.key(path), **condition)
        except Conflict:
            if await self.look(path) is not None:
                raise
            if not missing_ok:  # some stores call that another version
                raise NotFound.of(path) from None
        except Unsupported:
            await self.calls.send("delete_object", path, Key=self.key(path))

    async def _check_bucket(self, path: str) -> None:
        if not self._bucket_seen:
            try:
                await self.calls.send("head_bucket", path)
            except NotFound as error:
                raise StoreMissing.of(path, f"there is no bucket {self.settings.bucket!r}") from error
            self._bucket_seen = True


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of up to `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
