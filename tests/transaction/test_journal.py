"""The journal: what it makes of torn, damaged and foreign lines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.powers import Appends, Sweeps
from aiofs.testing import Chaos
from aiofs.transactions import recovery, unit
from aiofs.transactions.commit import Publication
from aiofs.transactions.journal import FOLDER, Journal
from aiofs.transactions.records import decode, encode
from transaction.powerless import Powerless

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from aiofs.driver import Capabilities, Lease, Power
    from aiofs.powers import Leftover
    from aiofs.transactions.recovery import Recovered
    from aiofs.transactions.transaction import FileTransaction

RECORDS: list[dict[str, Any]] = [
    {"do": "open", "stores": {"": "x"}},
    {"do": "touch", "path": "zwölf\n"},
    {"do": "plan"},
]


def test_a_line_says_what_was_written() -> None:
    assert decode(b"".join(map(encode, RECORDS)), "log") == (RECORDS, False)


def test_a_line_is_torn_wherever_it_is_cut() -> None:
    whole = encode(RECORDS[0])
    for size in range(1, len(whole) - 1):
        records, torn = decode(whole + encode(RECORDS[1])[:size], "log")
        complete = size >= len(encode(RECORDS[1])) - 1
        assert records == RECORDS[: 2 if complete else 1]
        assert torn is (not complete and size > 1)


def test_who_writes_behind_a_torn_line_says_so() -> None:
    torn = encode(RECORDS[0]) + encode(RECORDS[1])[:-9]
    assert decode(torn + encode({"do": "abort", "mends": True}), "log")[1] is False
    with pytest.raises(OSError, match="does not fit its checksum"):
        decode(torn + encode({"do": "abort"}), "log")


def test_every_changed_byte_is_found() -> None:
    lines = b"".join(map(encode, RECORDS))
    middle = lines.index(b"touch")
    changed = lines[:middle] + b"T" + lines[middle + 1 :]
    with pytest.raises(aiofs.Damaged):
        decode(changed, "log")


def test_a_newer_version_is_not_guessed_at() -> None:
    line = encode(RECORDS[0]).replace(b"aiofs-journal/2", b"aiofs-journal/3")
    with pytest.raises(aiofs.Unsupported, match="aiofs-journal/3"):
        decode(line, "log")


async def crashed(
    fs: aiofs.FileSystem,
    change: Callable[[FileTransaction], Any],
    monkeypatch: pytest.MonkeyPatch,
    journal: aiofs.FileSystem | None = None,
) -> None:
    """Leave a decided transaction as a process that dies right after the decision does."""

    class Died(BaseException):
        pass

    async def die(_: Publication) -> None:
        raise Died

    held: list[Lease] = []
    with monkeypatch.context() as patch:
        patch.setattr(Publication, "run", die)
        tx = aiofs.transaction(fs, journal=journal, auto_commit=False)
        await tx.__aenter__()
        await change(tx)
        held += tx._unit.drivers[""].leases.values()
        log = tx._unit._log
        assert log is not None
        with pytest.raises(Died):
            await tx.commit()
    for lease in held:
        await lease.release()
    await log.release()


async def write_two(tx: FileTransaction) -> None:
    await tx.write_bytes("a", b"new")
    await tx.write_bytes("b", b"new")


async def test_a_torn_decision_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the last write to a journal is cut, recovery leads to all or nothing, and leaves nothing else."""
    outcomes = set()
    cut = 1
    while True:
        root = tmp_path / str(cut)
        fs = aiofs.OSFileSystem(root, durable=False)
        await crashed(fs, write_two, monkeypatch)
        (log,) = await asyncio.to_thread(lambda root=root: list((root / FOLDER).glob("*.log")))
        data = log.read_bytes()
        decision = data.rindex(b"\n", 0, len(data) - 1)
        if len(data) - cut <= decision:
            break
        await asyncio.to_thread(log.write_bytes, data[:-cut])
        await aiofs.recover(fs)
        files = {name: await fs.read_bytes(name) async for name in fs.ls()}
        assert files in ({}, {"a": b"new", "b": b"new"})
        outcomes.add(len(files))
        assert await asyncio.to_thread(lambda root=root: list(root.rglob(".aiofs*"))) == [root / FOLDER]
        cut += 7
    assert outcomes == {0, 2}


async def test_damage_is_reported_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await crashed(fs, write_two, monkeypatch)
    (log,) = (tmp_path / FOLDER).glob("*.log")
    data = log.read_bytes()
    log.write_bytes(data.replace(b'"do":"touch"', b'"do":"torch"', 1))
    with pytest.raises(aiofs.Damaged, match="checksum"):
        await aiofs.recover(fs)
    found = {finding.kind: finding for finding in await aiofs.fsck(fs, fix=True)}
    assert "checksum" in found["damaged journal"].why
    assert found["prepared write"].why == "a transaction in the journal may need it"
    log.write_bytes(data)
    assert (await aiofs.recover(fs)).finished
    assert await fs.ls() == ["a", "b"]


async def test_a_journal_of_other_stores_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = aiofs.OSFileSystem(tmp_path / "data")
    elsewhere = aiofs.OSFileSystem(tmp_path / "elsewhere")
    await crashed(fs, write_two, monkeypatch)
    assert (await aiofs.recover(elsewhere, journal=fs)).foreign
    assert (await aiofs.recover({"named": fs}, journal=fs)).foreign
    assert await elsewhere.ls() == []
    assert (await aiofs.recover(fs)).finished


