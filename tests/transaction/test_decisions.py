"""What can be read of transactions that did not end: decisions, before-images, and what a transaction is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs import clock
from aiofs.files.reading import whole_chunks
from aiofs.layers import Gzip
from aiofs.powers import Copies
from aiofs.transactions.journal import FOLDER, Journal
from aiofs.transactions.records import Step, encode
from aiofs.transactions.steps import images_for, read_before, resume
from backends.fastdfs.systems import over
from servers.fastdfs.cluster import Cluster
from transaction.test_journal import crashed, write_two

if TYPE_CHECKING:
    from pathlib import Path

    from aiofs.driver import Power


@pytest.mark.parametrize("layers", [(), (Gzip(),)], ids=["plain", "gzip"])
async def test_open_decisions_and_what_files_were_before_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: tuple[aiofs.Layer, ...]
) -> None:
    for fs in (aiofs.OSFileSystem(tmp_path).over(*layers), aiofs.MemoryFileSystem().over(*layers)):
        await fs.write_bytes("a", b"old")
        journal = Journal(fs.driver)
        assert [decision async for decision in journal.decisions()] == []
        async with aiofs.transaction(fs, auto_commit=False) as tx:
            await tx.write_bytes("c", b"new")
            undecided = [decision async for decision in journal.decisions()]
        if journal.grows:
            assert [(decision.files, decision.committed) for decision in undecided] == [((("", "c"),), False)]
        await crashed(fs, write_two, monkeypatch)
        (decision,) = [decision async for decision in journal.decisions()]
        assert (decision.files, decision.committed) == ((("", "a"), ("", "b")), True)
        assert decision.stores == {"": str(fs.driver)}
        assert decision.since is not None
        assert datetime.now(UTC) - decision.since < timedelta(minutes=5)
        one, two = decision.steps
        assert await before(fs, one) == b"old"
        image = images_for(fs.driver, fs.driver)
        await image.keep("a", one.tag)
        await overwrite(fs, "a")
        assert await before(fs, one) == b"old"
        with pytest.raises(aiofs.NotFound):
            await before(fs, two)
        await aiofs.recover(fs)
        assert [decision async for decision in journal.decisions()] == []


async def before(fs: aiofs.FileSystem, step: Step) -> bytes:
    stream = await read_before(step, fs.driver, fs.driver)
    try:
        return b"".join([chunk async for chunk in whole_chunks(stream)])
    finally:
        await stream.aclose()


@pytest.mark.parametrize("kind", ["snapshots", "copies", "journal"])
async def test_every_kind_of_before_image_can_be_read(kind: str) -> None:
    async with Cluster() as cluster:
        stores = {
            "snapshots": lambda: over(cluster, aiofs.MemoryFileSystem()),
            "copies": lambda: aiofs.MemoryFileSystem().over(Hidden(Copies)),
            "journal": lambda: aiofs.MemoryFileSystem().over(Hidden()),
        }
        async with stores[kind]() as fs:
            await fs.write_bytes("folder/a", b"old" * 99)
            images = images_for(fs.driver, fs.driver)
            tag = f"{'0' * 32}-0"
            await images.keep("folder/a", tag)
            await fs.write_bytes("folder/a", b"new")
            step = Step("", "folder/a", "another version", tag)
            assert await before(fs, step) == b"old" * 99
            await images.drop("folder/a", tag)
            with pytest.raises(aiofs.NotFound):
                await before(fs, step)


class Hidden(aiofs.Layer):
    """Hides all powers of a store but these."""

    def __init__(self, *shown: type) -> None:
        self._shown = shown

    def offers(self, power: type[Power]) -> Power | None:
        return super().offers(power) if power in self._shown else None


async def overwrite(fs: aiofs.FileSystem, path: str) -> None:
    """Publish what was prepared for the path, as another process that recovers would."""
    (unit,) = await Journal(fs.driver).units()
    records = await Journal(fs.driver).log(unit).read()
    step = next(Step(**step) for step in records[-1]["steps"] if step["path"] == path)
    await (await resume(step, fs.driver, fs.driver)).commit()


async def test_a_journal_of_a_newer_aiofs_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await crashed(fs, write_two, monkeypatch)
    (log,) = (tmp_path / FOLDER).glob("*.log")
    first, rest = encode({"do": "open", "stores": {"": str(fs.driver)}}), log.read_bytes()
    log.write_bytes(first.replace(b"aiofs-journal/2", b"aiofs-journal/3") + rest)
    for read in (aiofs.recover(fs), anext(Journal(fs.driver).decisions())):
        with pytest.raises(aiofs.Unsupported, match=r"'aiofs-journal/3'.*use the version that wrote it") as refused:
            await read
        assert refused.value.filename == f"{FOLDER}/{log.name}"


async def test_a_transaction_shows_what_it_is(tmp_path: Path) -> None:
    disk, memory = aiofs.OSFileSystem(tmp_path), aiofs.MemoryFileSystem()
    tx = aiofs.transaction(disk)
    assert repr(tx) == f"<transaction over {disk.driver}, new, 0 files>"
    both = aiofs.transaction({"disk": disk, "memory": memory})
    async with both:
        await both["disk"].write_bytes("name", b"bytes")
        assert re.fullmatch(
            rf"<transaction [0-9a-f]{{32}} over 'disk': {re.escape(str(disk.driver))}, "
            r"'memory': MemoryDriver, open, 1 file>",
            repr(both),
        )
    assert repr(both).endswith("committed, 0 files>")


async def test_time_and_numbers_come_through_one_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated event loop runs with a clock and with numbers of its own."""
    then = datetime(2000, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: then)
    monkeypatch.setattr(clock, "token", lambda size=16: "5" * 2 * size)
    fs = aiofs.MemoryFileSystem()
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("file", b"new")
        assert "5" * 32 in repr(tx)
    assert (await fs.stat("file")).modified == then
