"""The folder of a journal stays for the next transaction, and goes with the folder that it is in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiofs import OSFileSystem, transaction

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_folder_of_a_journal_is_kept(tmp_path: Path) -> None:
    fs = OSFileSystem(tmp_path)
    async with transaction(fs) as tx:
        await tx.write_bytes("file", b"new")
    kept = os.stat(tmp_path / ".aiofs-journal").st_ino
    async with transaction(fs) as tx:
        await tx.rm("file")
    assert os.stat(tmp_path / ".aiofs-journal").st_ino == kept
    assert os.listdir(tmp_path) == [".aiofs-journal"]
    assert os.listdir(tmp_path / ".aiofs-journal") == []


async def test_it_goes_with_the_last_file_of_its_folder(tmp_path: Path) -> None:
    fs = OSFileSystem(tmp_path)
    tenant = fs.at("tenants/ann")
    async with transaction(tenant) as tx:
        await tx.write_bytes("file", b"new")
    assert os.listdir(tmp_path / "tenants/ann") in ([".aiofs-journal", "file"], ["file", ".aiofs-journal"])
    await fs.rm("tenants/ann/file")
    assert os.listdir(tmp_path) == []
    await fs.write_bytes("tenants", b"a file now")


async def test_a_transaction_that_removes_the_last_file_removes_the_folder(tmp_path: Path) -> None:
    fs = OSFileSystem(tmp_path)
    await fs.write_bytes("tenants/ann/file", b"old")
    async with transaction(fs.at("tenants/ann")) as tx:
        await tx.rm("file")
    assert os.listdir(tmp_path) == []
