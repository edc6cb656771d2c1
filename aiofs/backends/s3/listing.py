"""Listing: page after page, without the lock objects and without keys that are no names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiofs.backends.s3.store import LOCKS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiofs.backends.s3.store import Store
    from aiofs.driver import Entry

_BEHIND_LOCKS = f"{LOCKS}~"
_NO_NAME = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")


async def entries(store: Store, prefix: str, after: str, delimiter: str | None) -> AsyncGenerator[Entry, None]:
    """Yield what `Driver.list` promises.

    Foreign keys that no path can name (`a//b`, or the `a/` that some programs write for an empty folder) are left out.
    """
    root = len(store.settings.prefix)
    behind = after.encode()
    where: dict[str, Any] = {"Prefix": store.key(prefix), "MaxKeys": store.settings.page_size}
    if delimiter:
        where["Delimiter"] = delimiter
    start = {"StartAfter": store.key(after)} if after else {}
    while True:
        page = await store.calls.page(cut=root, **where, **start)
        start = {"ContinuationToken": page.more} if page.more is not None else {}
        for entry in page.entries:
            path = entry.path
            if path.startswith(LOCKS):
                # All of them are skipped by one request, however many there are.
                start = {"StartAfter": store.key(_BEHIND_LOCKS)}
                break
            if after and path.encode() <= behind:
                continue
            if not _NO_NAME.search(path) or (delimiter and not _NO_NAME.search(path.removesuffix("/"))):
                yield entry
        if not start:
            return
