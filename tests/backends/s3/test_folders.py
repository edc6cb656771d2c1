"""A server that keeps files in folders: it may misread a name, and has no file `a` beside a folder `a`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs.layers import Percent
from backends.s3.sessions import put

if TYPE_CHECKING:
    from backends.s3.conftest import Connect
    from servers.moto import S3Server


async def test_names_with_a_backslash_are_refused_before_they_become_others(
    connect: Connect, seaweedfs: S3Server
) -> None:
    fs = connect(seaweedfs)
    await put(seaweedfs, "a/b", b"another file")
    with pytest.raises(ValueError, match=r"a\\\\b.*Percent"):
        await fs.write_bytes("a\\b", b"new")
    with pytest.raises(ValueError, match="Percent"):
        await fs.read_bytes("a\\b")
    with pytest.raises(ValueError, match="Percent"):
        await fs.stat("a\\b")
    with pytest.raises(ValueError, match="Percent"):
        await fs.rm("a\\b")
    with pytest.raises(ValueError, match="Percent"):
        await fs.copy("a/b", "c\\d")
    with pytest.raises(ValueError, match="Percent"):
        await fs.copy("a\\b", "c")
    assert await fs.ls() == ["a/b"]
    assert await fs.read_bytes("a/b") == b"another file"
    layered = fs.over(Percent())
    await layered.write_bytes("a\\b", b"new")
    assert await layered.ls() == ["a/b", "a\\b"]


async def test_a_file_where_a_folder_is_is_called_that(connect: Connect, seaweedfs: S3Server) -> None:
    for direct in (True, False):
        fs = connect(seaweedfs, direct=direct)
        await fs.write_bytes("folder/file", b"bytes")
        for mode in ("w", "x"):
            with pytest.raises(IsADirectoryError) as failed:
                async with fs.open("folder", mode) as file:
                    await file.write(b"new")
            assert failed.value.filename == "folder"
        with pytest.raises(IsADirectoryError):
            await fs.write_bytes("folder", bytes(9 << 20))
        with pytest.raises(IsADirectoryError):
            await fs.copy("folder/file", "folder")
        assert await fs.ls() == ["folder/file"]


async def test_servers_that_keep_keys_as_they_are_have_such_names(connect: Connect, s3_server: S3Server) -> None:
    fs = connect(s3_server)
    await fs.write_bytes("a\\b", b"one")
    await fs.write_bytes("a/b", b"other")
    await fs.write_bytes("a", b"third")
    assert await fs.ls() == ["a", "a/b", "a\\b"]
    assert await fs.read_bytes("a\\b") == b"one"
