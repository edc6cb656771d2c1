"""Removing blobs, which takes a permission of its own: who may write need not have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.names import HIDDEN
from aiofs.errors import NotFound

if TYPE_CHECKING:
    from aiofs.backends.azure.container import Container

_NEVER_THERE = f"{HIDDEN}never-there"
_NEEDED = "needs the permission to delete blobs ('d' in a SAS, .../blobs/delete in a role), which was not granted"


async def remove(container: Container, name: str, path: str | None, **conditions: Any) -> None:
    """Remove the blob `name`; errors are about `path`.

    :raises NotFound: if it is not there, and not because an earlier request, whose answer was lost, removed it.
    :raises NotPermitted: if the credentials do not allow it, naming the permission.
    """
    blob = container.blob(name)
    requests = 0

    async def delete() -> None:
        nonlocal requests
        requests += 1
        await blob.delete_blob(**conditions)

    try:
        await container.ask(path, delete)
    except NotFound:
        if requests == 1:
            raise
    except NotPermitted as error:
        raise NotPermitted.of(path, f"{error.strerror}: removing {_NEEDED}") from error.__cause__
    container.may_remove = True


async def check_may_remove(container: Container, path: str | None, what: str) -> None:
    """Raise `NotPermitted` if blobs cannot be removed, before anything is done that would have to be removed.

    It tries to remove what is not there, once: the service looks at permissions first.
    """
    if container.may_remove:
        return
    blob = container.blob(_NEVER_THERE)
    try:
        await container.ask(path, blob.delete_blob)
    except NotFound:
        pass
    except NotPermitted as error:
        raise NotPermitted.of(path, f"{error.strerror}: {what} {_NEEDED}") from error.__cause__
    container.may_remove = True
