"""Behaviours 360 to 373: writes that another process continues, with `partial=` and `checkpoint`."""

from __future__ import annotations

import asyncio
import io
import pickle
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import clock
from aiofs.driver import ABSENT
from aiofs.errors import AlreadyExists, Conflict, Unsupported
from aiofs.partials import DAYS, KIND, Checkpoint
from aiofs.powers import Sweeps
from aiofs.testing.harness import Stop, needs
from aiofs.testing.kills import Child
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiofs.blocking.systems import BlockingFileSystem
    from aiofs.filesystem import FileSystem
    from aiofs.testing.harness import Harness
    from aiofs.testing.kills import ChildProcesses

OLD, THEIRS, END = b"the old bytes", b"theirs", b"the end"
STORY = b"".join(b"%07d\n" % line for line in range(1 << 12))  # no piece of it is like another


def story(start: int, stop: int) -> bytes:
    """Return these bytes of a long file, of which each differs from those around it."""
    first = start // len(STORY)
    return (STORY * (stop // len(STORY) + 1 - first))[start - first * len(STORY) : stop - first * len(STORY)]


@needs("writable", "partial")
class Partials:
    """Writes with `partial=`."""

    async def test_360_goes_on(self, store: Harness) -> None:
        """A write begun with `partial=""` continues with the token of a checkpoint, at `tell`; closing publishes."""
        async with store.no_leftovers():
            checkpoint = await kept(store.fs, "folder/file", [story(0, 1000)])
            assert checkpoint.length == 1000
            assert await store.names() == []
            other = store.fresh()
            async with other.open("folder/file", "w", partial=checkpoint.token) as file:
                assert await file.tell() == 1000
                await file.write(story(1000, 1500))
                again = await file.checkpoint()
                assert again == Checkpoint(checkpoint.token, 1500)
                await file.write(END)
            assert file.entry == (await other.stat("folder/file")) or file.entry.size == 1500 + len(END)
        assert await store.get("folder/file") == story(0, 1500) + END
        assert pickle.loads(pickle.dumps(again)) == again  # noqa: S301 -- our own
        assert again.token.isprintable()
        await store.write_at_once("folder/file")

    async def test_361_every_byte_is_safe(self, store: Harness) -> None:
        """`checkpoint` makes safe each byte that was written before, whether or not it fills a part of the store."""
        part = store.part_size
        for sizes in ([0], [1], [part], [part - 1, part, 5], [part + 7, 0, part - 7, 1]):
            checkpoint, length = Checkpoint("", 0), 0
            for size in sizes:
                async with store.fresh().open("file", "w", partial=checkpoint.token) as file:
                    assert await file.tell() == length
                    await file.write(story(length, length + size))
                    length += size
                    checkpoint = await file.checkpoint()
                    assert checkpoint.length == length
                    await file.write(b"not safe" * (9 if size else part // 8 + 9))
                    await file.leave()
            async with store.fs.open("file", "w", partial=checkpoint.token) as file:
                assert await file.tell() == length
                await file.write(END)
            assert await store.get("file") == story(0, length) + END
            await store.fs.rm("file")

    async def test_362_what_stays(self, store: Harness) -> None:
        """An exception in the block keeps the last checkpoint; `abort`, or having none, leaves nothing."""
        fs = store.fs
        await store.put("file", OLD)
        async with store.no_leftovers():
            with pytest.raises(Stop):
                async with fs.open("file", "w", partial="") as file:
                    await file.write(story(0, 2 * store.part_size))
                    raise Stop
        checkpoint = Checkpoint("", 0)
        async with store.no_leftovers():
            with pytest.raises(Stop):
                async with fs.open("file", "w", partial="") as file:
                    await file.write(story(0, 2 * store.part_size))
                    checkpoint = await file.checkpoint()
                    raise Stop
            assert await store.get("file") == OLD
            async with fs.open("file", "w", partial=checkpoint.token) as file:
                assert await file.tell() == checkpoint.length
                await file.write(story(checkpoint.length, 3 * store.part_size))
                await file.abort()
        with pytest.raises(FileNotFoundError):
            await fs.open("file", "w", partial=checkpoint.token)
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_363_replaces_its_base(self, store: Harness) -> None:
        """If the file was changed after the write began, that raises BlockingIOError, and overwrites nothing."""
        fs = store.fs
        for before in (OLD, None):
            for when in ("between", "while it is open"):
                with suppress(FileNotFoundError):
                    await fs.rm("file")
                if before is not None:
                    await store.put("file", before)
                checkpoint = await kept(fs, "file", [story(0, 1000)])
                if when == "between":
                    await store.put("file", THEIRS)
                with pytest.raises(Conflict) as caught:
                    async with fs.open("file", "w", partial=checkpoint.token) as file:
                        await store.meddle_with("file", THEIRS)
                        await file.write(END)
                assert caught.value.filename == "file"
                assert await store.get("file") == THEIRS
        await store.write_at_once("file")

    async def test_364_match_at_the_beginning(self, store: Harness) -> None:
        """The `match` with which a write begins is compared then, and again when it is published."""
        fs = store.fs
        await store.put("file", OLD)
        stale = (await fs.stat("file")).version
        await store.put("file", THEIRS)
        version = (await fs.stat("file")).version
        assert stale is not None
        assert version is not None
        with pytest.raises(Conflict):
            await fs.open("file", "w", partial="", match=stale)
        with pytest.raises(AlreadyExists):
            await fs.open("file", "w", partial="", match=ABSENT)
        checkpoint = await kept(fs, "file", [END], match=version)
        async with fs.open("file", "w", partial=checkpoint.token):
            pass
        assert await store.get("file") == END
        checkpoint = await kept(fs, "new", [END], match=ABSENT)
        with pytest.raises(AlreadyExists):
            async with fs.open("new", "w", partial=checkpoint.token) as file:
                await store.meddle_with("new", THEIRS)
                await file.write(END)
        assert await store.get("new") == THEIRS

    async def test_365_holds_no_lock(self, store: Harness) -> None:
        """A write that nobody has open keeps no writer out; one that is open does, as every writer."""
        checkpoint = await kept(store.fs, "file", [story(0, 1000)])
        async with store.fs.open("file", "w", partial=checkpoint.token) as file:
            for token in ("", checkpoint.token, None):
                with pytest.raises(BlockingIOError):
                    await store.fresh().open("file", "w", partial=token)
            await file.leave()
        await store.write_at_once("file")
        await store.fs.rm("file")
        await store.write_at_once("file")

    async def test_366_one_goes_on(self, store: Harness) -> None:
        """If two continue with one token, the slower one gets an OSError; their bytes are never mixed."""
        part = store.part_size
        checkpoint = await kept(store.fs, "file", [story(0, part + 100)])
        slow = await store.fs.open("file", "w", partial=checkpoint.token)
        await slow.write(b"s" * (part + 300))
        await slow.leave()
        quick = await store.fresh().open("file", "w", partial=checkpoint.token)
        await quick.write(story(part + 100, 3 * part))
        with pytest.raises(BlockingIOError):
            await store.fs.open("file", "w", partial=checkpoint.token)
        await quick.close()
        with pytest.raises(OSError, match="file"):
            await store.fs.open("file", "w", partial=checkpoint.token)
        assert await store.get("file") == story(0, 3 * part)

    async def test_367_wrong_tokens(self, store: Harness) -> None:
        """A token that is damaged or of another file raises ValueError, one of a published write FileNotFoundError."""
        fs = store.fs
        await store.put("file", OLD)
        checkpoint = await kept(fs, "file", [story(0, 1000)])
        token = checkpoint.token
        for wrong in (token[:-1], f"{token}x", token.replace("e", "f"), "nonsense", "aiofs1-"):
            with pytest.raises(ValueError, match="partial="):
                fs.open("file", "w", partial=wrong)
        with pytest.raises(ValueError, match="partial="):
            await fs.open("other", "w", partial=token)
        assert await store.names() == ["file"]
        assert await store.get("file") == OLD
        async with fs.open("file", "w", partial=token) as file:
            await file.write(END)
        for system in (fs, store.fresh()):
            with pytest.raises(FileNotFoundError, match="partial=''") as caught:
                await system.open("file", "w", partial=token)
            assert caught.value.filename == "file"
        assert await store.get("file") == story(0, 1000) + END
        await store.write_at_once("file")

    async def test_368_kept_for_days(self, store: Harness) -> None:
        """Sweeping leaves a partial write alone until it is as old as the file system says, and then removes it."""
        sweeps = store.driver.offers(Sweeps)
        if sweeps is None:
            pytest.skip("this file system cannot sweep")
        checkpoint = await kept(store.fs, "folder/file", [story(0, 2 * store.part_size + 9)])
        found = [left async for left in sweeps.leftovers()]
        assert [left.kind for left in found] == [KIND]
        assert found[0].stays.startswith("resumable")
        assert not found[0].live
        for left in found:
            await sweeps.sweep(left)
        async with store.fs.open("folder/file", "w", partial=checkpoint.token) as file:
            assert await file.tell() == checkpoint.length
            open_now = [left.live async for left in sweeps.leftovers() if left.kind == KIND]
            assert open_now == [True] or store.can.locks == "process"
            await file.checkpoint()
            await file.leave()
        later = clock.now() + timedelta(days=DAYS + 1)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("aiofs.partials.clock", SimpleNamespace(now=lambda: later))
            (left,) = [left async for left in sweeps.leftovers()]
            assert (left.kind, left.stays, left.live) == (KIND, "", False)
            assert await sweeps.sweep(left)
        assert await store.leftovers() == []
        with pytest.raises(FileNotFoundError):
            await store.fs.open("folder/file", "w", partial=checkpoint.token)
        await store.write_at_once("folder/file")

    async def test_369_what_partial_cannot_be(self, store: Harness) -> None:
        """`partial=` goes with mode `w` for bytes; what is given at the beginning is refused when a write continues."""
        fs: Any = store.fs
        checkpoint = await kept(fs, "file", [END])
        for mode in ("r", "r+", "a", "x", "wt"):
            with pytest.raises(ValueError, match="partial="):
                fs.open("file", mode, partial="")
        with pytest.raises(ValueError, match="partial="):
            fs.open("file", "w", partial="", encoding="utf-8")
        with pytest.raises(TypeError, match="partial="):
            fs.open("file", "w", partial=7)
        with pytest.raises(ValueError, match="match="):
            fs.open("file", "w", partial=checkpoint.token, match=ABSENT)
        await store.put("file", OLD)
        for mode in ("r", "r+", "w", "a"):
            async with fs.open("file", mode) as file:
                with pytest.raises(io.UnsupportedOperation, match="partial="):
                    await file.checkpoint()
        async with transaction(fs, auto_commit=False) as tx:
            with pytest.raises(Unsupported, match="partial="):
                await tx.open("file", "w", partial="")

    async def test_373_blocking(self, store: Harness) -> None:
        """Code without asyncio has `partial=`, `checkpoint`, and files that keep the last checkpoint, as well."""

        def write(fs: BlockingFileSystem) -> None:
            token = ""
            with pytest.raises(Stop), fs.open("file", "w", partial="") as file:
                file.write(story(0, 1000))
                token = file.checkpoint().token
                file.write(b"not safe")
                raise Stop
            with fs.open("file", "w", partial=token) as file:
                assert file.tell() == 1000
                file.write(END)

        await asyncio.to_thread(write, store.fs.blocking)
        assert await store.get("file") == story(0, 1000) + END

    @needs("metadata")
    async def test_371_metadata_of_the_beginning(self, store: Harness) -> None:
        """The metadata with which a write begins are those of the file that is published in the end."""
        for size in (9, 2 * store.part_size):
            checkpoint = await kept(store.fs, "file", [story(0, size)], metadata={"color": "blue"})
            async with store.fresh().open("file", "w", partial=checkpoint.token) as file:
                await file.write(END)
            assert (await store.fs.stat("file")).metadata == {"color": "blue"}
            with pytest.raises(ValueError, match="metadata"):
                store.fs.open("file", "w", partial=checkpoint.token, metadata={"color": "red"})


@needs("writable", "partial", "shared locks")
class PartialsOfProcesses:
    """Writes with `partial=` that another process continues."""

    async def test_370_killed(self, store: Harness, child_processes: ChildProcesses) -> None:
        """After a process was killed by SIGKILL, another one continues behind its last checkpoint and publishes all."""
        whole = story(0, 5 * store.part_size)
        done = len(whole) * 6 // 10
        await store.put("file", OLD)
        async with Child.of(store, child_processes) as child:
            assert await child.call("open partial", "file", "") == 0
            await child.call("write", whole[: done // 2].decode())
            token, _ = await child.call("checkpoint")
            await child.call("write", whole[done // 2 : done].decode())
            assert await child.call("checkpoint") == (token, done)
            await child.call("write", whole[done : done + store.part_size + 5].decode())
            child.kill()
            await child.gone()
        assert await store.get("file") == OLD
        await store.freed("file")
        async with Child.of(store, child_processes) as child:
            assert await child.call("open partial", "file", token) == done
            await child.call("write", whole[done:].decode())
            await child.call("close")
        assert await store.get("file") == whole
        await store.sweep()
        assert await store.leftovers() == []
        await store.write_at_once("file")


@needs("writable", "no partial")
class NoPartials:
    """A store that cannot keep a write for another process."""

    async def test_372_refused_by_name(self, store: Harness) -> None:
        """Where a store or a layer cannot keep a write for another process, `partial=` is refused before any I/O."""
        await store.put("file", OLD)
        for fs in (store.fs, store.fs.at("folder")):
            for path in ("file", "new"):
                with pytest.raises(Unsupported, match="partial=") as caught:
                    fs.open(path, "w", partial="")
                assert caught.value.filename == path
        assert await store.names() == ["file"]
        assert await store.get("file") == OLD


async def kept(fs: FileSystem, path: str, pieces: Sequence[bytes], **options: Any) -> Checkpoint:
    """Begin a partial write, and leave it after a checkpoint and some more bytes."""
    async with fs.open(path, "w", partial="", **options) as file:
        for piece in pieces:
            await file.write(piece)
        checkpoint = await file.checkpoint()
        await file.write(b"not safe")
        await file.leave()
    return checkpoint
