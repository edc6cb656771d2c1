"""Store: one bucket and prefix, with its keys, its objects, and what it promises. All modules here share it."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from urllib.parse import unquote_plus

from aiofs import clock
from aiofs.backends.s3.client import DirectRequests, S3Clients, SdkRequests
from aiofs.backends.s3.errors import NoSuchUpload, refused
from aiofs.backends.s3.facts import AWS, ObjectFacts, Traits, read_facts, version_parameter
from aiofs.backends.s3.probe import NAME, STALE, probe
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, AiofsError, Conflict, NotFound, StoreMissing, Unsupported
from aiofs.kit import each, together
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aiofs.backends.s3.settings import Settings

T = TypeVar("T")
PAGE = 1000
"""How many objects one request removes at most."""
LOOKED_AT_ONCE = 32
LOCKS = ".aiofs-locks/"
"""The folder of the lock objects, below the prefix. Listings do not show it."""
_PROBED: dict[tuple[str, str], Traits] = {}
"""What was probed, by endpoint and bucket, as versioning changes what some stores promise. One for this process."""
_UNORDERED: set[tuple[str | None, str]] = set()
"""The endpoints and buckets that were seen to list names in another order than that of their bytes."""


class Store:
    """One bucket and prefix."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clients: S3Clients = S3Clients(settings)
        self.requests: SdkRequests = (DirectRequests if settings.direct else SdkRequests)(self.clients, settings)
        self.may_remove: bool | None = None
        """Whether we may remove objects; `None` until a removal has succeeded or was refused."""
        self.may_remove_versions = True
        """Whether we may remove old versions; true until a removal is refused."""
        self._bucket_seen = False

    def key(self, path: str) -> str:
        """Return the key of a path."""
        return self.settings.prefix + path

    async def facts(self, path: str, version_id: str | None = None) -> ObjectFacts:
        """Return the facts of an object, or of an old version of it, by HEAD.

        :raises NotFound: if there is none.
        :raises StoreMissing: if there is no bucket. The answer has no body that says so, so the bucket is looked up.
        """
        try:
            answer = await self.requests.send("head_object", path, Key=self.key(path), **version_parameter(version_id))
        except NotFound:
            await self._check_bucket(path)
            raise
        return read_facts(answer.headers)

    async def tags(self, path: str, version_id: str | None = None) -> dict[str, str]:
        """Return the tags of an object."""
        answer = await self.requests.send(
            "get_object_tagging", path, Key=self.key(path), **version_parameter(version_id)
        )
        return {tag["Key"]: tag["Value"] for tag in answer.parsed.get("TagSet", ())}

    async def look(self, path: str) -> ObjectFacts | None:
        """Return the facts of an object; `None` if there is none."""
        try:
            return await self.facts(path)
        except NotFound:
            return None

    async def has_upload(self, path: str | None, key: str, upload: str) -> bool:
        """Return whether a multipart upload to `key` was neither completed nor aborted; `path` is used in errors."""
        try:
            await self.requests.send("list_parts", path, Key=key, UploadId=upload, MaxParts=1)
        except (NoSuchUpload, NotFound):
            return False
        return True

    async def traits(self, path: str) -> Traits:
        """Return how this bucket treats conditions. The first call probes it, unless it is on AWS.

        :raises OSError: about `path`, if the store did not answer clearly. Then the next call probes it again.
        """
        current = await self.clients.current()
        if current.endpoint is None:
            return AWS
        place = (current.endpoint, self.settings.bucket)
        if place not in _PROBED:
            async with current.lock:
                if place not in _PROBED:
                    _PROBED[place] = await probe(self.requests, self.key(LOCKS), path)
        return _PROBED[place]

    async def probed(self) -> Traits:
        """Probe this bucket anew, also on AWS, and return how it treats conditions."""
        current = await self.clients.current()
        async with current.lock:
            traits = await probe(self.requests, self.key(LOCKS), None)
        if current.endpoint is not None:
            _PROBED[current.endpoint, self.settings.bucket] = traits
        return traits

    def forget(self, traits: Traits) -> None:
        """Forget what was probed, as the bucket's settings have changed since."""
        for place in [place for place, known in _PROBED.items() if known is traits]:
            del _PROBED[place]

    async def ordered(self) -> bool | None:
        """Return whether the store lists names in the order of their bytes; `None` if that is not known."""
        place = ((await self.clients.current()).endpoint, self.settings.bucket)
        if place in _UNORDERED:
            return False
        if place[0] is None:
            return True
        traits = _PROBED.get((place[0], place[1]))
        return None if traits is None else traits.ordered

    async def mark_unordered(self) -> Literal[False]:
        """Remember that the store lists names in another order, and return false."""
        _UNORDERED.add(((await self.clients.current()).endpoint, self.settings.bucket))
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
                await self.requests.send("delete_object", path, Key=self.key(path), **traits.same(STALE))
            self.may_remove = True
        elif traits.deletes is None:
            raise AccessDenied.of(path, f"{what} needs the permission s3:DeleteObject")

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects. Those that are not there are no failure."""
        # XML cannot contain control characters, so keys that have some are removed one by one; so is a single key.
        plain = [path for path in paths if self.key(path).isprintable()] if len(paths) > 1 else []
        odd = [path for path in paths if not self.key(path).isprintable()] if plain else paths
        await each(odd, lambda path: self.requests.send("delete_object", path, Key=self.key(path)))
        for page in batches(plain, PAGE):
            named = {self.key(path): path for path in page}
            objects = {"Objects": [{"Key": key} for key in named]}  # not quiet, so that an empty answer proves nothing
            answer = await self.requests.send("delete_objects", page[0], Delete=objects)
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
            await self.requests.send("delete_object", path, Key=self.key(path), **condition)
        except Conflict:
            if await self.look(path) is not None:
                raise
            if not missing_ok:  # some stores report it as another version
                raise NotFound.of(path) from None
        except Unsupported:
            await self.requests.send("delete_object", path, Key=self.key(path))

    async def _check_bucket(self, path: str) -> None:
        if not self._bucket_seen:
            try:
                await self.requests.send("head_bucket", path)
            except NotFound as error:
                raise StoreMissing.of(path, f"there is no bucket {self.settings.bucket!r}") from error
            self._bucket_seen = True


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of up to `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


LONGEST_KEY = 1024
_BY_FOLDER = ("SeaweedFS",)
"""Servers, by the names that they report, that keep files in folders.

