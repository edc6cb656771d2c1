"""Behaviours 285 to 289: permission bits of files on the disk, and files that the store removes by itself."""

from __future__ import annotations

import asyncio
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.errors import Unsupported
from aiofs.testing.harness import needs
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.modes import BinaryMode
    from aiofs.system import FileLikeSystem
    from aiofs.testing.harness import Harness

KEPT_BY_FEW: dict[str, Any] = {"permissions": 0o640}
"""The properties that few stores keep, each with a value."""
WRONG: dict[str, list[tuple[Any, type[Exception]]]] = {
    "permissions": [("640", TypeError), (True, TypeError), (6.0, TypeError), (-1, ValueError), (0o1777, ValueError)],
}


@needs("writable")
class Lasting:
    """What few stores keep: permission bits, and time to live."""

    @needs("permissions")
    async def test_285_permissions(self, store: Harness) -> None:
        """`permissions=` gives a file exactly these bits; `r+`, `a`, `copy` and `w` without it keep them."""
        fs = store.fs

        async def bits() -> set[int]:
            assert store.root is not None
            return await asyncio.to_thread(_bits, store.root)

        umask = os.umask(0o077)
        try:
            await fs.write_bytes("file", b"text", permissions=0o664)
        finally:
            os.umask(umask)
        assert await bits() == {0o664}
        modes: tuple[BinaryMode, ...] = ("r+", "a", "w")
        for mode in modes:
            async with fs.open("file", mode) as file:
                await file.write(b"more")
            assert await bits() == {0o664}
        await fs.copy("file", "copy")
        assert await bits() == {0o664}
        async with transaction(fs) as tx:
            await tx.write_bytes("file", b"private", permissions=0o600)
            await tx.append_bytes("file", b", still")
            await tx.copy("file", "copy")
            await tx.write_bytes("new", b"private", permissions=0o600)
        assert await bits() == {0o600}
        assert await store.get("copy") == b"private, still"
        for path, number in (("copy", 0o604), ("file", 0o444), ("new", 0o640)):
            await fs.write_text(path, "an existing file", permissions=number)
        assert await bits() == {0o604, 0o444, 0o640}
        assert await store.leftovers() == []

    async def test_286_kept_or_refused(self, store: Harness) -> None:
        """`permissions` and `ttl` are refused by name, before any I/O, where they are not kept or have no sense."""
        for name, value in KEPT_BY_FEW.items():
            fs, chaos = store.troubled()
            if name in store.can.properties:
                for call in _appending(fs, {name: value}):
                    with pytest.raises(ValueError, match=name):
                        await call()
                for wrong, kind in WRONG.get(name, []):
                    for call in _writing(fs, {name: wrong}):
                        with pytest.raises(kind, match=name):
                            await call()
            else:
                systems: list[FileLikeSystem] = [fs, fs.at("folder")]
                for call in [call for system in systems for call in _writing(system, {name: value})]:
                    with pytest.raises(Unsupported, match=name):
                        await call()
                async with transaction(store.fs, auto_commit=False) as tx:
                    for call in _writing(tx, {name: value}):
                        with pytest.raises(Unsupported, match=name):
                            await call()
                bare = store.connect()
                with pytest.raises(Unsupported, match=name):
                    await bare.write_bytes("file", b"new", **{name: value})
            assert not chaos.calls
        assert await store.names() == []


def _bits(root: os.PathLike[str]) -> set[int]:
    """Return the permission bits of the files below a folder."""
    return {
        stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)
        for folder, _, names in os.walk(root)
        for name in names
    }


def _writing(fs: FileLikeSystem, options: dict[str, Any]) -> list[Callable[[], Awaitable[object]]]:
    return [
        partial(fs.write_bytes, "file", b"new", **options),
        partial(fs.write_text, "file", "new", **options),
        partial(fs.write_json, "file", {}, **options),
        partial(_open, fs, "w", options),
        partial(_open, fs, "x", options),
        partial(_open, fs, "wt", options),
    ]


def _appending(fs: FileLikeSystem, options: dict[str, Any]) -> list[Callable[[], Awaitable[object]]]:
    return [partial(_open, fs, mode, options) for mode in ("a", "r+", "r", "at")]


async def _open(fs: Any, mode: str, options: dict[str, Any]) -> None:
    async with fs.open("file", mode, **options):
        pass
