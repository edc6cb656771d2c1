"""Removing: looked at first, then in pages of a thousand."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from aiofs.backends.s3.errors import refused
from aiofs.backends.s3.probe import STALE
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, Conflict, NotFound, Unsupported
from aiofs.kit import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from aiofs.backends.s3.store import Store

T = TypeVar("T")
PAGE = 1000
LOOKED_AT_ONCE = 32


async def check_present(store: Store, paths: Sequence[str]) -> None:
    """Raise `NotFound` naming the first path that is not there."""
    await each(paths, store.facts)


async def each(paths: Sequence[str], look: Callable[[str], Awaitable[Any]]) -> None:
    """Await `look` for every path, some at a time; raise what the first of them in order raises."""
    for batch in batches(paths, LOOKED_AT_ONCE):
        await together(map(look, batch))


async def check_may_remove(store: Store, path: str, what: str) -> None:
    """Raise `AccessDenied` if we may not remove an object, asked for once by a removal that the store refuses anyway.

    A store whose removals know no conditions cannot be asked, and tells when something is removed.
    """
    if store.may_remove:
        return
    traits = await store.traits(path)
    if traits.deletes:
        with suppress(Conflict, NotFound):
            await store.calls.send("delete_object", path, Key=store.key(path), **traits.same(STALE))
        store.may_remove = True
    elif traits.deletes is None:
        raise AccessDenied.of(path, f"{what} needs the permission s3:DeleteObject")


async def remove(store: Store, paths: Sequence[str]) -> None:
    """Remove objects, whether they are there or not."""
    # XML has no control characters, so keys that hold some go one by one; so does a key that is alone.
    plain = [path for path in paths if store.key(path).isprintable()] if len(paths) > 1 else []
    odd = [path for path in paths if not store.key(path).isprintable()] if plain else paths
    await each(odd, lambda path: store.calls.send("delete_object", path, Key=store.key(path)))
    for page in batches(plain, PAGE):
        named = {store.key(path): path for path in page}
        objects = {"Objects": [{"Key": key} for key in named]}  # not quiet: no answer looks like an empty one then
        answer = await store.calls.send("delete_objects", page[0], Delete=objects)
        for error in answer.parsed.get("Errors", ()):
            if error.get("Code") != "NoSuchKey":
                raise refused(0, error, named.get(error.get("Key", ""), page[0]), "delete_objects")


async def remove_version(store: Store, path: str, match: str, *, missing_ok: bool) -> None:
    """Remove one object if it is the version `match`: looked at, and checked by the store too where it does that."""
    facts = await store.look(path)
    if facts is None and missing_ok:
        return
    if facts is None and match != ABSENT:
        raise NotFound.of(path)
    if facts is None or facts.version != match:
        raise Conflict.of(path, "the file was changed meanwhile; it was not removed")
    condition = (await store.traits(path)).same(match)
    try:
        await store.calls.send("delete_object", path, Key=store.key(path), **condition)
    except Conflict:
        if await store.look(path) is not None:
            raise
        if not missing_ok:  # some stores call that another version
            raise NotFound.of(path) from None
    except Unsupported:
        await store.calls.send("delete_object", path, Key=store.key(path))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of up to `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