They list `d/a` before `d-`, and replace each backslash of a name by a slash.
"""
_ODD = " %"
_KNOWN: dict[str, bool] = {}  # by endpoint: whether the server keeps files in folders
_LEARNED: dict[str, bool] = {}  # by endpoint: whether it encodes keys without saying so


class ListedKey(NamedTuple):
    """The key that an entry of a listing is about."""

    key: str
    sure: bool


def check_name(store: Store, path: str) -> None:
    """Raise `ValueError` for a path whose key would be too long."""
    length = len(store.key(path).encode())
    if length > LONGEST_KEY:
        raise ValueError(f"path {path!r}: its key has {length} bytes, and S3 takes {LONGEST_KEY}")


def keeps_folders(server: str) -> bool:
    """Return whether a server with that name keeps files in folders."""
    return any(name in server for name in _BY_FOLDER)


async def check_backslash(store: Store, path: str) -> None:
    """Raise `ValueError` for a name with a backslash that the server would replace: it would be another file.

    The server is asked for its name once, and only if a name has a backslash.
    """
    if "\\" not in store.key(path):
        return
    endpoint = (await store.clients.current()).endpoint
    if endpoint is None:
        return  # AWS
    if endpoint not in _KNOWN:
        server = await _server(store)
        if server is None:
            return
        _KNOWN[endpoint] = keeps_folders(server)
    if _KNOWN[endpoint]:
        raise ValueError(
            f"path {path!r}: this server replaces a backslash by a slash, so it would be another file: "
            "use another name, or the layer Percent, which encodes it"
        )


async def _server(store: Store) -> str | None:
    """Return the name that the server reports, even in a refusal; `None` if it does not answer."""
    headers: Any
    try:
        headers = (await store.requests.send("head_bucket", None)).headers
    except AiofsError as error:
        response = getattr(error.__cause__, "response", None)
        if response is None:
            return None
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("server", ""))


async def is_folder(store: Store, path: str) -> bool:
    """Return whether `path` is a folder on a server that cannot have a file and a folder of one name."""
    page = await store.requests.page(Prefix=f"{store.key(path)}/", MaxKeys=1)
    return keeps_folders(page.server) and bool(page.entries)


def listed_name(found: str, prefix: str, page: Mapping[str, Any]) -> str:
    """Return the key that a listing of `prefix` means by `found`.

    All keys in it begin with the prefix. So one that does not is encoded, even if the server does not say so.
    """
    if page.get("EncodingType") == "url" or not found.startswith(prefix):
        return unquote_plus(found)
    return found


async def key_of(store: Store, upload: Mapping[str, Any], page: Mapping[str, Any]) -> ListedKey:
    """Return the key of an upload on a page of the listing.

    If nobody can learn whether keys are encoded, the upload is looked up under both possible keys. The result is sure
    if it is there under exactly one of them.
    """
    found = str(upload["Key"])
    decoded = unquote_plus(found)
    if page.get("EncodingType") == "url" or found == decoded:
        return ListedKey(decoded, sure=True)
    encoded = await _encodes(store)
    if encoded is not None:
        return ListedKey(decoded if encoded else found, sure=True)
    there = [key for key in (found, decoded) if await store.has_upload(None, key, upload["UploadId"])]
    return ListedKey(there[0] if there else found, sure=len(there) == 1)


async def _encodes(store: Store) -> bool | None:
    """Return whether the server encodes keys; `None` if we may not begin an upload to learn it."""
    client = await store.clients.client()
    endpoint = str(client.meta.endpoint_url)
    if endpoint not in _LEARNED:
        try:
            _LEARNED[endpoint] = await _learn(store)
        except AiofsError:
            return None
    return _LEARNED[endpoint]


async def _learn(store: Store) -> bool:
    key = f"{store.key(LOCKS)}{NAME}{clock.token()}{_ODD}"
    upload = (await store.requests.send("create_multipart_upload", None, Key=key)).parsed["UploadId"]
    try:
        page = (await store.requests.send("list_multipart_uploads", None, Prefix=key, EncodingType="url")).parsed
        listed = [found["Key"] for found in page.get("Uploads", ()) if found["UploadId"] == upload]
        if not listed:
            raise AiofsError.of(None, "the server does not list an upload that was just begun")
        return not listed[0].endswith(_ODD)
    finally:
        await finish(store.requests.send("abort_multipart_upload", None, Key=key, UploadId=upload))
