"""Copying on the server: small objects by one request, large ones in pieces at the same time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from aiofs.backends.s3.facts import write_options
from aiofs.backends.s3.publishing import Publication
from aiofs.backends.s3.writing import S3Write
from aiofs.driver import MIB, Entry
from aiofs.errors import Conflict
from aiofs.shield import finish

if TYPE_CHECKING:
    from aiofs.backends.s3.facts import Facts
    from aiofs.backends.s3.store import Store
    from aiofs.driver import Lease

COPIED_WHOLE = 256 * MIB
"""Up to here one request copies all: S3 would take 5 GiB, but answers only when it has copied them."""


async def copy(store: Store, source: str, target: str, lease: Lease, match: str | None) -> Entry:
    """Make `target` the same as `source`, metadata and content type included."""
    facts = await store.facts(source)
    if facts.size > COPIED_WHOLE:
        session = S3Write(store, target, lease, match=match, metadata=facts.described())
        return await _copy_in_parts(session, store.key(source), source, facts)
    writer = uuid.uuid4().hex
    options = write_options(store.settings, target, facts.described(), writer)
    if store.settings.checksum:  # of the whole, computed by the store
        options["ChecksumAlgorithm"] = store.settings.checksum.upper()

    async def send(condition: dict[str, str]) -> str:
        answer = await store.calls.send(
            "copy_object",
            target,
            Key=store.key(target),
            CopySource={"Bucket": store.settings.bucket, "Key": store.key(source)},
            CopySourceIfMatch=f'"{facts.version}"',
            MetadataDirective="REPLACE",
            **options,
            **condition,
        )
        return str(answer.parsed["CopyObjectResult"]["ETag"]).strip('"')

    version = await Publication(store, target, lease, match, writer).run(send, size=facts.size, checked=False)
    return Entry(target, facts.size, None, version, facts.metadata)


async def _copy_in_parts(session: S3Write, key: str, source: str, facts: Facts) -> Entry:
    try:
        await session.copy_from(key, facts.version, 0, facts.size)
        return await session.commit()
    except Conflict as error:
        raise Conflict.of(source, "a file was changed while it was copied") from error
    finally:
        await finish(session.abort())
