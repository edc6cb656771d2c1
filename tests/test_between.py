"""Copies and moves between stores: what the contract does not ask of each store by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.backends.osfiles import OSDriver, driver
from aiofs.layers import Base64, Gzip, Limit, Log, ReadOnly
from aiofs.testing.chaos import Chaos
from conformance.test_bare import Library, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiofs.driver import ReadStream

LARGE = bytes(range(256)) * 9000  # some parts

STORES: dict[str, Callable[[Path], aiofs.FileSystem]] = {
    "memory": lambda _: aiofs.MemoryFileSystem(),
    "local": lambda folder: aiofs.OSFileSystem(folder / "local"),
    "leased": lambda folder: aiofs.OSFileSystem(folder / "leased", locks=aiofs.OSFileSystem(folder / "locks")),
    "compressed": lambda _: aiofs.MemoryFileSystem().over(Gzip()),
    "bare": lambda _: Library(Shelf()).over(),
    "transactional": lambda folder: aiofs.TransactionalFileSystem(aiofs.OSFileSystem(folder / "transactional")),
}


@pytest.mark.parametrize(("source", "target"), [*permutations(STORES, 2)])
async def test_a_file_goes_from_each_kind_of_store_to_each(source: str, target: str, tmp_path: Path) -> None:
    async with STORES[source](tmp_path) as here, STORES[target](tmp_path) as there:
        await here.write_bytes("a/file", LARGE)
        entry = await aiofs.copy(here / "a/file", there / "b/copy")
        assert (entry.path, entry.size) == ("b/copy", len(LARGE))
        await there.rm("b/copy")
        await aiofs.move(here / "a/file", there / "b/moved")
        assert await there.read_bytes("b/moved") == LARGE
        assert await here.ls() == []
        assert await there.ls() == ["b/moved"]


async def test_urls_and_local_paths(tmp_path: Path) -> None:
    local, other = str(tmp_path / "a"), tmp_path / "b"
    await aiofs.Path("memory://between/x").write_bytes(b"bytes")
    await aiofs.copy("memory://between/x", local)
    await aiofs.move(local, other)
    assert os.listdir(tmp_path) == ["b"]
    entry = await aiofs.move(other, "memory://between/y")
    assert (entry.path, entry.size) == ("between/y", 5)
    assert await aiofs.Path("memory://between/y").read_bytes() == b"bytes"
    await aiofs.Path("memory://between").system.rm("between/x", "between/y")
    for wrong in ("nonsense://a/b", ""):
        with pytest.raises(ValueError, match=r".+"):
            await aiofs.copy(wrong, local)


async def test_local_files_go_from_disk_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel cannot rename, because the disks are two, the file is copied and then removed."""
    source, target = tmp_path / "one" / "file", tmp_path / "two" / "file"
    source.parent.mkdir()
    source.write_bytes(LARGE)
    os.chmod(source, 0o640)
    renamed = os.replace

    def two_disks(old: Any, new: Any, **folders: Any) -> None:
        if os.fspath(old) == "file":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        renamed(old, new, **folders)

    monkeypatch.setattr("aiofs.backends.osfiles.driver.os.replace", two_disks)
    await aiofs.move(source, target)
    assert target.read_bytes() == LARGE
    assert not source.exists()
    assert target.stat().st_mode & 0o777 == 0o640


async def test_a_local_copy_is_left_to_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the bytes were read or written here")

    await aiofs.OSFileSystem(tmp_path / "one").write_bytes("file", LARGE)
    for name in ("read", "begin"):
        monkeypatch.setattr(OSDriver, name, refuse)
    await aiofs.copy(tmp_path / "one" / "file", aiofs.OSFileSystem(tmp_path / "two").at("deep") / "file")
    assert (tmp_path / "two" / "deep" / "file").read_bytes() == LARGE


