"""Copying by the service in one request, or through this process, with all that a blob says of itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.storage.blob import BlobSasPermissions, StandardBlobTier

from aiofs.backends.azure.conditions import matching, version_of
from aiofs.backends.azure.container import PART
from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.kinds import check_copied, check_file, check_replaceable
from aiofs.backends.azure.labels import Labels, check_not_archived, entry_of
from aiofs.backends.azure.session import AzureSession
from aiofs.backends.azure.signing import signed_url
from aiofs.backends.azure.streams import open_stream
from aiofs.driver import ABSENT, MIB
from aiofs.kit import pour
from aiofs.lifetimes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.container import Container
    from aiofs.backends.azure.locks import AzureLease
    from aiofs.driver import Capabilities, Entry

LARGEST_COPY = 256 * MIB
COPY_SECONDS = 600.0
"""For how long the service may read the source of a copy by the URL that it is given."""


class Copier:
    """Copies of one blob, or of an old version of it: `kept` is its `snapshot` or `version_id`."""

    def __init__(
        self, container: Container, capabilities: Capabilities, source: str, kept: Mapping[str, str] | None = None
    ) -> None:
        self._container = container
        self._capabilities = capabilities
        self._source = source
        self._kept = dict(kept or {})

    async def to(self, lease: AzureLease, match: str | None = None) -> Entry:
        """Make the blob of the lease, at version `match`, the same as the source.

        What is too large for the service, or what we cannot sign for it, passes through here.
        """
        container, source, target = self._container, self._source, lease.path
        there = await container.find(target)
        if there is not None:
            check_file(target, there)
            check_replaceable(target, there)
        if match is None:
            match = ABSENT if there is None else version_of(there.etag)
        properties = await container.ask(source, container.blob(source, **self._kept).get_blob_properties)
        check_copied(source, properties)
        check_not_archived(source, properties)
        found = entry_of(source, properties)
        url = await self._url(properties)
        if url is None:
            return await self._carry(found, lease, match, properties)
        return await finish(self._let_copy(url, found, target, match, properties))

    async def _url(self, properties: BlobProperties) -> str | None:
        """Return what the service can read the source by."""
        if properties.size > LARGEST_COPY:
            return None
        read = BlobSasPermissions(read=True, tag=bool(properties.tag_count))
        with suppress(NotPermitted):  # to sign, which is no reason not to copy
            return await signed_url(self._container, self._source, read, COPY_SECONDS, **self._kept)
        return None

    async def _let_copy(self, url: str, found: Entry, target: str, match: str, properties: BlobProperties) -> Entry:
        container = self._container
        blob = container.blob(target)
        also: dict[str, Any] = {"tags": "COPY"} if properties.tag_count else {}
        if found.properties and "storage_class" in found.properties:
            also["standard_blob_tier"] = StandardBlobTier(found.properties["storage_class"])

        async def start() -> Entry:
            answer: Any = await blob.start_copy_from_url(
                url,
                requires_sync=True,
                source_etag=f'"{found.version}"',
                source_match_condition=MatchConditions.IfNotModified,
                **also,
                **matching(match),
            )
            return replace(
                found,
                path=target,
                version=version_of(answer["etag"]),
                modified=answer.get("last_modified"),
                version_id=answer.get("version_id"),
            )

        async def copied() -> Entry | None:
            there = await container.find(target)
            return None if there is None or version_of(there.etag) == match else entry_of(target, there)

        return await container.ask(target, start, settled=copied)

    async def _carry(self, found: Entry, lease: AzureLease, match: str, properties: BlobProperties) -> Entry:
        labels = Labels.of(lease.path, found.kept(self._capabilities))
        labels = await labels.keeping(self._container, self._source, properties)
        stream = await open_stream(self._container, self._source, 0, None, found.version, **self._kept)
        try:
            return await pour(stream, AzureSession(self._container, lease, match, labels), PART, lease)
        finally:
            await finish(stream.aclose())
