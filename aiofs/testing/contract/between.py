"""Behaviours 310 to 329: copies and moves between stores, and folders."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

import aiofs.blocking
from aiofs.backends.memory import MemoryDriver
from aiofs.between import copy, move
from aiofs.driver import ABSENT, ANY, Capabilities
from aiofs.errors import Unsupported
from aiofs.filesystem import FileSystem
from aiofs.layers.gzip import Gzip
from aiofs.powers import CopiesFrom, HasOrigin
from aiofs.testing.chaos import Chaos
from aiofs.testing.harness import Stop, cancelled_everywhere, needs
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.path import Path
    from aiofs.testing.chaos import Verb
    from aiofs.testing.harness import Harness

OLD, NEW, THEIRS = b"the old bytes", b"the new bytes, which are more", b"theirs"
PART = 1 << 16
LARGE = bytes(range(256)) * 800  # several parts
TOUCHES = 8


class KeepsNothing(MemoryDriver):
    """A store in memory that keeps bytes alone."""

    capabilities: Capabilities = Capabilities()


def elsewhere(driver: MemoryDriver | None = None) -> tuple[FileSystem, Chaos]:
    """Return another store, of a kind that no store copies to or from by itself."""
    driver = driver or MemoryDriver()
    driver.part_size = PART
    chaos = Chaos()
    return FileSystem(driver).over(chaos), chaos


@needs("writable")
class BetweenStores:
    """Copies and moves between stores."""

    async def test_310_copy_to_and_from(self, store: Harness) -> None:
        """`aiofs.copy` copies a file to another store and from it, and returns the new entry, as `stat` has it."""
        other, _ = elsewhere()
        await store.put("folder/file", NEW)
        await other.write_bytes("there", OLD)
        for source, target in ((store.fs / "folder/file", other / "there"), (other / "there", store.fs / "copy")):
            entry = await copy(source, target)
            found = await target.stat()
            assert (entry.path, entry.size) == (found.path, found.size) == (target.path, len(NEW))
            assert entry.version in ({found.version} if store.can.conditional else {found.version, None})
            assert await source.read_bytes() == await target.read_bytes() == NEW
        assert await (other / "there").copy(store.fs / "copy") == store.fs / "copy"
        assert await store.names() == ["copy", "folder/file"]

    async def test_311_metadata(self, store: Harness) -> None:
        """Content type and metadata are kept; metadata that the target cannot keep are refused, unless dropped."""
        can = store.can.metadata and "content_type" in store.driver.capabilities.properties
        rich, _ = elsewhere()
        await rich.write_bytes("file", NEW, metadata={"k": "é, v"}, content_type="text/x")
        if store.can.metadata:
            entry = await copy(rich / "file", store.fs / "file")
        else:
            with pytest.raises(Unsupported, match="drop='metadata'") as caught:
                await copy(rich / "file", store.fs / "file")
            assert caught.value.filename == "file"
            assert await store.names() == []
            entry = await copy(rich / "file", store.fs / "file", drop="metadata")
        there = await store.fs.stat("file")
        assert dict(there.metadata or {}) == ({"k": "é, v"} if store.can.metadata else {})
        assert not can or there.content_type == "text/x"
        assert entry.size == there.size
        back = await copy(store.fs / "file", rich / "back")
        assert dict(back.metadata or {}) == dict(there.metadata or {})
        assert not can or back.content_type == "text/x"
        poor, chaos = elsewhere(KeepsNothing())
        if store.can.metadata:
            with pytest.raises(Unsupported, match="drop='metadata'"):
                await copy(store.fs / "file", poor / "file")
            assert not chaos.calls["begin"]
        await copy(store.fs / "file", poor / "file", drop="metadata")
        assert await poor.read_bytes("file") == NEW
        await store.put("plain", OLD)
        await copy(store.fs / "plain", poor / "plain")  # a content type alone is left out without a word

    async def test_312_parts_and_progress(self, store: Harness) -> None:
        """A copy goes part by part; `on_progress` gets what is done, last the size, when the target is there."""
        other, chaos = elsewhere()
        large = bytes(store.part_size + 1)
        seen: list[tuple[int, int | None]] = []
        await store.put("file", LARGE)
        await copy(store.fs / "file", other / "file", on_progress=lambda *told: seen.append(told))
        assert chaos.calls["write"] == -(-len(LARGE) // PART)
        done = [each[0] for each in seen]
        assert done == [*range(PART, len(LARGE), PART), len(LARGE)]
        assert {each[1] for each in seen} <= {len(LARGE), None}
        await other.write_bytes("large", large)

        async def told(done: int, total: int | None) -> None:
            seen.append((done, total))
            assert await store.fs.exists("large") is (done == total)

        seen.clear()
        await copy(other / "large", store.fs / "large", on_progress=told)
        assert seen == [(store.part_size, len(large)), (len(large), len(large))]
        assert await store.get("large") == large

        def stops(*_: object) -> None:
            raise Stop

        with pytest.raises(Stop):
            await copy(other / "large", store.fs / "stopped", on_progress=stops)
        assert await store.get("stopped") is None

    async def test_313_failed_copies(self, store: Harness) -> None:
        """A copy that fails leaves the source, and the old target or none; both can be written at once."""
        await store.put("file", OLD)
        reads: tuple[Verb, ...] = ("read", "chunk")
        writes: tuple[Verb, ...] = ("begin", "write", "commit")
        other, chaos = elsewhere()
        await other.write_bytes("there", LARGE)
        for verb in reads:
            chaos.fail(verb, OSError(errno.EIO, "broken"))
            with pytest.raises(OSError, match="broken") as caught:
                await copy(other / "there", store.fs / "file")
            assert caught.value.filename == "there"
        for verb in writes:
            fs, chaos = store.troubled()
            chaos.fail(verb, OSError(errno.EIO, "broken"))
            with pytest.raises(OSError, match="broken") as caught:
                await copy(other / "there", fs / "file")
            assert caught.value.filename == "file"
            with pytest.raises(OSError, match="broken"):
                chaos.fail(verb, OSError(errno.EIO, "broken"))
                await move(other / "there", fs / "file")
        assert await other.read_bytes("there") == LARGE
        assert await store.get("file") == OLD
        assert await store.leftovers() == []
        await store.write_at_once("file")

    @needs("conditional")
    async def test_314_match_and_wait(self, store: Harness) -> None:
        """`match` and `wait` are about the target."""
        other, _ = elsewhere()
        await other.write_bytes("there", NEW)
        target = store.fs / "file"
        first = await copy(other / "there", target, match=ABSENT)
        for verb in (copy, move):
            with pytest.raises(FileExistsError):
                await verb(other / "there", target, match=ABSENT)
        await store.put("file", THEIRS)
        for verb in (copy, move):
            with pytest.raises(BlockingIOError):
                await verb(other / "there", target, match=str(first.version))
        with pytest.raises(TypeError, match="no version"):
            await copy(other / "there", target, match=None)  # type: ignore[arg-type]
        async with store.fresh().open("file", "w") as file:
            for verb in (copy, move):
                with pytest.raises(BlockingIOError) as caught:
                    await verb(other / "there", target)
                assert caught.value.filename == "file"
            waiting = asyncio.ensure_future(copy(other / "there", target, wait=30))
            await file.write(b"somebody else's")
            await store.pause()
            assert not waiting.done()
        await waiting
        assert await store.get("file") == await other.read_bytes("there") == NEW

    async def test_315_what_is_refused(self, store: Harness) -> None:
        """A missing source is named as the caller named it; a copy onto itself and wrong arguments raise ValueError."""
        other, chaos = elsewhere()
        await store.put("folder/file", OLD)
        for verb in (copy, move):
            for source, target in (
                (store.fs.at("folder") / "no", other / "a"),
                (other / "no", store.fs / "folder/file"),
            ):
                with pytest.raises(FileNotFoundError) as caught:
                    await verb(source, target)
                assert caught.value.filename == "no"
            for again in (
                store.fs / "folder/file",
                store.fs.at("folder") / "file",
                store.fs.over(Gzip()) / "folder/file",
            ):
                with pytest.raises(ValueError, match="same file"):
                    await verb(store.fs / "folder/file", again)
            for wrong in (store.fs / "", other / ""):
                with pytest.raises(IsADirectoryError):
                    await verb(store.fs / "folder/file", wrong)
            with pytest.raises(ValueError, match="drop="):
                await verb(other / "a", store.fs / "b", drop="everything")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="wait="):
                await verb(other / "a", store.fs / "b", wait=-1)
        assert not chaos.calls["begin"]
        assert await store.get("folder/file") == OLD
        assert await store.leftovers() == []

    async def test_316_changed_while_it_is_copied(self, store: Harness) -> None:
        """If the source is changed while it is copied, the copy is the old version, or a BlockingIOError is raised."""
        other, chaos = elsewhere()
        await store.put("file", LARGE)
        await other.write_bytes("there", OLD)
        chaos.before("write", partial(store.write_at_once, "file", LARGE[::-1]), nth=2)
        with suppress(BlockingIOError):
            await copy(store.fs / "file", other / "there")
        assert await other.read_bytes("there") in {LARGE, OLD}
        assert await store.get("file") == LARGE[::-1]

    async def test_317_move_to_and_from(self, store: Harness) -> None:
        """`aiofs.move` moves a file to another store and from it, and returns the new entry."""
        other, _ = elsewhere()
        await store.put("folder/file", NEW)
        await other.write_bytes("there", OLD)
        entry = await move(store.fs / "folder/file", other / "there")
        assert (entry.path, entry.size) == ("there", len(NEW))
        assert await store.names() == []
        entry = await move(other / "there", store.fs / "back")
        assert (entry.path, entry.size) == ("back", len(NEW))
        assert await other.ls() == []
        moved = await (store.fs / "back").move(other / "again")
        assert await moved.read_bytes() == NEW
        assert await store.names() == await store.leftovers() == []

    @needs("conditional")
    async def test_318_moved_in_one_version(self, store: Harness) -> None:
        """A move removes the version that it copied; if somebody wrote another, it stays, and so does the copy."""
        other, chaos = elsewhere()
        await store.put("file", OLD)
        gate = chaos.stall("commit")
        moving = asyncio.ensure_future(move(store.fs / "file", other / "there"))
        await gate.reached.wait()
        await store.meddle_with("file", THEIRS)
        gate.open()
        with pytest.raises(BlockingIOError) as caught:
            await moving
        assert caught.value.filename == "file"
        assert await store.get("file") == THEIRS
        assert await other.read_bytes("there") == OLD
        fs, chaos = store.troubled()
        chaos.fail("delete", OSError(errno.EIO, "broken"))  # as if killed between the copy and the removal
        with pytest.raises(OSError, match="broken"):
            await move(fs / "file", other / "there")
        assert await store.get("file") == await other.read_bytes("there") == THEIRS
        async with store.fresh().open("file", "w") as file:
            with pytest.raises(BlockingIOError):
                await move(store.fs / "file", other / "there")
            await file.write(NEW)
        assert await store.get("file") == NEW
        fs, chaos = store.troubled()
        gate = chaos.stall("delete")
        moving_within = asyncio.ensure_future(fs.move("file", "moved"))
        await gate.reached.wait()
        await store.meddle_with("file", THEIRS)
        gate.open()
        with pytest.raises(BlockingIOError):
            await moving_within
        assert await store.get("file") == THEIRS
        assert await store.get("moved") == NEW

    async def test_319_cancelled_moves(self, store: Harness) -> None:
        """A move that is cancelled at any moment leaves the source, or the target, or both, each of them whole."""
        other, _ = elsewhere()
        source, target = store.fs / "file", other / "there"

        async def work() -> None:
            await move(source, target)

        async def check() -> None:
            held = [await path.read_bytes() for path in (source, target) if await path.exists()]
            assert set(held) == {NEW}
            await store.freed("file")
            assert await store.leftovers() == []
            await begin()

        async def begin() -> None:
            await source.write_bytes(NEW)
            await target.unlink(missing_ok=True)

        tries = 10 if store.every_moment else 6
        await begin()
        await cancelled_everywhere(work, check, tries=tries, every=store.every_moment)
        source, target = target, source
        await begin()
        await cancelled_everywhere(work, check, tries=tries, every=store.every_moment)

    async def test_320_through_layers(self, store: Harness) -> None:
        """Bytes are what the layers show: what `Gzip` compressed is copied decompressed, and the other way."""
        other, _ = elsewhere()
        zipped, below = other.over(Gzip()), store.fs
        await store.put("file", LARGE)
        await copy(below / "file", zipped / "zipped")
        assert len(await other.read_bytes("zipped")) < len(LARGE)
        await move(zipped / "zipped", below.over(Gzip()) / "again")
        assert len(await below.read_bytes("again")) < len(LARGE)
        entry = await copy(below.over(Gzip()) / "again", below / "plain")
        assert entry.size == len(LARGE)
        assert await store.get("plain") == LARGE

    async def test_321_by_the_store(self, store: Harness) -> None:
        """Between two folders a store copies by itself, if it can: no byte passes through this process."""
        await store.put("a/file", LARGE)
        source, folder = store.fs.at("a") / "file", store.fresh().at("b")
        origin, copies = source.system.driver.offers(HasOrigin), folder.driver.offers(CopiesFrom)
        if origin is not None and copies is not None and copies.can_copy_from(origin.origin("file")[0]):
            kind = type(origin.origin("file")[0])
            with patch.object(kind, "read", side_effect=AssertionError), patch.object(kind, "begin", side_effect=Stop):
                entry = await copy(source, folder / "copy")
        else:
            entry = await copy(source, folder / "copy")
        assert (entry.path, entry.size) == ("copy", len(LARGE))
        entry = await move(source, folder / "moved", match=ABSENT if store.can.conditional else ANY)
        assert (entry.path, entry.size) == ("moved", len(LARGE))
        assert await store.names() == ["b/copy", "b/moved"]
        assert await store.get("b/copy") == await store.get("b/moved") == LARGE
        with pytest.raises(FileNotFoundError) as caught:
            await copy(source, folder / "copy")
        assert caught.value.filename == "file"
        assert await store.leftovers() == []

    async def test_322_blocking_copies(self, store: Harness) -> None:
        """`aiofs.blocking.copy` and `move` do the same without `await`."""
        other, _ = elsewhere()
        await store.put("file", NEW)

        def work() -> None:
            entry = aiofs.blocking.copy(store.fs / "file", other / "there")
            assert (entry.path, entry.size) == ("there", len(NEW))
            assert aiofs.blocking.move(other / "there", store.fs / "moved").size == len(NEW)
            with pytest.raises(FileNotFoundError):
                aiofs.blocking.move(other / "there", store.fs / "moved")

        await asyncio.to_thread(work)
        assert await store.get("moved") == NEW
        assert await other.ls() == []


class Folders:
    """Folders."""

    async def test_323_is_folder(self, store: Harness) -> None:
        """`is_folder` is true of the root, and of a name with a file below it, and of nothing else."""
        await store.put("a/b/c", b"x")
        names = ["", "a", "a/", "a/b", "a/b/c", "a/b/d", "a*", "b"]
        assert [await store.fs.is_folder(name) for name in names] == [True, True, True, True, *[False] * 4]
        assert await store.fs.at("a").is_folder("b")
        for wrong in ("/a", "a//b", ".."):
            with pytest.raises(ValueError, match="path"):
                await store.fs.is_folder(wrong)

    @needs("writable")
    async def test_324_mkdir(self, store: Harness) -> None:
        """`mkdir` makes nothing, as folders come with their files; it refuses what is there already."""
        fs = store.fs
        await fs.mkdir("a/b", parents=True)
        await fs.mkdir("a")
        assert await store.names() == []
        await store.put("a/b", b"stays")
        await fs.mkdir("a", exist_ok=True)
        for name, exist_ok in (("a", False), ("a/b", False), ("a/b", True)):
            with pytest.raises(FileExistsError) as caught:
                await fs.mkdir(name, exist_ok=exist_ok)
            assert caught.value.filename == name
        assert await store.names() == ["a/b"]

    @needs("writable")
    async def test_325_touch(self, store: Harness) -> None:
        """`touch` makes an empty file; one that is there keeps its bytes and its version, also one made meanwhile."""
        fs = store.fs
        await fs.touch("a/b")
        assert await store.get("a/b") == b""
        await store.put("a/b", b"stays")
        before = await fs.stat("a/b")
        await fs.touch("a/b")
        assert (await store.fresh().stat("a/b")).version == before.version
        with pytest.raises(FileExistsError):
            await fs.touch("a/b", exist_ok=False)
        assert await store.get("a/b") == b"stays"

        async def touched(system: FileSystem) -> None:
            with suppress(BlockingIOError):
                await system.touch("new")

        async def written() -> None:
            await fs.write_bytes("new", NEW, wait=30)

        await asyncio.gather(written(), *(touched(store.fresh()) for _ in range(TOUCHES)))
        assert await store.get("new") == NEW
        troubled, chaos = store.troubled()
        if store.can.conditional:
            gate = chaos.stall("commit")
            touching = asyncio.ensure_future(troubled.touch("late"))
            await gate.reached.wait()
            await store.meddle_with("late", THEIRS)
            gate.open()
            await touching
            assert await store.get("late") == THEIRS

    @needs("writable")
    async def test_326_rm_of_a_folder(self, store: Harness) -> None:
        """`rm` of a folder raises IsADirectoryError, removes nothing, and says what removes the files in it."""
        names = [name for name in ("a/b/c", "[a]/b") if not store.cannot_hold(name)]
        for name in names:
            await store.put(name, b"x")
            folder = name.partition("/")[0]
            for call in (partial(store.fs.rm, folder), (store.fs / folder).unlink):
                with pytest.raises(IsADirectoryError, match=r"rm\(glob='.+/\*\*'\)") as caught:
                    await call()
                assert caught.value.filename == folder
            with pytest.raises(FileNotFoundError):
                await store.fs.rm(f"{folder}x")
        assert await store.names() == sorted(names)
        for said in ("a/**", "[[]a]/**"):
            await store.fs.rm(glob=said)
        assert await store.names() == []


class BetweenInTransactions:
    """Copies, moves and folders within transactions."""

    async def test_327_one_step(self, store: Harness) -> None:
        """In a transaction over two stores, a move between them is one step: both stores change at its end, or none."""
        other, _ = elsewhere()
        await store.put("file", NEW)
        stores = {"here": store.fs, "there": other}
        with pytest.raises(Stop):
            async with transaction(stores) as tx:
                await move(tx["here"] / "file", tx["there"] / "moved")
                assert not await tx["here"].exists("file")
                raise Stop
        assert await store.get("file") == NEW
        assert await other.ls() == []
        async with store.no_leftovers(), transaction(stores) as tx:
            entry = await move(tx["here"] / "file", tx["there"] / "moved")
            assert entry.size == len(NEW)
            await copy(tx["there"] / "moved", tx["here"].at("folder") / "copied")
            assert await store.names() == ["file"]
        assert await store.names() == ["folder/copied"]
        assert await other.read_bytes("moved") == await store.get("folder/copied") == NEW

    async def test_328_half_in_a_transaction(self, store: Harness) -> None:
        """Moves into a transaction or out of it, and copies out of it, are refused; a copy into it is a part of it."""
        other, _ = elsewhere()
        await store.put("file", NEW)
        await other.write_bytes("there", OLD)
        with pytest.raises(Stop):
            async with transaction(store.fs) as tx:
                refused: list[Callable[[Path, Path], Awaitable[object]]] = [copy, move]
                for verb in refused:
                    with pytest.raises(Unsupported, match="in a transaction") as caught:
                        await verb(tx / "file", other / "there")
                    assert caught.value.filename == "file"
                with pytest.raises(Unsupported, match="in a transaction") as caught:
                    await move(other / "there", tx.at("folder") / "file")
                assert caught.value.filename == "there"
                await copy(other / "there", tx / "folder/file")
                assert await tx.read_bytes("folder/file") == OLD
                raise Stop
        assert await store.names() == ["file"]
        assert await other.read_bytes("there") == OLD

    async def test_329_folders_in_a_transaction(self, store: Harness) -> None:
        """Within a transaction, folders are as its own files make them."""
        await store.put("a/file", OLD)
        async with transaction(store.fs) as tx:
            await tx.rm("a/file")
            assert not await tx.is_folder("a")
            await tx.mkdir("a")
            await tx.touch("b/file")
            assert await tx.is_folder("b")
            assert not await store.fs.is_folder("b")
            with pytest.raises(FileExistsError):
                await tx.mkdir("b")
            with pytest.raises(IsADirectoryError, match="rm"):
                await tx.rm("b")
        assert await store.names() == ["b/file"]
