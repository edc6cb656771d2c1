"""Copying on the server: small objects by one request, large ones in pieces at the same time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from aiofs.backends.s3.facts import tags_of, with_tags, write_options
from aiofs.backends.s3.publishing import Publication
from aiofs.backends.s3.writing import S3Write
from aiofs.driver import MIB, Entry
from aiofs.errors import Archived, Conflict
from aiofs.shield import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Capabilities, Lease

COPIED_WHOLE = 256 * MIB
"""Up to here one request copies all: S3 would take 5 GiB, but answers only when it has copied them."""


async def copy(
    store: Store, source: str, target: str, lease: Lease, *, match: str | None, capabilities: Capabilities
) -> Entry:
    """Make `target` the same as `source`, with its metadata, tags and other properties."""
    facts = await store.facts(source)
    _, metadata = tags_of(facts.entry(source).kept(capabilities))
    if facts.size > COPIED_WHOLE:
        if facts.tagged:
            metadata = with_tags(metadata, await store.tags(source))
        session = S3Write(store, target, lease, match=match, metadata=metadata)
        return await _copy_in_parts(session, store.key(source), source, facts)
    kept = {"CopySourceIfMatch": f'"{facts.version}"', "MetadataDirective": "REPLACE"}
    if facts.tagged:
        kept["TaggingDirective"] = "COPY"
    return await copy_whole(store, source, target, lease, match=match, metadata=metadata, kept=kept, size=facts.size)


async def copy_whole(
    store: Store,
    source: str,
    target: str,
    lease: Lease,
    *,
    match: str | None,
    metadata: Mapping[str, str] | None,
    kept: Mapping[str, str],
    size: int,
    version_id: str | None = None,
) -> Entry:
    """Copy by one request, which says what is `kept` of the source."""
    writer = uuid.uuid4().hex
    options = write_options(store.settings, target, metadata, writer)
    if store.settings.checksum:  # of the whole, computed by the store
        options["ChecksumAlgorithm"] = store.settings.checksum.upper()
    where = {"Bucket": store.settings.bucket, "Key": store.key(source)}
    if version_id is not None:
        where["VersionId"] = version_id

    async def send(condition: dict[str, str]) -> str:
        try:
            answer = await store.calls.send(
                "copy_object", target, Key=store.key(target), CopySource=where, **kept, **options, **condition
            )
        except Archived as error:
            error.filename = source
            raise
        return str(answer.parsed["CopyObjectResult"]["ETag"]).strip('"')

    version = await Publication(store, target, lease, match, writer).run(send, size=size, checked=False)
    return Entry(target, size, None, version).described(metadata)


async def _copy_in_parts(session: S3Write, key: str, source: str, facts: Facts) -> Entry:
    try:
        await session.copy_from(key, facts.version, 0, facts.size)
        return await session.commit()
    except Conflict as error:
        raise Conflict.of(source, "a file was changed while it was copied") from error
    except Archived as error:
        error.filename = source
        raise
    finally:
        await finish(session.abort())
