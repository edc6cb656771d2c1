"""Behaviours 29 to 40: a file is published whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.testing.harness import Stop, needs, until

if TYPE_CHECKING:
    from aiofs.modes import BinaryMode
    from aiofs.testing.chaos import Verb
    from aiofs.testing.harness import Harness

OLD = b"the old bytes, and more of them"


@needs("writable")
class Commit:
    """A file is published whole or not at all."""

    async def test_29_invisible_before_commit(self, store: Harness) -> None:
        """A file is not visible before it is closed: not to `stat`, not in a listing, not to `open`."""
        other = store.fresh()
        async with store.fs.open("folder/new", "w") as file:
            await file.write(b"x" * (store.part_size + 10))
            await file.flush()
            assert not await other.exists("folder/new")
            with pytest.raises(FileNotFoundError):
                await other.stat("folder/new")
            with pytest.raises(FileNotFoundError):
                await other.open("folder/new")
            assert await store.names() == []
            assert [name async for name in other.ls("folder")] == []
            assert [name async for name in other.ls(recursive=False)] in ([], ["folder/"])
        assert await other.exists("folder/new")
        assert await store.names() == ["folder/new"]

    async def test_30_old_bytes_stay(self, store: Harness) -> None:
        """While a file is overwritten, the old bytes are there at every moment."""
        await store.put("file", OLD)
        fs, chaos = store.troubled()
        seen: list[bytes | None] = []

        async def look() -> None:
            seen.append(await store.get("file"))
            assert await store.names() == ["file"]

        for verb in ("write", "commit", "release"):
            chaos.before(verb, look)
        for mode in ("w", "r+", "a"):
            async with fs.open("file", mode) as file:
                await look()
                await file.write(b"new")
                await look()
                await file.flush()
                await look()
            assert await store.get("file") not in {OLD, None}
            await store.put("file", OLD)
        assert set(seen[:-1]) <= {OLD, b"new"}
        assert seen.count(OLD) >= 11

    async def test_31_exception_aborts(self, store: Harness) -> None:
        """A block that raises publishes nothing."""
        await store.put("file", OLD)
        for mode in ("w", "r+", "a"):
            async with store.no_leftovers():
                with pytest.raises(Stop):
                    async with store.fs.open("file", mode) as file:
                        await file.write(b"new")
                        raise Stop
            assert await store.get("file") == OLD
        with pytest.raises(Stop):
            async with store.fs.open("fresh", "x") as file:
                await file.write(b"new")
                raise Stop
        assert await store.names() == ["file"]

    async def test_32_exception_aborts_after_parts(self, store: Harness) -> None:
        """The same is true after parts were sent to the store, and none of them is left there."""
        await store.put("file", OLD)
        for name in ("file", "folder/other"):
            async with store.no_leftovers():
                with pytest.raises(Stop):
                    async with store.fs.open(name, "w") as file:
                        for _ in range(3):
                            await file.write(b"n" * store.part_size)
                        await file.flush()
                        raise Stop
        assert await store.get("file") == OLD
        assert await store.names() == ["file"]

    async def test_33_abort_through_text(self, store: Harness) -> None:
        """A text handle publishes nothing when its block raises, or when it is aborted."""
        await store.put("file", OLD)
        with pytest.raises(Stop):
            async with store.fs.open("file", "w", encoding="utf-8") as file:
                await file.write("new " * 100_000)
                raise Stop
        assert await store.get("file") == OLD
        file = await store.fs.open("file", "w", encoding="utf-8")
        await file.write("new")
        await file.abort()
        assert file.closed
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_34_abort_through_every_layer(self, store: Harness) -> None:
        """Bytes that a layer holds are not published when the block raises: the session of the store is aborted."""
        await store.put("file", OLD)
        fs, chaos = store.troubled()
        with pytest.raises(Stop):
            async with fs.open("file", "w") as file:
                await file.write(b"n" * (store.part_size + 1))
                raise Stop
        assert chaos.calls["begin"] == 0 or chaos.calls["abort"] >= 1
        assert chaos.calls["commit"] == 0
        assert chaos.calls["lock"] == chaos.calls["release"]
        assert await store.get("file") == OLD

    async def test_35_explicit_abort(self, store: Harness) -> None:
        """`abort` publishes nothing, also within the block, and can be called twice."""
        await store.put("file", OLD)
        async with store.no_leftovers():
            for mode in ("w", "r+", "a"):
                async with store.fs.open("file", mode) as file:
                    await file.write(b"new")
                    await file.abort()
                    await file.abort()
                    assert file.closed
                    with pytest.raises(ValueError, match="closed"):
                        await file.write(b"more")
                await file.close()
                assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_36_abandoned_handle(self, store: Harness) -> None:
        """A writer that is never closed publishes nothing, and a warning names the line that opened it."""
        for path in ("w", "r+", "r"):
            await store.put(path, OLD)
        opener: dict[str, Any] = {"__name__": "a_program"}
        source = "\n\nasync def opened(fs, mode):\n    return await fs.open(mode, mode)\n"
        exec(compile(source, "a_program.py", "exec"), opener)  # noqa: S102 -- a frame outside the package is needed
        for mode in ("w", "r+", "r"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                file = await opener["opened"](store.fs, mode)
                if mode != "r":
                    await file.write(b"new" * store.part_size)
                else:
                    await file.read(1)
                del file
                gc.collect()
            messages = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
            assert any(f"'{mode}'" in message and "a_program.py:4" in message for message in messages)
            assert await store.get(mode) == OLD
        for path in ("w", "r+", "r"):
            await store.freed(path)

    async def test_37_failed_commit(self, store: Harness) -> None:
        """If a commit fails, it raises, the old bytes are there, and the lock is free."""
        await store.put("file", OLD)
        for mode in ("w", "r+", "a"):
            fs, chaos = store.troubled()
            chaos.fail("commit", OSError(errno.EIO, "the store broke off"))
            async with store.no_leftovers():
                file = await fs.open("file", mode)
                await file.write(b"new")
                with pytest.raises(OSError, match="broke off") as caught:
                    await file.close()
                assert caught.value.filename == "file"
                assert file.closed
                await file.close()
                assert await store.get("file") == OLD
            await store.write_at_once("file", OLD)

    async def test_38_close_twice(self, store: Harness) -> None:
        """Closing twice is harmless, also within the block."""
        async with store.fs.open("file", "w") as file:
            await file.write(b"new")
            await file.close()
            version = (await store.fs.stat("file")).version
            await file.close()
        await file.close()
        await file.abort()
        assert (await store.fs.stat("file")).version == version
        for mode in ("r", "r+"):
            handle = await store.fs.open("file", mode)
            await handle.close()
            await handle.close()
        assert await store.get("file") == b"new"

    async def test_39_closed_handle(self, store: Harness) -> None:
        """Every method of a closed handle raises ValueError."""
        await store.put("file", OLD)
        for mode, options in (("r", {}), ("r+", {}), ("w", {}), ("a", {}), ("r", _TEXT), ("w", _TEXT)):
            async with store.fs.open("file", mode, **options) as file:  # type: ignore[call-overload]
                pass
            for call in _calls(file, text=bool(options)):
                with pytest.raises(ValueError, match="closed"):
                    await call()
            with pytest.raises(ValueError, match="closed"):
                async for _ in file:
                    pytest.fail("a line was read from a closed file")
            with pytest.raises(ValueError, match="closed"):
                async with file:
                    pytest.fail("a closed file was entered")

    async def test_40_fresh_eyes(self, store: Harness) -> None:
        """A committed file is visible to connections that were made later, and to those made before."""
        early = store.fresh()
        assert not await early.exists("file")
        for turn in range(3):
            data = f"version {turn}".encode()
            async with store.fs.open("file", "w") as file:
                await file.write(data)
            assert await store.get("file") == data
            assert await early.read_bytes("file") == data
            assert (await early.stat("file")).version == (await store.fresh().stat("file")).version

    async def test_103_failed_write_spoils(self, store: Harness) -> None:
        """If a write fails and the block continues, the file is not published with a hole."""
        await store.put("file", OLD)
        for after in (False, True):
            fs, chaos = store.troubled()
            chaos.fail("write", OSError(errno.EIO, "the store broke off"), after=after)
            async with store.no_leftovers():
                with pytest.raises(OSError) as caught:  # noqa: PT011 -- the store's own, or that of the handle
                    async with fs.open("file", "w") as file:
                        for _ in range(3):
                            try:
                                await file.write(b"n" * store.part_size)
                            except OSError:
                                continue
                assert caught.value.filename == "file"
            assert await store.get("file") == OLD
            await store.write_at_once("file", OLD)

    async def test_103_failed_append_spoils(self, store: Harness) -> None:
        """If the first write of an append fails and the block continues, the file is not published without it."""
        await store.put("file", OLD)
        fs, chaos = store.troubled()
        chaos.fail("chunk", OSError(errno.EIO, "the store broke off"))
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- the store's own, or that of the handle
            async with fs.open("file", "a") as file:
                with contextlib.suppress(OSError):
                    await file.write(b"n" * store.part_size)
        assert caught.value.filename == "file"
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_104_commit_answer_lost(self, store: Harness) -> None:
        """If the answer to a commit is lost, the old or the new bytes are there, and no lock."""
        await store.put("file", OLD)
        fs, chaos = store.troubled()
        chaos.fail("commit", ConnectionResetError(errno.ECONNRESET, "connection lost"), after=True)
        with pytest.raises(OSError, match="lost"):
            async with fs.open("file", "w") as file:
                await file.write(b"new")
        assert await store.get("file") in {OLD, b"new"}
        await store.write_at_once("file")

    async def test_105_failed_open_frees(self, store: Harness) -> None:
        """An `open` that fails after it got the lock releases it, and closes what it opened."""
        await store.put("file", OLD)
        modes: dict[Verb, tuple[BinaryMode, ...]] = {"begin": ("w", "x"), "read": ("r", "r+", "a")}
        for verb, failing in modes.items():
            for mode in failing:
                fs, chaos = store.troubled()
                chaos.fail(verb, OSError(errno.EIO, "the store broke off"))
                with pytest.raises(OSError, match="broke off"):
                    async with fs.open("file" if mode != "x" else "other", mode) as file:
                        await file.write(b"new")
                assert chaos.calls["lock"] == chaos.calls["release"]
                await until(lambda chaos=chaos: chaos.open["streams"] == 0)  # type: ignore[misc]
        assert await store.get("file") == OLD
        await store.write_at_once("file")


_TEXT = {"encoding": "utf-8"}


def _calls(file: Any, *, text: bool) -> list[Any]:
    data = "x" if text else b"x"
    calls = [
        file.read,
        lambda: file.read(1),
        lambda: file.read(0),
        file.readline,
        file.readlines,
        lambda: file.write(data),
        lambda: file.writelines([data]),
        lambda: file.seek(0),
        file.tell,
        lambda: file.truncate(0),
        file.flush,
        file.readable,
        file.writable,
        file.seekable,
        file.isatty,
    ]
    if not text:
        calls += [
            file.read1,
            file.readall,
            lambda: file.readinto(bytearray(1)),
            file.peek,
        ]
    return calls