async def test_it_holds_no_more_than_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a large file holds is not in the journal, and nothing is when the transaction has ended."""
    fs = aiofs.OSFileSystem(tmp_path)
    await crashed(fs, write_two, monkeypatch)
    (unit,) = await Journal(fs.driver).units()
    records = await Journal(fs.driver).log(unit).read()
    assert [record["do"] for record in records] == ["open", "touch", "touch", "plan", "commit"]
    assert b"new" not in (tmp_path / FOLDER / f"{unit}.log").read_bytes()
    await aiofs.recover(fs)
    assert list(tmp_path.rglob(".aiofs*")) == [tmp_path / FOLDER]


async def test_what_another_transaction_prepared_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead transaction that was refused a path does not take what the one that held it has there."""
    fs = aiofs.OSFileSystem(tmp_path)
    await crashed(fs, write_two, monkeypatch)
    undecided = Journal(fs.driver).log("0" * 32)  # recovered before the other one
    await undecided.write({"do": "open", "stores": {"": str(fs.driver)}})
    await undecided.write({"do": "touch", "store": "", "path": "a"})
    await undecided.write({"do": "plan", "held": [["", "b", "another-fence"]]})
    report = await aiofs.recover(fs)
    assert report.undone == ["0" * 32]
    assert len(report.finished) == 1
    assert await fs.ls() == ["a", "b"]


class Counting(Powerless):
    """A store whose locks run out, that counts how often it is asked for what is left in it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def alter(self, capabilities: Capabilities) -> Capabilities:
        return replace(capabilities, resume=False, holds=False)

    def offers(self, power: type[Power]) -> Power | None:
        return self if power is Sweeps else None  # type: ignore[return-value]

    async def leftovers(self, prefix: str = "") -> AsyncGenerator[Leftover]:
        self.asked.append(prefix)
        sweeps = self.base.offers(Sweeps)
        assert sweeps is not None
        async for leftover in sweeps.leftovers(prefix):
            yield leftover


async def test_a_store_is_only_asked_for_what_can_be_left_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    fs = aiofs.MemoryFileSystem().over(counting)
    await crashed(fs, write_two, monkeypatch)
    assert (await aiofs.recover(fs)).finished
    assert len(counting.asked) == 1
    await crashed(fs, lambda tx: tx.rm("a", "b"), monkeypatch)
    assert (await aiofs.recover(fs)).finished
    assert len(counting.asked) == 1
    assert await fs.ls() == []


class Hiding(aiofs.Layer):
    """Leaves out of listings what has a name with a dot in front."""

    forwarded = (Appends,)

    async def list(
        self, prefix: str = "", *, after: str = "", delimiter: str | None = None
    ) -> AsyncGenerator[aiofs.Entry]:
        async for entry in self.base.list(prefix, after=after, delimiter=delimiter):
            if not entry.path.startswith("."):
                yield entry


async def test_a_journal_that_cannot_be_found_again_is_refused(tmp_path: Path) -> None:
    async with aiofs.OSFileSystem(tmp_path).over(Hiding()) as fs:
        with pytest.raises(aiofs.Unsupported, match=FOLDER):
            async with aiofs.transaction(fs) as tx:
                await tx.write_bytes("file", b"new")
        assert await fs.ls() == []


class RecoversMeanwhile(aiofs.Layer):
    """Before a file of the journal is removed, somebody else recovers."""

    def __init__(self, other: aiofs.FileSystem) -> None:
        self.other = other
        self.reports: list[aiofs.Recovered] = []

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        if paths[0].startswith(f"{FOLDER}/"):
            self.reports.append(await aiofs.recover(self.other))
        await super().delete(paths, leases=leases, match=match, missing_ok=missing_ok)


async def test_a_transaction_that_ends_is_alive_until_its_log_is_gone() -> None:
    """The log is removed before its lock is released. Kills cannot show this order, as they release every lock."""
    base = aiofs.MemoryFileSystem()
    meanwhile = RecoversMeanwhile(base)
    async with aiofs.transaction(base.over(meanwhile)) as tx:
        for path in ("a", "b"):
            await tx.write_bytes(path, b"new")
    assert [(len(report.live), report.ended) for report in meanwhile.reports] == [(1, False)] * 2
    assert (await aiofs.recover(base)) == aiofs.Recovered()


@pytest.mark.parametrize("grows", [True, False])
async def test_a_transaction_that_waits_asks_for_the_lock_and_does_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    """Each try asks the store. Only the first writes a line to the log; only some look for dead transactions."""
    looks, asked = [], 0

    async def recover_units(*of: Any) -> Recovered:
        looks.append(of)
        return await recovery.recover_units(*of)

    class Asking(Chaos):
        async def lock(self, path: str) -> Lease:
            nonlocal asked
            asked += path == "taken"
            return await super().lock(path)

    monkeypatch.setattr(unit, "recover_units", recover_units)
    store = aiofs.OSFileSystem(tmp_path)
    journal = store if grows else store.over(Powerless())
    async with store.open("taken", "w"), aiofs.transaction(store.over(Asking()), journal=journal) as tx:
        looks.clear()
        with pytest.raises(aiofs.Locked):
            await tx.write_bytes("taken", b"", wait=0.5)
        with pytest.raises(aiofs.Locked):
            await tx.rm("taken", wait=0.1)
        log = tx._unit._log
        assert log is not None
        touched = [record["path"] for record in await log.read() if record["do"] == "touch"]
    assert asked > 5
    assert len(looks) == 1
    assert touched == (["taken"] if grows else [])
