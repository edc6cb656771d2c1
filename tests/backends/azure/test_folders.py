"""What Data Lake Storage, Hadoop and portals leave for folders: empty blobs, which are no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs.errors import IsAFolder, NotFound

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from aiofs.stores import AzureFileSystem

pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


@pytest.fixture
def marked(fs: AzureFileSystem, raw: ContainerClient) -> AzureFileSystem:
    """Folders that are marked, one of them without a file in it, and files that only look like marks."""
    for name in ("a", "a/b", "bare"):
        raw.upload_blob(name, b"", metadata={"hdi_isfolder": "true"})
    raw.upload_blob("c/", b"")  # as portals make folders
    for name in ("a/b/file", "c/file"):
        raw.upload_blob(name, b"bytes")
    raw.upload_blob("empty", b"", metadata={"hdi_isfolder": "false"})
    raw.upload_blob("full", b"bytes", metadata={"hdi_isfolder": "true"})
    return fs


FILES = ["a/b/file", "c/file", "empty", "full"]


async def test_listings_have_files_alone(marked: AzureFileSystem) -> None:
    assert await marked.ls() == FILES
    assert [entry.path for entry in await marked.scan()] == FILES
    assert await marked.ls(recursive=False) == ["a/", "c/", "empty", "full"]
    assert await marked.ls("a", recursive=False) == ["a/b/"]
    assert await marked.ls("bare") == await marked.ls("bare", recursive=False) == []
    assert await marked.glob("*") == ["empty", "full"]
    assert [step async for step in marked.walk()] == [
        ("", ["a", "c"], ["empty", "full"]),
        ("a", ["b"], []),
        ("a/b", [], ["file"]),
        ("c", [], ["file"]),
    ]


async def test_a_mark_is_no_file(marked: AzureFileSystem, raw: ContainerClient) -> None:
    assert not await marked.exists("a")
    assert not await marked.exists("bare")
    attempts = [marked.stat("a"), marked.read_bytes("a"), marked.rm("a"), marked.rm("bare", missing_ok=True)]
    attempts += [marked.rm("full", "a"), marked.copy("a", "copy"), marked.move("a", "copy"), marked.copy("full", "a")]
    attempts += [marked.write_bytes("bare", b"x"), marked.write_bytes("bare", b"")]
    attempts += [marked.open(name, mode).__aenter__() for name in ("a", "bare") for mode in ("r", "r+", "a", "w")]
    for attempt in attempts:
        with pytest.raises(IsAFolder) as caught:
            await attempt
        assert caught.value.filename in {"a", "bare"}
    with pytest.raises(FileExistsError):
        async with marked.open("bare", "x") as file:
            await file.write(b"x")
    names = [blob.name for blob in raw.list_blobs()]
    assert names == ["a", "a/b", "a/b/file", "bare", "c/", "c/file", "empty", "full"]


async def test_an_empty_file_that_is_described_like_a_mark_is_a_file(fs: AzureFileSystem) -> None:
    await fs.write_bytes("file", b"", metadata={"hdi_isfolder": "true"})
    assert (await fs.stat("file")).metadata == {"hdi_isfolder": "true"}
    assert await fs.ls() == ["file"]


async def test_a_missing_file_is_still_missing(marked: AzureFileSystem) -> None:
    with pytest.raises(NotFound) as caught:
        await marked.rm("missing")
    assert caught.value.filename == "missing"
    await marked.rm("missing", missing_ok=True)
