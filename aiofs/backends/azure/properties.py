"""What a blob has beside its bytes: its kind, its version (the ETag), metadata, headers, access tier and tags."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from azure.core import MatchConditions
from azure.storage.blob import BlobType, ContentSettings, StandardBlobTier

from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.names import FOLDER, from_headers, to_headers
from aiofs.driver import ABSENT, Entry
from aiofs.errors import Archived, IsAFolder, Unsupported
from aiofs.properties import DESCRIPTIONS, part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container
    from aiofs.properties import Properties

KEPT = DESCRIPTIONS
"""The properties that a blob keeps: all of them."""
_SETTINGS = ("cache_control", "content_disposition", "content_encoding", "content_language")
_TYPES = mimetypes.MimeTypes()  # Python's own table, the same on every machine
_TIERS = {tier.value.lower(): tier.value for tier in StandardBlobTier}
_ARCHIVE = StandardBlobTier.ARCHIVE.value


def matching(match: str | None) -> dict[str, Any]:
    """Return the condition of a request: the blob has version `match`, or is missing if that is `ABSENT`."""
    if match is None:
        return {}
    if match == ABSENT:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": f'"{match}"', "match_condition": MatchConditions.IfNotModified}


def version_of(etag: str | None) -> str:
    """Return an ETag without the quotes, which listings leave out."""
    return (etag or "").strip('"')


def marks_folder(size: int | None, metadata: Mapping[str, str] | None) -> bool:
    """Whether a blob is what Data Lake Storage and Hadoop create for a folder: empty, with metadata that say so."""
    return not size and any(key.lower() == FOLDER and value == "true" for key, value in (metadata or {}).items())


def check_file(path: str, properties: BlobProperties) -> None:
    """Raise `IsAFolder` if the blob only marks a folder."""
    if marks_folder(properties.size, properties.metadata):
        raise IsAFolder.of(path, "this blob marks a folder (hdi_isfolder) and is not a file")


def is_append_blob(properties: BlobProperties) -> bool:
    """Whether bytes can only be added to the end of the blob."""
    return bool(properties.blob_type == BlobType.APPENDBLOB)


def check_replaceable(path: str, properties: BlobProperties) -> None:
    """Raise `Unsupported` for a blob that new bytes would turn into a block blob."""
    if properties.blob_type == BlobType.PAGEBLOB:
        raise Unsupported.of(path, "this is a page blob, which aiofs only reads and removes: remove it to write a file")
    if is_append_blob(properties):
        raise Unsupported.of(
            path,
            "this is an append blob, which only mode 'a' outside of transactions changes: remove it to write a file",
        )


def check_copied(path: str, properties: BlobProperties) -> None:
    """Raise `Unsupported` if a copy would be another kind of blob: the service copies only block blobs in one step."""
    if properties.blob_type not in {None, BlobType.BLOCKBLOB}:
        kind = "an append blob" if is_append_blob(properties) else "a page blob"
        raise Unsupported.of(
            path, f"this is {kind}, and its copy would be a block blob; if you want that, read it and write the bytes"
        )


@dataclass(frozen=True, slots=True)
class Attributes:
    """The metadata, headers, access tier and tags for a new version of a blob."""

    headers: dict[str, str]
    settings: ContentSettings
    tier: str | None = None
    tags: dict[str, str] | None = None

    @classmethod
    def of(cls, path: str, about: Mapping[str, str] | None) -> Attributes:
        """Return what the `metadata` of `Driver.begin` asks for; without a content type, the name says which it is.

        :raises ValueError: for a storage class that Azure does not have, or a text that headers cannot carry.
        """
        metadata, properties = part(about)
        for name in ("content_type", *_SETTINGS):
            _check_header(name, str(properties.get(name, "")))
        kind = properties.get("content_type") or _TYPES.guess_type(path)[0] or "application/octet-stream"
        settings = ContentSettings(
            kind,
            cache_control=properties.get("cache_control"),
            content_disposition=properties.get("content_disposition"),
            content_encoding=properties.get("content_encoding"),
            content_language=properties.get("content_language"),
        )
        tags = properties.get("tags")
        return cls(to_headers(metadata or {}), settings, _tier(properties), None if tags is None else dict(tags))

    @classmethod
    def from_token(cls, token: Mapping[str, Any]) -> Attributes:
        """Return what `token` returned; in tokens of 2.0.0a1 there are no tiers and tags."""
        settings = ContentSettings(**token["settings"])
        return cls(token["headers"], settings, token.get("tier"), token.get("tags"))

    async def keeping(self, container: Container, path: str, properties: BlobProperties) -> Attributes:
        """Return these attributes, with a blob's own tier and tags where they have none.

        Tier and tags do not come with a blob's bytes, so editing a file would lose them.

        :raises NotPermitted: if we may not read the tags.
        """
        tags = await tags_of(container, path, properties) if self.tags is None else self.tags
        return replace(self, tier=self.tier or _own_tier(properties), tags=tags)

    def token(self) -> dict[str, Any]:
        """Return the attributes as JSON can hold them."""
        settings = {name: value for name, value in vars(self.settings).items() if isinstance(value, str)}
        return {"headers": self.headers, "settings": settings, "tier": self.tier, "tags": self.tags}

    def arguments(self) -> dict[str, Any]:
        """Return the attributes as arguments of the SDK's calls that write bytes."""
        tier = {} if self.tier is None else {"standard_blob_tier": StandardBlobTier(self.tier)}
        tags = {"tags": self.tags} if self.tags else {}
        return {"metadata": self.headers, "content_settings": self.settings, **tier, **tags}


