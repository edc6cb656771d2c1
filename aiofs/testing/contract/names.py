"""Behaviours 55 to 58: which names are allowed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.testing.harness import needs

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode
    from aiofs.testing.harness import Harness

WEIRD_NAMES = (
    "a space",
    " leading and trailing ",
    "quotes ' \" `",
    "back\\slash",
    "hash#query?percent%41%2F%00plus+amp&semi;eq=at@comma,colon:",
    "%",
    "%3A%25",
    "a:b:c",
    "star*[brackets]{braces}~",
    "[1].txt",
    "<angle>|pipe$dollar!bang^(parens)",
    ".hidden",
    "..dots",
    "...",
    "trailing dot.",
    "folder./file",
    "CON",
    "aux.txt",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{SNOWMAN}",
    "caf\u00e9 composed",
    "cafe\u0301 decomposed",
    "caf\u00e9",
    "cafe\u0301",
    "Case",
    "case",
    "CASE",
    "tab\tnewline\nreturn\rbell\x07escape\x1bdelete\x7f",
    "\u0085\u2028\ufeff\ufffd\uffff",
    "-rf",
    "--help",
    "$HOME`id`",
    "s3://bucket/key".replace("//", "/"),
    "_aiofs",
    "x.aiofs",
    "日本語/ファイル",
    "s" * 255,
    "é" * 127,
    "/".join("deep" * 11 for _ in range(20)),
    "x/y/z",
)
BAD_PATHS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "./a",
    "a/.",
    "a/./b",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "a/../../b",
    "nul\0",
    "\0",
    "surrogate\ud800",
    ".aiofs",
    ".aiofs-lock",
    "a/.aiofs/b",
)
NOT_PATHS: tuple[Any, ...] = (b"a", 1, None, 1.5, ("a",))
ESCAPES = (
    "..\\outside",
    "%2e%2e/outside",
    "..%2foutside",
    ". ./outside",
    ".../outside",
    "a/..\\..\\outside",
    "~/outside",
)


class PathNames:
    """Which names are allowed."""

    @needs("writable")
    async def test_55_weird_names(self, store: Harness) -> None:
        """Unusual names work with `open`, `stat`, `ls` and `rm`, and none is taken for another."""
        held = [name for name in WEIRD_NAMES if not store.cannot_hold(name)]
        for name in WEIRD_NAMES:
            if name not in held:
                with pytest.raises(ValueError, match=r".+"):
                    await store.fs.write_bytes(name, b"")
        assert len(held) > len(WEIRD_NAMES) // 2
        for name in held:
            async with store.fs.open(name, "w") as file:
                assert file.name == name
                await file.write(name.encode())
        assert await store.names() == sorted(held, key=str.encode)
        other = store.fresh()
        for name in held:
            assert await other.read_bytes(name) == name.encode()
            entry = await other.stat(name)
            assert entry.path == name
            assert await other.exists(name)
        for number, name in enumerate(held):
            await other.rm(name)
            assert not await other.exists(name)
            if number % 10 == 0:
                assert await store.names() == sorted(held[number + 1 :], key=str.encode)
        assert await store.names() == []

    async def test_56_bad_paths(self, store: Harness) -> None:
        """A name that is not allowed raises ValueError, and what is no name TypeError, before any request."""
        fs, chaos = store.troubled()
        for paths, expected in ((BAD_PATHS, ValueError), (NOT_PATHS, TypeError)):
            for path in paths:
                for call in _uses(fs, path):
                    with pytest.raises(expected):
                        await call()
        assert not chaos.calls
        for path in ("/a", "a//b", "..", "a/../b", "nul\0", "surrogate\ud800"):
            with pytest.raises(ValueError, match=r".+"):
                [_ async for _ in fs.ls(path)]
            with pytest.raises(ValueError, match=r".+"):
                fs.at(path)
        with pytest.raises(TypeError):
            [_ async for _ in fs.ls(b"a")]  # type: ignore[arg-type]
        assert not chaos.calls

    @needs("writable")
    async def test_57_no_escape(self, store: Harness) -> None:
        """No name leads out of a folder or out of the root, also not through a link."""
        inner = store.fs.at("inside")
        names = [name for name in ESCAPES if not store.cannot_hold(f"inside/{name}")]
        for name in names:
            await inner.write_bytes(name, name.encode())
            assert await inner.read_bytes(name) == name.encode()
        assert await store.names() == sorted((f"inside/{name}" for name in names), key=str.encode)
        for path in ("../outside", "..", "/outside"):
            with pytest.raises(ValueError, match=r".+"):
                await inner.write_bytes(path, b"out")
        if store.root is not None:
            await _links_are_no_way_out(store, store.root)

    @needs("writable")
    async def test_58_file_and_folder(self, store: Harness) -> None:
        """`a` and `a/b` can both be files, or the second one is refused with the error for a file or a folder."""
        await store.put("a", b"file")
        if store.can.file_and_folder:
            await store.put("a/b", b"below")
            assert await store.get("a") == b"file"
            assert await store.get("a/b") == b"below"
            assert await store.names() == ["a", "a/b"]
            assert await store.fs.ls("a") == ["a/b"]
            await store.fs.rm("a")
            assert await store.names() == ["a/b"]
            return
        with pytest.raises(NotADirectoryError) as caught:
            await store.put("a/b", b"below")
        assert caught.value.filename == "a/b"
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            await store.fs.read_bytes("a/b")
        await store.put("c/d", b"file")
        with pytest.raises(IsADirectoryError) as refused:
            await store.put("c", b"above")
        assert refused.value.filename == "c"
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            await store.fs.read_bytes("c")
        assert not await store.fs.exists("c")
        assert await store.names() == ["a", "c/d"]

    @needs("writable")
    async def test_109_folders_are_implicit(self, store: Harness) -> None:
        """A folder exists while there is a file in it; afterwards a file can have its name."""
        await store.put("a/b/c", b"deep")
        await store.fs.rm("a/b/c")
        assert await store.fs.ls(recursive=False) == []
        await store.put("a", b"file now")
        assert await store.names() == ["a"]
        await store.fs.rm("a")
        await store.put("a/b", b"folder now")
        assert await store.names() == ["a/b"]

    async def test_110_at_a_folder(self, store: Harness) -> None:
        """`at(folder)` is a file system with the files of the folder, under names relative to it."""
        await store.put("user1/notes/a", b"1")
        await store.put("user10/notes/b", b"10")
        folder = store.fs.at("user1")
        assert await folder.ls() == ["notes/a"]
        assert await folder.read_bytes("notes/a") == b"1"
        assert (await folder.stat("notes/a")).path == "notes/a"
        assert await folder.at("notes").ls() == ["a"]
        with pytest.raises(FileNotFoundError) as caught:
            await folder.read_bytes("notes/b")
        assert caught.value.filename in {"notes/b", "user1/notes/b"}
        assert await store.fs.at("user10/notes").read_bytes("b") == b"10"


def _uses(fs: FileSystem, path: str) -> list[Any]:
    async def opened(mode: BinaryMode) -> None:
        async with fs.open(path, mode):
            pytest.fail(f"{path!r} was opened")

    return [
        *(partial(opened, mode) for mode in ("r", "r+", "w", "x", "a")),
        partial(fs.rm, path),
        partial(fs.rm, "fine", path),
        partial(fs.stat, path),
        partial(fs.exists, path),
        partial(fs.read_bytes, path),
        partial(fs.write_bytes, path, b""),
        partial(fs.copy, path, "fine"),
        partial(fs.copy, "fine", path),
        partial(fs.move, path, "fine"),
        partial(fs.move, "fine", path),
    ]


async def _links_are_no_way_out(store: Harness, root: Path) -> None:
    def plant() -> None:
        outside = root.parent / f"{root.name} outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        (root / "link").symlink_to(outside, target_is_directory=True)
        (root / "file link").symlink_to(outside / "secret")
        (root / "new link").symlink_to(outside / "new")
        (root / "secret").write_bytes(b"secret")
        (root / "inside").mkdir(exist_ok=True)
        (root / "inside" / "link").symlink_to("..")
        (root / "inside" / "file link").symlink_to("../secret")
        (root / "inside" / "new link").symlink_to("../new")

    def outside_now() -> dict[Path, bytes]:
        outside = root.parent / f"{root.name} outside"
        beside = [path for path in root.iterdir() if not path.is_symlink() and path.is_file()]
        return {path: path.read_bytes() for path in [*outside.iterdir(), *beside]}

    await asyncio.to_thread(plant)
    before = await asyncio.to_thread(outside_now)
    for fs in (store.fs, store.fs.at("inside")):
        for name in ("link/secret", "file link", "link/new", "new link"):
            await _leads_nowhere(fs, name)
        assert not [name async for name in fs.ls() if name.startswith("link/")]
    assert await asyncio.to_thread(outside_now) == before


async def _leads_nowhere(fs: FileSystem, name: str) -> None:
    """Try every call on a link that leads out: each is refused, or acts on the link itself."""
    with pytest.raises(OSError):  # noqa: PT011 -- which, depends on what the link is
        await fs.read_bytes(name)
    with pytest.raises(OSError):  # noqa: PT011 -- the same
        async with fs.open(name, "r+") as file:
            await file.write(b"changed")
    for mode in ("w", "x", "a"):
        try:
            async with fs.open(name, mode) as file:
                await file.write(b"changed")
        except OSError:
            continue
    with suppress(OSError):
        await fs.rm(name)
