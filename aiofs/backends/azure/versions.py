"""Counts and removes old versions of hidden blobs (locks, journals), which an account with versioning keeps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.listing import pages
from aiofs.driver import Leftover
from aiofs.errors import NotFound
from aiofs.kit import together
from aiofs.names import RESERVED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from azure.storage.blob import BlobProperties

    from aiofs.backends.azure.container import Container

KIND = "old versions"
_PAGE = 5000
_AT_ONCE = 32
_NEEDED = "removing old versions needs a permission ('x' in a SAS, .../blobs/deleteBlobVersion/action in a role)"


async def old_versions(container: Container, prefix: str) -> AsyncGenerator[Leftover]:
    """Yield one leftover for all old versions of hidden blobs in the folder `prefix`, if there are any."""
    if RESERVED in prefix or not (prefix == "" or prefix.endswith("/")):
        return
    beginning = prefix + RESERVED
    found = len([blob async for blob in _removable(container, beginning)])
    if found:
        rule = f"{container.name}/{beginning}"
        advice = (
            f"{found} old versions of hidden blobs: fix=True removes them; so does a rule of the account's lifecycle "
            f"management that deletes previous versions below {rule!r}"
        )
        yield Leftover(beginning, KIND, None, None, live=False, token=f"{KIND}:{beginning}", advice=advice)


async def remove_old(container: Container, beginning: str) -> bool:
    """Remove the old versions of all blobs whose names start with `beginning`; return whether none is left.

    :raises NotPermitted: if the user may not remove versions; it names the permission.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(version: BlobProperties) -> None:
        async with places:
            blob = container.blob(version.name, version_id=str(version.version_id))
            try:
                with suppress(NotFound):
                    await container.ask(version.name, blob.delete_blob)
            except NotPermitted as error:
                raise NotPermitted.of(version.name, f"{error.strerror}: {_NEEDED}") from error.__cause__

    await together([one(version) async for version in _removable(container, beginning)])
    return not [blob async for blob in _removable(container, beginning)]


async def _removable(container: Container, beginning: str) -> AsyncGenerator[BlobProperties]:
    """Yield the versions that are not the current one of their blob."""
    async for page in pages(container, beginning, None, _PAGE, ["versions"]):
        for blob in page:
            if blob.version_id and not blob.is_current_version:
                yield blob