def entry_of(path: str, properties: BlobProperties, tags: Mapping[str, str] | None = None) -> Entry:
    """Return the entry of a blob. Only block blobs have a digest that the service keeps up to date.

    :raises IsAFolder: if the blob only marks a folder.
    """
    check_file(path, properties)
    settings = properties.content_settings
    own: dict[str, Any] = {name: getattr(settings, name) for name in _SETTINGS if getattr(settings, name)}
    tier = _own_tier(properties)
    if tier:
        own["storage_class"] = tier
    if tags:
        own["tags"] = dict(tags)
    digest = bytes(settings.content_md5 or b"") if properties.blob_type == BlobType.BLOCKBLOB else b""
    return Entry(
        path,
        properties.size,
        properties.last_modified,
        version_of(properties.etag),
        from_headers(properties.metadata),
        settings.content_type,
        f"md5:{digest.hex()}" if digest else None,
        cast("Properties", own) if own else None,
        properties.version_id,
    )


async def tags_of(container: Container, path: str, properties: BlobProperties) -> dict[str, str]:
    """Return the tags of a blob; this takes a request only if it has any.

    :raises NotPermitted: if we may not read them.
    """
    if not properties.tag_count:
        return {}
    blob = container.blob(path)
    try:
        return await container.ask(path, blob.get_blob_tags)
    except NotPermitted as error:
        reason = f"{error.strerror}: the file has tags, and keeping them needs the permission for tags ('t' in a SAS)"
        raise NotPermitted.of(path, reason) from error.__cause__


def check_not_archived(path: str, properties: BlobProperties) -> None:
    """Raise `Archived` for a blob in the archive tier: its bytes can be neither read nor replaced."""
    if properties.blob_tier == _ARCHIVE:
        under_way = "; the change of tier is under way" if properties.archive_status else ""
        raise Archived.of(path, f"the blob is in the archive tier: set its tier to hot, cool or cold first{under_way}")


def _check_header(name: str, value: str) -> None:
    """Raise `ValueError` for a header that the service would refuse or change."""
    if not value.isascii() or value != value.strip():
        raise ValueError(f"{name}={value!r}: Azure takes ASCII characters only, and no spaces at the ends")


def _own_tier(properties: BlobProperties) -> str | None:
    """Return the access tier of a blob; `None` if it is the account's default, or one that cannot be set."""
    own = None if properties.blob_tier_inferred else properties.blob_tier
    return _TIERS.get(str(own).lower())


def _tier(properties: Properties) -> str | None:
    given = properties.get("storage_class")
    if given is None:
        return None
    tier = _TIERS.get(given.lower())
    if tier is None:
        raise ValueError(f"storage_class={given!r} is not an access tier of Azure: use Hot, Cool, Cold or Archive")
    return tier
