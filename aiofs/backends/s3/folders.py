"""Servers that keep files in folders: what they make of names, and how they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs.errors import AiofsError

if TYPE_CHECKING:
    from aiofs.backends.s3.store import Store

_BY_FOLDER = ("SeaweedFS",)
"""By the names that they give themselves. They list `d/a` before `d-`, and make a slash of a backslash."""
_KNOWN: dict[str, bool] = {}  # by endpoint: whether it is one of them


def is_by_folder(server: str) -> bool:
    """Whether a server that calls itself so is one of them."""
    return any(name in server for name in _BY_FOLDER)


async def check_backslash(store: Store, path: str) -> None:
    """Raise `ValueError` for a name that the server would misread: the file would have another name.

    The server is asked for its own name once, and only because of a name with a backslash.
    """
    if "\\" not in store.key(path):
        return
    endpoint = (await store.clients.held()).endpoint
    if endpoint is None:
        return  # AWS
    if endpoint not in _KNOWN:
        server = await _server(store)
        if server is None:
            return
        _KNOWN[endpoint] = is_by_folder(server)
    if _KNOWN[endpoint]:
        raise ValueError(
            f"path {path!r}: this server makes a slash of a backslash, so it would be another file: "
            "use another name, or the layer Percent, which encodes it"
        )


async def _server(store: Store) -> str | None:
    """Return what the server calls itself, also where it refuses the question; `None` if it gives no answer."""
    headers: Any
    try:
        headers = (await store.calls.send("head_bucket", None)).headers
    except AiofsError as error:
        told = getattr(error.__cause__, "response", None)
        if told is None:
            return None
        headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("server", ""))


async def is_folder(store: Store, path: str) -> bool:
    """Whether a server that has no file `a` beside a folder `a` has such a folder: it denies that there is a file."""
    page = await store.calls.page(Prefix=f"{store.key(path)}/", MaxKeys=1)
    return is_by_folder(page.server) and bool(page.entries)
