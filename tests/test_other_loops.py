"""Programs that do not begin with `asyncio.run`: anyio on asyncio, Trio, and several loops at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiofs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOPS = 4


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_a_program_on_anyio_with_asyncio(kind: str, tmp_path: Path) -> None:
    fs = aiofs.MemoryFileSystem() if kind == "memory" else aiofs.OSFileSystem(tmp_path)

    async def main() -> None:
        async with fs, anyio.create_task_group() as group:
            for number in range(LOOPS):
                group.start_soon(fs.write_bytes, f"file {number}", b"x" * number)
        assert fs.closed

    async def broken_off() -> None:
        async with fs.over().open("file", "w"):
            with anyio.move_on_after(0.05) as scope:
                await fs.over().write_bytes("file", b"waits", wait=60)
            assert scope.cancelled_caught
        await fs.over().write_bytes("file", b"the lock is free")

    anyio.run(broken_off, backend="asyncio")
    anyio.run(main, backend="asyncio")


def test_on_trio_every_call_names_the_way_out(tmp_path: Path) -> None:
    """In a process of its own, as Trio keeps its threads for some time."""
    script = """
        import sys, trio, aiofs

        async def listed(fs):
            return [name async for name in fs.ls()]

        async def opened(opening):
            async with opening:
                pass

        async def locked(fs):
            async with fs.lock("name"):
                pass

        async def committed(fs):
            async with aiofs.transaction(fs) as tx:
                await tx.write_bytes("file", b"")

        async def main(folder):
            (folder / "file").write_bytes(b"bytes")
            for fs in (aiofs.MemoryFileSystem(), aiofs.OSFileSystem(folder), aiofs.RedisFileSystem("redis://localhost:1")):
                for call in (
                    fs.read_bytes("file"), fs.write_bytes("file", b""), fs.rm("file"), fs.stat("file"),
                    fs.exists("file"), fs.copy("file", "copy"), fs.move("file", "moved"), listed(fs),
                    opened(fs.open("file")),
                    opened(fs.open("file", "w")), locked(fs), committed(fs), (fs / "file").read_text(),
                    (fs / "file").unlink(), fs.update("file", bytes.lower), opened(aiofs.open(folder / "file")),
                    fs.aclose(),
                ):
                    try:
                        await call
                    except RuntimeError as error:
                        assert "await trio.to_thread.run_sync(fs.blocking.read_bytes, path)" in str(error), error
                        assert error.__cause__ is None
                    else:
                        raise AssertionError(f"{call!r} of {fs} went through")
            fs = aiofs.OSFileSystem(folder)
            assert await trio.to_thread.run_sync(fs.blocking.read_bytes, "file") == b"bytes"

        from pathlib import Path
        trio.run(main, Path(sys.argv[1]))
        print("fine")
    """
    words = [sys.executable, "-X", "dev", "-W", "error", "-c", dedent(script), str(tmp_path)]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (result.stdout, result.stderr) == ("fine\n", "")


def test_without_a_loop_the_error_is_the_same(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    for call in (fs.read_bytes("file"), fs.write_bytes("file", b""), aiofs.open(tmp_path / "file", "w")):
        with pytest.raises(RuntimeError, match=r"Code without a loop calls fs\.blocking"):
            call.__await__().send(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["memory", "local"])
async def test_loops_in_several_threads_share_a_file_system(kind: str, tmp_path: Path) -> None:
    """Their writers exclude each other, those who wait are woken across loops, and nothing is lost."""
    fs = aiofs.MemoryFileSystem() if kind == "memory" else aiofs.OSFileSystem(tmp_path, durable=False)
    begun = threading.Barrier(LOOPS)

    async def count() -> None:
        begun.wait()
        for _ in range(5):
            async with fs.open("count", "r+", wait=60) as file:
                number = int(await file.read())
                await file.seek(0)
                await file.write(b"%d" % (number + 1))
            await fs.update("updated", lambda old: b"%d" % (int(old) + 1), create=b"0", wait=60)

    await fs.write_bytes("count", b"0")
    threads = [threading.Thread(target=asyncio.run, args=(count(),)) for _ in range(LOOPS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert await fs.read_bytes("count") == await fs.read_bytes("updated") == b"%d" % (5 * LOOPS)


def _in_a_transaction(use: Callable[[aiofs.FileSystem], Any]) -> None:
    async def main() -> None:
        fs = aiofs.MemoryFileSystem()
        async with aiofs.transaction(fs) as tx:
            await asyncio.to_thread(asyncio.run, use(tx))

    asyncio.run(main())


def test_a_transaction_stays_in_its_loop() -> None:
    for use in (
        lambda tx: tx.write_bytes("file", b""),
        lambda tx: tx.exists("file"),
        lambda tx: tx.rm("file", missing_ok=True),
        lambda tx: tx.commit(),
        lambda tx: tx.diff(),
    ):
        with pytest.raises(aiofs.Unsupported, match="belongs to the event loop in which it began"):
            _in_a_transaction(use)
