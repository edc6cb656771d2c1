"""Versions are ETags; `match` becomes the condition of a request."""

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
from aiofs.properties import NAMES, part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.client import Container
    from aiofs.properties import Properties


def matching(match: str | None) -> dict[str, Any]:
    """Return the condition that the blob is at version `match`, is not there if that is `ABSENT`, or none."""
    if match is None:
        return {}
    if match == ABSENT:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": f'"{match}"', "match_condition": MatchConditions.IfNotModified}


def version_of(etag: str | None) -> str:
    """Return an ETag without its quotes, which listings leave out."""
    return (etag or "").strip('"')


def marks_folder(size: int | None, metadata: Mapping[str, str] | None) -> bool:
    """Whether a blob is what Data Lake Storage and Hadoop leave for a folder: empty, and labelled as one."""
    return not size and any(key.lower() == FOLDER and value == "true" for key, value in (metadata or {}).items())


def check_file(path: str, properties: BlobProperties) -> None:
    """Raise `IsAFolder` if the blob only marks a folder."""
    if marks_folder(properties.size, properties.metadata):
        raise IsAFolder.of(path, "this blob marks a folder (hdi_isfolder), it is no file")


def is_append_blob(properties: BlobProperties) -> bool:
    """Whether bytes can only be added to the end of the blob."""
    return bool(properties.blob_type == BlobType.APPENDBLOB)


def check_replaceable(path: str, properties: BlobProperties) -> None:
    """Raise `Unsupported` if new bytes would make a block blob of something that is none."""
    if properties.blob_type == BlobType.PAGEBLOB:
        raise Unsupported.of(path, "this is a page blob, which aiofs only reads and removes; remove it to write a file")
    if is_append_blob(properties):
        raise Unsupported.of(
            path,
            "this is an append blob, which only mode 'a' outside of transactions changes; remove it to write a file",
        )


def check_copied(path: str, properties: BlobProperties) -> None:
    """Raise `Unsupported` if a copy would be another kind of blob: in one step the service copies only block blobs."""
    if properties.blob_type not in {None, BlobType.BLOCKBLOB}:
        kind = "an append blob" if is_append_blob(properties) else "a page blob"
        raise Unsupported.of(
            path, f"this is {kind}, and its copy would be a block blob; read it and write the bytes if that is wanted"
        )


KEPT = NAMES
"""The properties that a blob keeps: all."""
_SETTINGS = ("cache_control", "content_disposition", "content_encoding", "content_language")
_TYPES = mimetypes.MimeTypes()  # Python's own table, the same on every machine
_TIERS = {tier.value.lower(): tier.value for tier in StandardBlobTier}
_ARCHIVE = StandardBlobTier.ARCHIVE.value


@dataclass(frozen=True, slots=True)
class Labels:
    """What a new version of a blob is to say of itself."""

    headers: dict[str, str]
    settings: ContentSettings
    tier: str | None = None
    tags: dict[str, str] | None = None

    @classmethod
    def of(cls, path: str, about: Mapping[str, str] | None) -> Labels:
        """Return what the `metadata` of `Driver.begin` asks for; a type that it does not say is guessed from the name.

        :raises ValueError: for a storage class that is none of Azure's, or what headers cannot carry.
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
    def from_token(cls, token: Mapping[str, Any]) -> Labels:
        """Return what `token` made; 2.0.0a1 knew neither tiers nor tags."""
        settings = ContentSettings(**token["settings"])
        return cls(token["headers"], settings, token.get("tier"), token.get("tags"))

    async def keeping(self, container: Container, path: str, properties: BlobProperties) -> Labels:
        """Return this with the tier and the tags of a blob where it says none: reading a blob does not tell them.

        :raises NotPermitted: if the tags may not be read.
        """
        tags = await tags_of(container, path, properties) if self.tags is None else self.tags
        return replace(self, tier=self.tier or _own_tier(properties), tags=tags)

    def token(self) -> dict[str, Any]:
        """Return all of it in JSON's terms."""
        settings = {name: value for name, value in vars(self.settings).items() if isinstance(value, str)}
        return {"headers": self.headers, "settings": settings, "tier": self.tier, "tags": self.tags}

    def asked(self) -> dict[str, Any]:
        """Return all of it as the SDK takes it with new bytes."""
        tier = {} if self.tier is None else {"standard_blob_tier": StandardBlobTier(self.tier)}
        tags = {"tags": self.tags} if self.tags else {}
        return {"metadata": self.headers, "content_settings": self.settings, **tier, **tags}


def entry_of(path: str, properties: BlobProperties, tags: Mapping[str, str] | None = None) -> Entry:
    """Return what a blob's properties say.

    The service keeps a digest right for block blobs only.

    :raises IsAFolder: if the blob only marks a folder.
    """
    check_file(path, properties)
    said = properties.content_settings
    own: dict[str, Any] = {name: getattr(said, name) for name in _SETTINGS if getattr(said, name)}
    tier = _own_tier(properties)
    if tier:
        own["storage_class"] = tier
    if tags:
        own["tags"] = dict(tags)
    digest = bytes(said.content_md5 or b"") if properties.blob_type == BlobType.BLOCKBLOB else b""
    return Entry(
        path,
        properties.size,
        properties.last_modified,
        version_of(properties.etag),
        from_headers(properties.metadata),
        said.content_type,
        f"md5:{digest.hex()}" if digest else None,
        cast("Properties", own) if own else None,
        properties.version_id,
    )


async def tags_of(container: Container, path: str, properties: BlobProperties) -> dict[str, str]:
    """Return the tags of a blob, for which a request is made only if there are any.

    :raises AccessDenied: if they may not be read.
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
    """Raise `Archived` for a blob whose bytes can be neither read nor replaced."""
    if properties.blob_tier == _ARCHIVE:
        under_way = "; that is under way" if properties.archive_status else ""
        raise Archived.of(path, f"the blob is in the archive tier: set its tier to hot, cool or cold first{under_way}")


def _check_header(name: str, value: str) -> None:
    """Raise `ValueError` for what would come back as something else, or not get there."""
    if not value.isascii() or value != value.strip():
        raise ValueError(f"{name}={value!r}: Azure takes ASCII characters, without spaces at the ends")


def _own_tier(properties: BlobProperties) -> str | None:
    """Return the access tier of a blob, if it is its own and one that can be set."""
    own = None if properties.blob_tier_inferred else properties.blob_tier
    return _TIERS.get(str(own).lower())


def _tier(properties: Properties) -> str | None:
    given = properties.get("storage_class")
    if given is None:
        return None
    tier = _TIERS.get(given.lower())
    if tier is None:
        raise ValueError(f"storage_class={given!r} is none of Azure's access tiers: use Hot, Cool, Cold or Archive")
    return tier
