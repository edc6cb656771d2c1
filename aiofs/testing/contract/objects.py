"""Behaviours 290 to 303, and 350: paths as objects, and the URL of a file system."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from functools import partial
from pathlib import Path as DiskPath
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from aiofs.driver import ABSENT
from aiofs.errors import Unsupported
from aiofs.layers.gzip import Gzip
from aiofs.path import Path
from aiofs.testing.harness import needs
from aiofs.urls import connect

if TYPE_CHECKING:
    from aiofs.filesystem import FileSystem
    from aiofs.testing.harness import Harness

REFUSED = (
    PurePosixPath("/a"),
    PurePosixPath("../a"),
    PurePosixPath("a/../b"),
    PurePosixPath(".aiofs"),
    PureWindowsPath("a"),
    PureWindowsPath("a\\b"),
    PureWindowsPath("C:/a"),
)
NO_NAMES = ("/a", "a//b", "./a", "..", "a/../b", "nul\0", "surrogate\ud800", ".aiofs", *REFUSED)


class PathObjects:
    """Paths as objects."""

    @needs("writable")
    async def test_290_path_of_a_name(self, store: Harness) -> None:
        """`fs / "a" / "b"` is the file `a/b`: what it writes, `fs` reads, and the other way round."""
        path = store.fs / "a" / "b"
        await path.write_bytes(b"by the path")
        assert await store.get("a/b") == b"by the path"
        await store.put("a/b", b"by the name")
        assert await path.read_bytes() == b"by the name"
        assert await path.read_bytes(3, 6) == b"the"
        assert (path.path, path.system.driver) == ("a/b", store.driver)
        assert (await path.stat()).path == "a/b"
        for same in (store.fs / "a/b", store.fs / "a/" / "b", store.fs / PurePath("a", "b"), "a" / (store.fs / "b")):
            assert same == path

    @needs("writable")
    async def test_291_pure_paths(self, store: Harness) -> None:
        """A `PurePath` is taken wherever a name is."""
        fs, name = store.fs, PurePosixPath("folder", "file")
        await fs.write_bytes(name, b"1")
        assert await fs.read_bytes(name) == b"1"
        assert await fs.read_text(name) == "1"
        await fs.write_text(name, "2")
        assert await fs.exists(name)
        assert (await fs.stat(name)).path == "folder/file"
        async with fs.open(name, "a") as file:
            assert file.name == "folder/file"
            await file.write(b"3")
        await fs.copy(name, PurePosixPath("copied"))
        await fs.move(PurePosixPath("copied"), PurePosixPath("moved"))
        assert await fs.read_bytes("moved") == b"23"
        assert await fs.ls(PurePosixPath("folder")) == await fs.ls(PurePosixPath("folder"), recursive=False)
        assert await fs.ls(PurePosixPath()) == ["folder/file", "moved"]
        assert [entry.path async for entry in fs.scan(PurePosixPath("folder"))] == ["folder/file"]
        assert [files async for _, _, files in fs.walk(PurePosixPath("folder"))] == [["file"]]
        assert await fs.at(PurePosixPath("folder")).read_bytes(PurePosixPath("file")) == b"23"
        await fs.rm(name, PurePosixPath("moved"))
        assert await store.names() == []

    async def test_292_refused_pure_paths(self, store: Harness) -> None:
        """A `PurePath` that is absolute, of Windows, or has a `..` raises ValueError before any request."""
        fs, chaos = store.troubled()
        for name in REFUSED:
            for call in _uses(fs, name):
                with pytest.raises(ValueError, match=r"path .+"):
                    await call()
        for no_name in NO_NAMES:
            with pytest.raises(ValueError, match=r"path .+"):
                _ = fs / "folder" / no_name
        not_a_name: Any = fs / "a"
        for call in (partial(fs.read_bytes, not_a_name), (fs / "").read_bytes, (fs / "").unlink):
            with pytest.raises((TypeError, IsADirectoryError)):
                await call()
        for not_a_name in (b"a", 1, None, fs / "a"):
            with pytest.raises(TypeError):
                _ = fs / "folder" / not_a_name
        assert not chaos.calls

    async def test_293_equal_paths(self, store: Harness) -> None:
        """Paths of the same file are equal and have one hash, also through other connections and folders."""
        path = store.fs / "a" / "b"
        for same in (store.fresh() / "a" / "b", store.fs.at("a") / "b", Path(path)):
            assert path == same
            assert hash(path) == hash(same)
            assert not path != same  # noqa: SIM202 -- the other operator
        for other in (store.fs / "a" / "c", store.fs / "a", store.fs.at("c") / "a/b", "a/b", PurePosixPath("a/b")):
            assert path != other

    @needs("writable")
    async def test_294_open_of_a_path(self, store: Harness) -> None:
        """`open` of a path means bytes, and text with a `t` or an `encoding=`, in all modes."""
        path = store.fs / "file"
        async with path.open("x") as file:
            await file.write(b"a\r\n")
        async with path.open("a", encoding="latin-1") as text:
            await text.write("é")
        async with path.open("r+") as file:
            await file.write(b"A")
        async with path.open() as file:
            assert await file.read() == b"A\r\n\xe9"
        async with path.open("rt", encoding="latin-1", newline="") as text:
            assert await text.readlines() == ["A\r\n", "é"]
        await path.write_text("é", encoding="utf-16-le")
        assert await path.read_text("utf-16-le") == "é"

    async def test_295_iterdir(self, store: Harness) -> None:
        """`iterdir` gives the files and folders of one level; for a missing folder and for a file it raises."""
        for name in ("a/b/c", "a/b/d", "a/e", "a.b", "f"):
            await store.put(name, b"x")
        assert await (store.fs / "a").iterdir() == [store.fs / "a/b", store.fs / "a/e"]
        assert [path.path async for path in (store.fs / "").iterdir()] == ["a.b", "a", "f"]
        with pytest.raises(FileNotFoundError):
            await (store.fs / "missing").iterdir()
        with pytest.raises(NotADirectoryError):
            await (store.fs / "f").iterdir()
        if store.can.file_and_folder:
            for name in ("g", "g/h", "g/h/i", "g.b"):  # some stores take a file only before the folder of its name
                await store.put(name, b"a file too")
            assert [path.path async for path in (store.fs / "").iterdir()] == ["a.b", "a", "f", "g", "g.b"]
            assert [path.name async for path in (store.fs / "g").iterdir()] == ["h"]

    async def test_296_path_glob(self, store: Harness) -> None:
        """`glob` and `rglob` match names in the folder, whose own name is literal, and give files."""
        names = ["a/x.txt", "a/y.bin", "a/b/z.txt", "ab/x.txt", "[a]/x.txt"]
        held = [name for name in names if not store.cannot_hold(name)]
        for name in held:
            await store.put(name)
        folder = store.fs / "a"
        assert await folder.glob("*.txt") == [folder / "x.txt"]
        assert await folder.glob("*/*.txt") == await folder.glob("b/*") == [folder / "b" / "z.txt"]
        assert await folder.rglob("*.txt") == [folder / "b" / "z.txt", folder / "x.txt"]
        assert await folder.glob("*") == [folder / "x.txt", folder / "y.bin"]
        assert await folder.glob("**") == [folder / "b/z.txt", folder / "x.txt", folder / "y.bin"]
        assert await (store.fs / "missing").glob("*") == []
        if "[a]/x.txt" in held:
            assert await (store.fs / "[a]").glob("*") == [store.fs / "[a]/x.txt"]
            assert await (store.fs / "[ab]").rglob("*") == []
        for pattern in ("", "/x", "../x", "a//b"):
            with pytest.raises(ValueError, match="pattern"):
                folder.glob(pattern)

    async def test_297_kinds_of_paths(self, store: Harness) -> None:
        """`is_file`, `is_dir` and `exists` distinguish files, folders with files in them, and missing names."""
        await store.put("a/b/c", b"x")
        file, folder, root = store.fs / "a/b/c", store.fs / "a", store.fs / ""
        missing = [store.fs / "a/b/d", store.fs / "a/b/c/d", store.fs / "a*", store.fs / "b"]
        assert [await path.is_file() for path in (file, folder, root, *missing)] == [True, *[False] * 6]
        assert [await path.is_dir() for path in (file, folder, root, *missing)] == [False, True, True, *[False] * 4]
        assert [await path.exists() for path in (file, folder, root, *missing)] == [True, True, True, *[False] * 4]

    @needs("writable")
    async def test_298_unlink_and_rename(self, store: Harness) -> None:
        """`unlink`, `rename`, `replace`, `move` and `copy` act on the file, and raise the errors of pathlib."""
        path = store.fs / "a" / "b"
        with pytest.raises(FileNotFoundError):
            await path.unlink()
        await path.unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            await path.rename("c")
        await path.write_bytes(b"1")
        await (store.fs / "c").write_bytes(b"replaced")
        renamed = await path.rename("c")
        assert renamed == store.fs / "c"
        assert await store.names() == ["c"]
        moved = await (await renamed.move(store.fs.at("d") / "e")).replace(store.fs / "f/g")
        assert await moved.read_bytes() == b"1"
        copied = await moved.copy(PurePosixPath("f/h"))
        assert [copied.path, await copied.read_bytes()] == ["f/h", b"1"]
        assert await store.names() == ["f/g", "f/h"]
        await moved.unlink()
        assert await store.names() == ["f/h"]

    @needs("writable")
    async def test_299_folders_of_paths(self, store: Harness) -> None:
        """`mkdir` and `rmdir` only check, as folders come and go with files; `touch` makes an empty file."""
        folder, file = store.fs / "a", store.fs / "a" / "b"
        await folder.mkdir()
        await (folder / "deep").mkdir(parents=True, exist_ok=True)
        await folder.rmdir()
        assert await store.names() == []
        await file.touch()
        assert await store.get("a/b") == b""
        await file.write_bytes(b"stays")
        await file.touch()
        assert await store.get("a/b") == b"stays"
        with pytest.raises(FileExistsError):
            await file.touch(exist_ok=False)
        await folder.mkdir(exist_ok=True)
        for path in (folder, file):
            with pytest.raises(FileExistsError):
                await path.mkdir()
        with pytest.raises(FileExistsError):
            await file.mkdir(exist_ok=True)
        with pytest.raises(NotADirectoryError):
            await file.rmdir()
        with pytest.raises(OSError, match=r".+") as caught:
            await folder.rmdir()
        assert caught.value.errno == errno.ENOTEMPTY
        assert await store.names() == ["a/b"]

    async def test_300_order_of_paths(self, store: Harness) -> None:
        """Paths are sorted as listings are, and `relative_to` gives the name in a folder."""
        names = ["t-/x", "t.x", "t/x", "t/x y", "t0", "é", "\N{GRINNING FACE}"]
        for name in names:
            await store.put(name)
        paths = [store.fs / name async for name in store.fs.ls()]
        mixed = random.Random(7).sample(paths, len(paths))  # noqa: S311 -- any order
        assert sorted(mixed) == paths
        assert max(mixed) == store.fresh() / "\N{GRINNING FACE}"
        for path in paths:
            assert path.relative_to(store.fs / "") == path.relative_to("") == PurePosixPath(path.path)
            assert path.parent / path.relative_to(path.parent) == path
        assert (store.fs / "t/x").is_relative_to(store.fs.at("t") / "")
        assert not (store.fs / "t0").is_relative_to("t")
        with pytest.raises(ValueError, match="t0"):
            (store.fs / "t0").relative_to("t")

    async def test_301_walk_of_a_path(self, store: Harness) -> None:
        """`walk` gives each folder as a path, with the names in it, and `at` is the folder as a file system."""
        for name in ("a/b/c", "a/d", "e"):
            await store.put(name, name.encode())
        folder = store.fs / "a"
        assert [level async for level in folder.walk()] == [(folder, ["b"], ["d"]), (folder / "b", [], ["c"])]
        assert [level async for level in (store.fs / "missing").walk()] == []
        assert await folder.at().ls() == ["b/c", "d"]
        assert await (folder.at() / "b" / "c").read_bytes() == b"a/b/c"

    @needs("writable")
    async def test_302_content_of_a_path(self, store: Harness, tmp_path: DiskPath) -> None:
        """A path has `read_json`, `write_json`, `update`, `download` and `local`, as file systems have them."""
        path = store.fs / "a" / "b.json"
        await path.write_json({"n": 1})
        assert await path.read_json() == await store.fs.read_json("a/b.json") == {"n": 1}
        assert await path.read_json(loads=bytes) == b'{"n": 1}'
        if store.can.conditional:
            assert (await path.update(lambda text: text.replace("1", "22"), encoding="utf-8")).size == 9
            assert (await (store.fs / "c").update(lambda old: old + b"!", create=b"")).path == "c"
        else:
            with pytest.raises(Unsupported):
                await path.update(lambda old: old + b"!")
        data = await path.read_bytes()
        await path.download(tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data
        async with path.local() as file:
            assert (file.name, file.read_bytes()) == ("b.json", data)
        async with path.local("w") as file:
            file.write_bytes(b"[]")
        assert await path.read_json() == []
        root: Any = store.fs / ""
        for call in (root.read_json, partial(root.write_json, 1), partial(root.download, tmp_path / "root")):
            with pytest.raises(IsADirectoryError):
                await call()

    @needs("writable")
    async def test_303_wait_and_match_of_a_path(self, store: Harness) -> None:
        """`unlink`, `copy`, `move`, `rename`, `replace` and `touch` of a path wait, and match, as file systems do."""
        path, taken = store.fs / "a", store.fs / "taken"
        await path.write_bytes(b"1")
        async with taken.open("w") as file:
            for verb in (path.copy, path.move, path.rename, path.replace):
                with pytest.raises(BlockingIOError, match="taken"):
                    await verb(taken)
            for call in (taken.touch, partial(taken.write_bytes, b"2")):
                with pytest.raises(BlockingIOError, match="taken"):
                    await call()
                with pytest.raises(ValueError, match="wait=-1"):
                    await call(wait=-1)
            waiting = asyncio.create_task(path.replace(taken, wait=60))
            await asyncio.sleep(0)
            await file.abort()
        assert await waiting == taken
        assert await store.names() == ["taken"]
        version = (await taken.stat()).version
        if not store.can.conditional or version is None:
            return
        await path.write_bytes(b"3")
        for verb in (taken.copy, taken.move, taken.rename, taken.replace):
            with pytest.raises(FileExistsError):
                await verb(path, match=ABSENT)
        assert await taken.rename("b", match=ABSENT) == store.fs / "b"
        with pytest.raises(BlockingIOError):
            await path.unlink(match=version)
        assert await store.names() == ["a", "b"]

    async def test_350_url_of(self, store: Harness) -> None:
        """The URL of a file system has no secret, and names the same store; a system without one raises."""
        for fs in (store.fs, store.fs.at("a")):
            try:
                url = fs.url_of()
            except Unsupported as error:
                if "has no URL" not in str(error):
                    raise
                continue
            assert not [secret for secret in store.secrets if secret in url]
            with patch.dict(os.environ, REDISCLI_AUTH="of the environment", AZURE_STORAGE_KEY="b2YgdGhpcw=="):
                other = connect(url)
            assert other / "b" == fs / "b"
            assert other.url_of() == url
            await other.aclose()
        assert fs.over(Gzip()) / "b" != fs / "b"
        with pytest.raises(OSError, match="has no URL"):
            fs.over(Gzip()).url_of()


def _uses(fs: FileSystem, name: PurePath) -> list[Any]:
    async def opened() -> None:
        async with fs.open(name):
            pytest.fail(f"{name!r} was opened")

    return [
        opened,
        partial(fs.rm, name),
        partial(fs.rm, "fine", name),
        partial(fs.stat, name),
        partial(fs.exists, name),
        partial(fs.read_bytes, name),
        partial(fs.write_bytes, name, b""),
        partial(fs.copy, name, "fine"),
        partial(fs.copy, "fine", name),
        partial(fs.move, name, "fine"),
        partial(fs.move, "fine", name),
        partial(_listed, fs, name),
    ]


async def _listed(fs: FileSystem, name: PurePath) -> None:
    await fs.ls(name)
