"""Copying on the server: small objects by one request, large ones in pieces at the same time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiofs.backends.s3.facts import tags_of, unquoted, with_tags, write_options
from aiofs.backends.s3.publishing import Publication
from aiofs.backends.s3.writing import S3Write
from aiofs.driver import MIB, Entry
from aiofs.errors import Archived, Conflict
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Capabilities, Lease

COPIED_WHOLE = 256 * MIB
"""Up to here one request copies all: S3 would take 5 GiB, but answers only when it has copied them."""


@dataclass(frozen=True)
class Source:
    """What is to be copied: a file as it is now, or an old version of it."""

    path: str
    facts: Facts
    version_id: str | None = None

    def where(self, store: Store) -> dict[str, str]:
        """Return the SDK's parameter that names it."""
        kept = {} if self.version_id is None else {"VersionId": self.version_id}
        return {"Bucket": store.settings.bucket, "Key": store.key(self.path), **kept}


async def copy(
    store: Store, source: str, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Make `target` the same as `source`, with its metadata, tags and other properties."""
    found = Source(source, await store.facts(source))
    return await copy_from(store, found, target, lease, match=match, capabilities=capabilities)


async def copy_from(
    store: Store, source: Source, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Make `target` what the source was when its facts were asked for."""
    facts = source.facts
    _, metadata = tags_of(facts.entry(source.path).kept(capabilities))
    try:
        if facts.size <= COPIED_WHOLE:
            return await _copy_whole(store, source, target, lease, match, metadata)
        if facts.tagged:
            metadata = with_tags(metadata, await store.tags(source.path, source.version_id))
        session = S3Write(store, target, lease, match=match, metadata=metadata)
        return await _copy_in_parts(session, source.where(store), source)
    except Archived as error:
        error.filename = source.path
        raise


async def _copy_whole(  # noqa: PLR0917 -- what is copied where, and what goes with it
    store: Store, source: Source, target: str, lease: Lease, match: str | None, metadata: Mapping[str, str] | None
) -> Entry:
    writer = uuid.uuid4().hex
    options = write_options(store.settings, target, metadata, writer)
    if store.settings.checksum:  # of the whole, computed by the store
        options["ChecksumAlgorithm"] = store.settings.checksum.upper()
    if source.facts.tagged:
        options["TaggingDirective"] = "COPY"

    async def send(condition: dict[str, str]) -> str:
        answer = await store.calls.send(
            "copy_object",
            target,
            Key=store.key(target),
            CopySource=source.where(store),
            CopySourceIfMatch=f'"{source.facts.version}"',
            MetadataDirective="REPLACE",
            **options,
            **condition,
        )
        return unquoted(answer.parsed["CopyObjectResult"]["ETag"])

    size = source.facts.size
    version = await Publication(store, target, lease, match, writer).run(send, size=size, checked=False)
    return Entry(target, size, None, version).described(metadata)


async def _copy_in_parts(session: S3Write, where: Mapping[str, str], source: Source) -> Entry:
    try:
        await session.copy_from(where, source.facts.version, 0, source.facts.size)
        return await session.commit()
    except Conflict as error:
        raise Conflict.of(source.path, "a file was changed while it was copied") from error
    finally:
        await finish(session.abort())
