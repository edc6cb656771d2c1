"""Behaviours 41 to 45: a cancelled task leaves the old bytes or the new ones, and nothing else."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from aiofs.testing.harness import cancelled_everywhere, needs, until

if TYPE_CHECKING:
    from aiofs.modes import BinaryMode
    from aiofs.testing.chaos import Gate, Verb
    from aiofs.testing.harness import Harness

OLD = b"the old bytes"


@needs("writable")
class CancelledWriting:
    """A cancelled writer leaves the old bytes or the new ones, and nothing else."""

    async def test_41_cancel_in_body(self, store: Harness) -> None:
        """A writer that is cancelled in its block publishes nothing."""
        await store.put("file", OLD)
        for mode in ("w", "r+", "a"):
            inside = asyncio.Event()

            async def work(mode: BinaryMode = mode, inside: asyncio.Event = inside) -> None:
                async with store.fs.open("file", mode) as file:
                    await file.write(b"n" * (store.part_size + 1))
                    inside.set()
                    await asyncio.Event().wait()

            async with store.no_leftovers():
                task = asyncio.create_task(work())
                await _reached(inside, task)
                await _cancel(task)
                assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_42_cancel_in_part(self, store: Harness) -> None:
        """A writer that is cancelled while it sends a part publishes nothing."""
        await store.put("file", OLD)
        for nth in (1, 2):
            fs, chaos = store.troubled()
            gate = chaos.stall("write", nth=nth)

            async def work(fs: object = fs) -> None:
                async with fs.open("file", "w") as file:  # type: ignore[attr-defined]
                    for _ in range(3):
                        await file.write(os.urandom(store.part_size))
                    await file.flush()

            async with store.no_leftovers():
                await _cancel_at(gate, asyncio.create_task(work()))
                assert await store.get("file") == OLD
            await store.write_at_once("file", OLD)

    async def test_42_cancel_in_body_and_survive(self, store: Harness) -> None:
        """If a block continues after a cancelled write, it does not publish a file that this write left incomplete."""
        await store.put("file", OLD)
        fs, chaos = store.troubled()
        gate = chaos.stall("write")

        async def work() -> None:
            async with fs.open("file", "w") as file:
                for _ in range(3):
                    try:
                        await file.write(os.urandom(store.part_size))
                    except asyncio.CancelledError:
                        continue

        task = asyncio.create_task(work())
        await _reached(gate.reached, task)
        task.cancel()
        await asyncio.wait([task])
        assert isinstance(task.exception(), OSError)
        assert await store.get("file") == OLD
        await store.write_at_once("file")

    async def test_43_cancel_in_commit(self, store: Harness) -> None:
        """A writer cancelled at any moment leaves the old or the new bytes, and the path can be written at once."""
        await store.put("file", OLD)
        new = b"n" * (store.part_size + 100)
        for verb in ("commit", "release"):
            for after in (False, True):
                fs, chaos = store.troubled()
                gate = chaos.stall(verb, after=after)

                async def write(fs: object = fs) -> None:
                    async with fs.open("file", "w") as file:  # type: ignore[attr-defined]
                        await file.write(new)

                task = asyncio.create_task(write())
                await _reached(gate.reached, task)
                task.cancel()
                gate.open()
                await asyncio.wait([task])
                assert task.cancelled()
                assert await store.get("file") in {OLD, new}
                await store.write_at_once("file", OLD)

        async def work() -> None:
            async with store.fs.open("file", "w") as file:
                await file.write(new)

        async def check() -> None:
            assert await store.get("file") in {OLD, new}
            assert await store.leftovers() == []
            await store.write_at_once("file", OLD)

        await cancelled_everywhere(work, check, every=store.every_moment)

    async def test_44_cancel_in_open(self, store: Harness) -> None:
        """An `open` for writing that is cancelled leaves no lock, no staged file and no descriptor."""
        await store.put("file", OLD)
        modes: tuple[BinaryMode, ...] = ("w", "r+", "a", "x")
        for mode in modes if store.every_moment else modes[1::2]:

            async def work(mode: BinaryMode = mode) -> None:
                name = "file" if mode != "x" else "new"
                file = await store.fs.open(name, mode)
                await file.abort()

            async def check() -> None:
                await store.write_at_once("file", OLD)
                await store.write_at_once("new")
                await store.writer.rm("new")

            async with store.no_leftovers():
                await cancelled_everywhere(work, check, tries=14, every=store.every_moment)

    async def test_44_cancel_at_every_call(self, store: Harness) -> None:
        """The same is true if it is cancelled during a call of the store."""
        await store.put("file", OLD)
        places: tuple[tuple[Verb, str], ...] = (("lock", "w"), ("begin", "w"), ("lock", "r+"), ("read", "r+"))
        for verb, mode in places:
            for after in (False, True):
                fs, chaos = store.troubled()
                gate = chaos.stall(verb, after=after)

                async def work(fs: object = fs, mode: str = mode) -> None:
                    async with fs.open("file", mode) as file:  # type: ignore[attr-defined]
                        await file.write(b"new")

                await _cancel_at(gate, asyncio.create_task(work()))
                assert await store.get("file") == OLD
                await store.write_at_once("file", OLD)


class CancelledReading:
    """A cancelled reader leaves the file system usable."""

    async def test_45_cancel_in_read(self, store: Harness) -> None:
        """After a cancelled read the file system is usable, and the handle reads the right bytes or refuses to read."""
        data = bytes(range(256)) * 3000
        await store.put("file", data)
        for verb in ("read", "chunk"):
            for after in (False, True):
                fs, chaos = store.troubled()
                gate = chaos.stall(verb, after=after)
                await _cancel_at(gate, asyncio.create_task(fs.read_bytes("file")))
                await until(lambda chaos=chaos: chaos.open["streams"] == 0)  # type: ignore[misc]
                assert await fs.read_bytes("file") == data
                assert await fs.read_bytes("file", 1000, 2000) == data[1000:2000]

    async def test_45_cancelled_handle(self, store: Harness) -> None:
        """A handle whose read was cancelled never returns other bytes than those at its position."""
        data = bytes(range(256)) * 3000
        await store.put("file", data)
        for after in (False, True):
            for size in (1000, 300_000, -1):
                fs, chaos = store.troubled()
                async with fs.open("file") as file:
                    assert await file.read(10) == data[:10]
                    await file.seek(200_000)
                    gate = chaos.stall("chunk", after=after)
                    await _cancel_at(gate, asyncio.create_task(file.read(size)))
                    position = await file.tell()
                    try:
                        rest = await file.read(5000)
                    except OSError:
                        continue
                    assert rest == data[position : position + 5000]

    async def test_45_cancel_open_to_read(self, store: Harness) -> None:
        """An `open` for reading that is cancelled at any moment leaves no descriptor and no stream."""
        await store.put("file", OLD)

        async def work() -> None:
            async with store.fs.open("file") as file:
                await file.read()

        async def check() -> None:
            assert await store.fs.read_bytes("file") == OLD

        async with store.no_leftovers():
            await cancelled_everywhere(work, check)


async def _reached(event: asyncio.Event, task: asyncio.Task[object]) -> None:
    """Wait until the task is at the call where it will be cancelled."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
    if not event.is_set():
        waiting.cancel()
        await task
        pytest.fail("the task ended before it was where it is to be cancelled")


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def _cancel_at(gate: Gate, task: asyncio.Task[object]) -> None:
    """Cancel the task at the call where it waits, and let the shielded calls continue."""
    await _reached(gate.reached, task)
    task.cancel()
    gate.open()
    await asyncio.wait([task])
    assert task.cancelled()