async def test_bytes_that_a_program_changes_in_place_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "file"
    source.write_bytes(LARGE)
    copied: Callable[..., None] = vars(driver)["copy_bytes"]

    def slowly(*given: int) -> None:
        copied(*given)
        with source.open("r+b") as file:
            file.write(b"changed")

    monkeypatch.setattr(driver, "copy_bytes", slowly)
    with pytest.raises(aiofs.Conflict) as caught:
        await aiofs.copy(source, aiofs.OSFileSystem(tmp_path / "other") / "copy")
    assert caught.value.filename == "file"
    assert await aiofs.OSFileSystem(tmp_path / "other").ls() == []


async def test_no_link_leads_a_copy_out_of_its_folder(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await fs.write_bytes("secret", b"secret")
    await fs.write_bytes("tenant/file", b"file")
    os.symlink("../secret", tmp_path / "tenant" / "link")
    with pytest.raises(OSError, match=r".+"):
        await aiofs.copy(fs.at("tenant") / "link", fs / "copy")
    with pytest.raises(OSError, match=r".+"):
        await aiofs.copy(fs.at("tenant") / "file", fs.at("tenant") / "link")
    assert await fs.read_bytes("secret") == b"secret"


@pytest.mark.parametrize("system", [partial(Library, Shelf()), Library], ids=["one shelf", "two shelves"])
async def test_one_store_behind_two_objects_of_three_methods(system: Callable[..., Library]) -> None:
    """Nothing but their settings says whether two objects are one store."""
    shelf = system.args[0] if isinstance(system, partial) else None
    here, there = (Library(shelf or Shelf()) for _ in range(2))
    await here.write_bytes("file", b"bytes")
    if shelf is None:
        await aiofs.move(here / "file", there / "file")
    else:
        with pytest.raises(ValueError, match="same file"):
            await aiofs.move(here / "file", there / "file")
    assert await there.read_bytes("file") == b"bytes"


async def test_layers_over_a_source_or_target_are_obeyed() -> None:
    here, there = aiofs.MemoryFileSystem(), aiofs.MemoryFileSystem()
    await here.write_bytes("file", b"bytes")
    await aiofs.copy(here.over(ReadOnly()) / "file", there / "copy")
    with pytest.raises(aiofs.AccessDenied) as refused:
        await aiofs.move(here.over(ReadOnly()) / "file", there / "copy")
    assert refused.value.filename == "file"
    with pytest.raises(aiofs.TooLarge):
        await aiofs.copy(here / "file", there.over(Limit(4)) / "large")
    await aiofs.copy(here.over(Log()) / "file", there.over(Log()) / "logged")
    assert await there.ls() == ["copy", "logged"]


class Whole(MemoryDriver):
    """Gives all bytes of a file, and before them some, however many are asked for."""

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        stream = await super().read(path, start, stop, match=match)
        chunk, sizes = stream.chunk, iter((1, 1_000_000))
        setattr(stream, "chunk", lambda _: chunk(next(sizes, 1 << 30)))  # noqa: B010 -- a method, for this stream only
        return stream


@pytest.mark.parametrize("layer", [Base64(), Gzip(), Log()], ids=str)
async def test_parts_have_the_size_that_the_target_wants(layer: aiofs.Layer) -> None:
    here, there = aiofs.FileSystem(Whole()).over(Log()), aiofs.MemoryFileSystem().over(chaos := Chaos(), layer)
    await here.write_bytes("file", LARGE)
    await aiofs.copy(here / "file", there / "copy")
    assert await there.read_bytes("copy") == LARGE
    if isinstance(layer, Log):
        assert chaos.calls["write"] == -(-len(LARGE) // there.driver.part_size)


class Unversioned(MemoryDriver):
    """Knows no versions, as a driver of somebody else may not."""

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        stream = await super().read(path, start, stop)
        stream.entry = replace(stream.entry, version=None)
        return stream

    async def stat(self, path: str) -> aiofs.Entry:
        return replace(await super().stat(path), version=None)


async def test_what_has_no_version_is_not_moved() -> None:
    here, there = aiofs.FileSystem(Unversioned()).over(Log()), aiofs.MemoryFileSystem()
    await here.write_bytes("file", b"bytes")
    with pytest.raises(aiofs.Unsupported, match="knows no version"):
        await aiofs.move(here / "file", there / "copy")
    assert [*await here.ls(), *await there.ls()] == ["file"]
    await aiofs.copy(here / "file", there / "copy")


async def test_tags_are_the_users_and_a_content_type_is_not(tmp_path: Path) -> None:
    here, there = aiofs.MemoryFileSystem(), aiofs.OSFileSystem(tmp_path)
    await here.write_bytes("typed", b"1", content_type="text/x")
    await here.write_bytes("tagged", b"2", tags={"k": "v"}, cache_control="no-store")
    await aiofs.copy(here / "typed", there / "typed")
    with pytest.raises(aiofs.Unsupported, match=r"keeps no cache control and no tags, which 'tagged' has"):
        await aiofs.copy(here / "tagged", there / "tagged")
    assert os.listdir(tmp_path) == ["typed"]
    await aiofs.move(here / "tagged", there / "tagged", drop="metadata")
    assert await there.read_bytes("tagged") == b"2"


async def test_moves_in_opposite_directions_wait_for_each_other() -> None:
    one, two = (aiofs.MemoryFileSystem().over(Chaos()) for _ in range(2))
    await one.write_bytes("a", b"1")
    await two.write_bytes("b", b"2")
    moves = [aiofs.move(one / "a", two / "b", wait=20), aiofs.move(two / "b", one / "a", wait=20)]
    await asyncio.wait_for(asyncio.gather(*moves), 10)
    assert [*await one.ls(), *await two.ls()] in (["a"], ["b"])


async def test_an_error_says_what_was_copied_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await aiofs.copy(tmp_path / "missing", "memory://x")
    assert caught.value.filename == "missing"
    assert caught.value.__notes__ == [f"copying {str(tmp_path / 'missing')!r} to '<MemoryDriver>/x'"]


async def test_a_path_of_a_transactional_system_is_in_its_transaction(tmp_path: Path) -> None:
    tfs = aiofs.TransactionalFileSystem(aiofs.OSFileSystem(tmp_path / "files"))
    await tfs.write_bytes("file", b"bytes")
    async with tfs.transaction() as tx:
        await aiofs.move(tfs / "file", tfs / "moved")
        with pytest.raises(aiofs.Unsupported, match="in a transaction"):
            await aiofs.move(tfs / "moved", tmp_path / "outside")
        assert os.listdir(tmp_path / "files") != ["moved"]
        await tx.rollback()
    assert await tfs.ls() == ["file"]
    await aiofs.move(tfs / "file", tmp_path / "outside")
    assert (tmp_path / "outside").read_bytes() == b"bytes"


KILLED = """
import asyncio, os, signal, sys
import aiofs

async def main(folder, at):
    here, there = aiofs.OSFileSystem(f"{folder}/here").over(chaos := Killer(at)), aiofs.OSFileSystem(f"{folder}/there")
    await aiofs.move(here.over(aiofs.layers.Gzip()) / "file", there.over(chaos) / "file")

from aiofs.testing.chaos import Chaos

def Killer(verb):
    chaos = Chaos()
    chaos.kill(verb.strip("+"), after=verb.endswith("+"))
    return chaos

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", ["begin", "write+", "commit", "commit+", "delete", "delete+"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
async def test_a_killed_move_leaves_both_or_one(tmp_path: Path, verb: str) -> None:
    here, there = aiofs.OSFileSystem(tmp_path / "here").over(Gzip()), aiofs.OSFileSystem(tmp_path / "there")
    await here.write_bytes("file", LARGE)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(tmp_path), verb)
    assert await process.wait() == -9
    held = [await fs.read_bytes("file") if await fs.exists("file") else None for fs in (here, there)]
    assert held == [
        None if verb == "delete+" else LARGE,
        LARGE if verb in {"commit+", "delete", "delete+"} else None,
    ]
    if held[0]:
        await aiofs.move(here / "file", there / "file")
    assert await there.read_bytes("file") == LARGE
