"""Copies between two buckets, and between prefixes that have locks of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.backends.s3 import driver
from servers.moto import with_bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server


@pytest.fixture
def other_bucket(s3_server: S3Server) -> Iterator[S3Server]:
    yield from with_bucket(s3_server)


@pytest.fixture
def by_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte passes through this process."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the bytes were read or written here")

    monkeypatch.setattr(driver.S3Driver, "read", refuse)


@pytest.mark.usefixtures("by_the_store")
@pytest.mark.parametrize("whole", [driver.COPIED_WHOLE, 0], ids=["whole", "in parts"])
async def test_the_store_copies_between_buckets(
    fs: S3FileSystem, connect: Connect, other_bucket: S3Server, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "COPIED_WHOLE", whole)
    other = connect(other_bucket, prefix="folder/")
    await fs.write_bytes("file", b"bytes", metadata={"k": "v"}, content_type="text/x", tags={"t": "u"})
    entry = await aiofs.copy(fs / "file", other / "copy")
    found = await other.stat("copy")
    assert (entry.version, entry.size) == (found.version, 5)
    assert (found.metadata, found.content_type, (found.properties or {}).get("tags")) == (
        {"k": "v"},
        "text/x",
        {"t": "u"},
    )
    await aiofs.move(other / "copy", fs / "back")
    assert await other.ls() == []
    assert await fs.ls() == ["back", "file"]
    with pytest.raises(FileNotFoundError) as caught:
        await aiofs.copy(other / "copy", fs / "file")
    assert caught.value.filename == "copy"


async def test_other_credentials_do_not_copy_by_the_store(
    fs: S3FileSystem, connect: Connect, s3_server: S3Server
) -> None:
    """The store would use the target's credentials for the source, too."""
    theirs = connect(replace(s3_server, access_key="theirs", secret_key="secret"), prefix="theirs/")
    assert not fs.driver.can_copy_from(theirs.driver)  # type: ignore[attr-defined]
    assert fs.driver.can_copy_from(connect(s3_server, prefix="ours/").driver)  # type: ignore[attr-defined]
    await fs.write_bytes("file", b"bytes", tags={"t": "u"}, storage_class="STANDARD_IA")
    await aiofs.copy(fs / "file", theirs / "file")
    found = await theirs.stat("file")
    assert (found.properties or {}).get("tags") == {"t": "u"}
    assert (found.properties or {}).get("storage_class") is None


async def test_one_object_under_two_prefixes_is_not_moved_onto_itself(
    fs: S3FileSystem, connect: Connect, s3_server: S3Server
) -> None:
    """Each prefix has locks of its own, and the version of an object is that of its bytes."""
    folder = connect(s3_server, prefix="folder/")
    await fs.write_bytes("folder/file", b"bytes")
    for source, target in (
        (fs / "folder/file", folder / "file"),
        (folder.over(aiofs.layers.Log()) / "file", fs / "folder/file"),
    ):
        with pytest.raises(ValueError, match="same file"):
            await aiofs.move(source, target)
    assert await fs.read_bytes("folder/file") == b"bytes"


async def test_a_server_of_two_names_is_found_out_without_shared_locks(
    connect: Connect, s3_server: S3Server, front: Fronts
) -> None:
    """A session that copies an object onto itself leaves the version as it was, but not the token of its writer."""
    _, other_name = await front(s3_server)
    here, there = connect(s3_server, locking="commit"), connect(other_name, locking="commit")
    await here.write_bytes("file", b"bytes")
    with pytest.raises(BlockingIOError, match="one file"):
        await aiofs.move(here / "file", there / "file")
    assert await here.read_bytes("file") == b"bytes"
    await aiofs.move(here / "file", there / "moved")
    assert await there.ls() == ["moved"]
