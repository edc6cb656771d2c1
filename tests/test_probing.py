"""Probing: what a store does is tried, and a store that breaks its promises is found out. More is in the contract."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.cli import main
from aiofs.driver import Layer, Lease, WriteSession
from aiofs.locks import LockTable, TableLease

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiofs.driver import Entry


class NoLocks(LockTable):
    """Lets everybody in."""

    def acquire(self, path: str) -> TableLease:
        return LockTable().acquire(path)

    def require(self, lease: Lease) -> None:
        pass


class Unlocked(MemoryDriver):
    """Declares locks for all, and has none."""

    capabilities = replace(MemoryDriver.capabilities, locks="shared")

    def __init__(self) -> None:
        super().__init__()
        self.locks = NoLocks()


class Blind(Layer):
    """Publishes whatever version is there."""

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return await self.base.begin(path, lease, metadata=metadata)


class Folding(MemoryDriver):
    """Names have no case."""

    async def stat(self, path: str) -> Entry:
        return await super().stat(path.lower())


def test_a_report_is_a_value() -> None:
    report = aiofs.ProbeReport(store="s3://bucket/", writes=True, removes=False, locks="host", advice=("beware",))
    assert report == replace(report)
    assert str(report).splitlines()[0] == "s3://bucket/"
    assert str(report).splitlines()[3] == "  a writer keeps out                 other writers on this machine"
    assert str(report).splitlines()[-1] == "  ! beware"
    with pytest.raises(FrozenInstanceError):
        report.writes = False  # type: ignore[misc]


async def test_a_url_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "not there" / "yet"
    for url in (f"file://{folder}?durable=false".replace(" ", "%20"), str(folder)):
        report = await aiofs.probe(url)
        assert (report.locks, report.conditional, report.durable) == ("shared", True, "?" not in url)
        assert not report.advice
    assert list(tmp_path.iterdir()) == []
    assert (await aiofs.probe("memory://")).locks == "process"
    with pytest.raises(ValueError, match="scheme 'nonsense' is unknown"):
        await aiofs.probe("nonsense://x")
    with pytest.raises(aiofs.RootIsAFile):
        (tmp_path / "file").write_text("")
        await aiofs.probe(str(tmp_path / "file"))


async def test_a_store_that_breaks_its_promises_is_found_out() -> None:
    memory = aiofs.MemoryFileSystem()
    report = await aiofs.probe(aiofs.FileSystem(Unlocked()))
    assert report.locks is None
    assert "give locks=" in report.advice[0]
    report = await aiofs.probe(memory.over(Blind()))
    assert report.conditional is False
    assert "do not rely on match= and update" in report.advice[0]
    report = await aiofs.probe(aiofs.FileSystem(Folding()))
    assert report.exact_names is False
    assert report.advice == ("names that differ only in case are one file here",)
    assert await memory.ls() == []


async def test_a_network_says_which_locks_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiofs.backends.osfiles.driver.network_of", lambda _: "NFS")
    with pytest.warns(RuntimeWarning, match="is on NFS"):
        report = await aiofs.probe(str(tmp_path))
    assert report.locks == "host"
    assert "is on NFS" in report.advice[0]


def test_code_without_asyncio_probes_too(tmp_path: Path) -> None:
    fs = aiofs.blocking.connect(str(tmp_path))
    reports = [aiofs.blocking.probe(store) for store in (str(tmp_path), fs, fs.system)]
    assert reports[0] == reports[1] == reports[2]
    assert reports[0].locks == "shared"
    assert list(tmp_path.iterdir()) == []
    aiofs.blocking.shutdown()


def test_the_command_line_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith(f"files below {tmp_path}\n  this user may write files ")
    assert main(["probe", "nonsense://"]) == 2
    assert capsys.readouterr().err.startswith("ValueError: scheme 'nonsense' is unknown")


@pytest.mark.parametrize("store", [None, 3, b"memory://"])
async def test_what_is_neither_a_url_nor_a_file_system_is_refused(store: object) -> None:
    with pytest.raises(TypeError, match="probe takes a URL or a file system"):
        await aiofs.probe(store)  # type: ignore[arg-type]
