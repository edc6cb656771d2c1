"""Partial writes beside the contract: settings, tokens, what is on the disk, layers."""

from __future__ import annotations

import gc
import os
import warnings
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.errors import Damaged, NotFound, Unsupported
from aiofs.layers import Allow, Gzip, Limit, Log, Percent, Prefix, ReadOnly
from aiofs.partials import KIND

if TYPE_CHECKING:
    from pathlib import Path


async def kept(fs: aiofs.FileSystem, path: str = "file") -> aiofs.Checkpoint:
    """A write that nobody has open."""
    async with fs.open(path, "w", partial="") as file:
        await file.write(b"a beginning")
        checkpoint = await file.checkpoint()
        await file.leave()
    return checkpoint


def test_the_days_are_greater_than_0_and_azure_has_no_more_than_7() -> None:
    for days in (0, -1, float("nan")):
        for make in (
            lambda days: aiofs.MemoryFileSystem(keep_partial=days),
            lambda days: aiofs.OSFileSystem("x", keep_partial=days),
            lambda days: aiofs.S3FileSystem("bucket", keep_partial=days),
            lambda days: aiofs.AzureFileSystem("container", account_url="https://a", keep_partial=days),
        ):
            with pytest.raises(ValueError, match="keep_partial"):
                make(days)
    with pytest.raises(ValueError, match="7 days"):
        aiofs.AzureFileSystem("container", account_url="https://a", keep_partial=8)


def test_urls_have_the_days(tmp_path: Path) -> None:
    fs = aiofs.connect(f"{tmp_path.as_uri()}?keep_partial=2.5")
    assert fs.url_of() == f"{tmp_path.as_uri()}?keep_partial=2.5"
    aiofs.connect("memory://?keep_partial=1")


@pytest.mark.parametrize("layer", [Prefix("folder/"), Percent(), Log(), Allow("read", "write", "remove")], ids=str)
async def test_layers_that_change_no_bytes_pass_it_on(layer: aiofs.Layer, tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path).over(layer)
    checkpoint = await kept(fs, "a folder/a file")
    async with fs.open("a folder/a file", "w", partial=checkpoint.token) as file:
        await file.write(b", an end")
    assert file.entry.path == "a folder/a file"
    assert await fs.read_bytes("a folder/a file") == b"a beginning, an end"


@pytest.mark.parametrize("layer", [Gzip(), Limit(100)], ids=str)
def test_layers_that_change_or_count_bytes_refuse_it_by_name(layer: aiofs.Layer) -> None:
    fs = aiofs.MemoryFileSystem().over(layer)
    assert not fs.driver.capabilities.partial
    with pytest.raises(Unsupported, match=type(layer).__name__):
        fs.open("file", "w", partial="")


def test_what_may_not_be_written_is_refused() -> None:
    with pytest.raises(Unsupported):
        aiofs.MemoryFileSystem().over(ReadOnly()).open("file", "w", partial="")


async def test_a_file_that_the_disk_cut_is_damaged(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    checkpoint = await kept(fs)
    (hidden,) = tmp_path.iterdir()
    os.truncate(hidden, 3)
    with pytest.raises(Damaged, match="11 bytes of this partial write were safe, and 3 are there"):
        await fs.open("file", "w", partial=checkpoint.token)


async def test_a_process_killed_between_linking_and_unlinking(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    checkpoint = await kept(fs)
    (hidden,) = tmp_path.iterdir()
    os.link(hidden, tmp_path / "file")
    with pytest.raises(NotFound, match="it was published"):
        await fs.open("file", "w", partial=checkpoint.token)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert await fs.read_bytes("file") == b"a beginning"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
async def test_permissions_of_the_beginning(tmp_path: Path) -> None:
    for fs, options in (
        (aiofs.OSFileSystem(tmp_path), {"permissions": 0o640}),
        (aiofs.OSFileSystem(tmp_path, permissions=0o640), {}),
    ):
        for exists in (False, True):
            if exists:
                await fs.write_bytes("file", b"old", permissions=0o604)
            async with fs.open("file", "w", partial="", **options) as file:  # type: ignore[call-overload]
                await file.write(b"a beginning")
                checkpoint = await file.checkpoint()
                await file.leave()
            (hidden,) = [path for path in tmp_path.iterdir() if path.name != "file"]
            assert hidden.stat().st_mode & 0o077 == 0
            async with aiofs.OSFileSystem(tmp_path).open("file", "w", partial=checkpoint.token):
                pass
            assert (tmp_path / "file").stat().st_mode & 0o777 == (0o640 if options or not exists else 0o604)
            await fs.rm("file")


async def test_locks_elsewhere_refuse_it(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, locks=aiofs.MemoryFileSystem())
    with pytest.raises(Unsupported, match="partial="):
        fs.open("file", "w", partial="")


async def test_a_handle_that_was_never_closed_keeps_its_checkpoint(tmp_path: Path) -> None:
    for fs in (aiofs.MemoryFileSystem(), aiofs.OSFileSystem(tmp_path)):
        file = await fs.open("file", "w", partial="")
        await file.write(b"a beginning")
        checkpoint = await file.checkpoint()
        await file.write(b"more")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del file
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning]
        async with fs.open("file", "w", partial=checkpoint.token) as file:
            assert await file.tell() == checkpoint.length
        assert await fs.read_bytes("file") == b"a beginning"


async def test_closing_the_file_system_keeps_it(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    file = await fs.open("file", "w", partial="")
    await file.write(b"a beginning")
    checkpoint = await file.checkpoint()
    await fs.aclose()
    with pytest.raises(ValueError, match="closed before it"):
        await file.close()
    async with aiofs.OSFileSystem(tmp_path) as fs, fs.open("file", "w", partial=checkpoint.token) as file:
        assert await file.tell() == checkpoint.length


async def test_fsck_says_that_it_is_resumable(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path)
    await kept(fs, "folder/file")
    (found,) = await aiofs.fsck(fs, fix=True)
    assert (found.kind, found.live, found.fixed) == (KIND, False, False)
    assert "resumable" in found.why
    (found,) = await aiofs.fsck(aiofs.OSFileSystem(tmp_path, keep_partial=1e-9), fix=True)
    assert (found.kind, found.fixed) == (KIND, True)
    assert list(tmp_path.iterdir()) == []
