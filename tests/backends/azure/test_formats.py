"""Locks and prepared sessions of other versions of aiofs: 2.0.0a1's are taken over, unknown ones refused by name.

`left_by_2_0_0a1.json` is what processes of 2.0.0a1 left in a container when they died: between the decision and the
publication of a transaction, before its decision, and with a write that was prepared.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azure.core.exceptions import HttpResponseError

import aiofs
from aiofs.backends.azure.client import PART
from aiofs.backends.azure.driver import AzureDriver
from aiofs.backends.azure.locks import lock_name
from aiofs.errors import Locked, Unsupported
from aiofs.powers import CopiesRanges

if TYPE_CHECKING:
    from azure.storage.blob import BlobLeaseClient, ContainerClient

    from aiofs.stores import AzureFileSystem

LEFT = json.loads(Path(__file__).with_name("left_by_2_0_0a1.json").read_text())
LARGE = b"0123456789abcdef" * 5000
pytestmark = pytest.mark.may_block  # the tests look from outside with a client that blocks


def put_back(raw: ContainerClient, what: str, staged: bytes = b"") -> Any:
    """Fill the container with what a dead process left, and return the token of what it had prepared."""
    for blob in LEFT[what]["blobs"]:
        if blob["staged"]:
            (block,) = blob["staged"]
            raw.get_blob_client(blob["name"]).stage_block(block, staged)
        else:
            raw.upload_blob(blob["name"], blob["data"], metadata=blob["metadata"])
    return LEFT[what]["token"]


def lock_of(raw: ContainerClient, path: str, **labels: str) -> BlobLeaseClient:
    """Lock a file as 2.0.0a1 did, or with other labels."""
    blob = raw.get_blob_client(lock_name(path))
    blob.upload_blob(
        b"", metadata={"path": path, "holder": "elsewhere:1", "since": "2026-01-01T00:00:00+00:00"} | labels
    )
    return blob.acquire_lease(60)


@pytest.mark.parametrize(("what", "data"), [("blocks", b"prepared bytes"), ("empty", b"")])
@pytest.mark.parametrize("commits", [True, False])
async def test_what_2_0_0a1_prepared_is_finished_or_undone(
    fs: AzureFileSystem, raw: ContainerClient, what: str, data: bytes, commits: bool
) -> None:
    session = await fs.driver.resume(put_back(raw, what, data))
    if commits:
        await session.commit()
        assert await fs.read_bytes("file") == data
        assert (await fs.stat("file")).metadata == {"kind": "é"}
    else:
        await session.abort()
        assert not await fs.exists("file")
    left = [blob.name for blob in raw.list_blobs(include=["uncommittedblobs"])]
    assert left == (["file"] if commits else [])


async def test_a_transaction_that_2_0_0a1_had_decided_is_finished(fs: AzureFileSystem, raw: ContainerClient) -> None:
    put_back(raw, "transaction", LARGE)
    await aiofs.recover(fs)
    assert await fs.read_bytes("small") == b"small bytes"
    assert (await fs.stat("small")).metadata == {"kind": "é"}
    assert await fs.read_bytes("large") == LARGE
    assert await aiofs.fsck(fs) == []


async def test_a_transaction_that_2_0_0a1_had_not_decided_is_undone(fs: AzureFileSystem, raw: ContainerClient) -> None:
    put_back(raw, "undecided", LARGE)
    await aiofs.fsck(fs, fix=True)
    assert await fs.ls() == []
    assert [blob.name for blob in raw.list_blobs(include=["uncommittedblobs"])] == []


async def test_a_lock_of_2_0_0a1_is_respected_and_taken_over(fs: AzureFileSystem, raw: ContainerClient) -> None:
    lease = lock_of(raw, "file")
    with pytest.raises(Locked, match="elsewhere:1"):
        await fs.write_bytes("file", b"new")
    lease.release()
    await fs.write_bytes("file", b"new")
    assert await fs.read_bytes("file") == b"new"


async def test_a_lock_of_ours_keeps_2_0_0a1_out(fs: AzureFileSystem, raw: ContainerClient) -> None:
    """It asked for a lease of the blob of this name."""
    blob = raw.get_blob_client(f".aiofs/locks/{hashlib.sha256(b'file').hexdigest()}")
    async with fs.open("file", "w"):
        with pytest.raises(HttpResponseError, match="LeaseAlreadyPresent"):
            blob.acquire_lease(15)


@pytest.mark.parametrize("held", [True, False])
async def test_a_lock_of_an_unknown_format_is_refused(fs: AzureFileSystem, raw: ContainerClient, held: bool) -> None:
    await fs.write_bytes("file", b"old")
    lease = lock_of(raw, "file", format="7")
    if not held:
        lease.release()  # it may be held in another way, of which we know nothing
    names = ["file", *map(str, range(9))]
    for attempt in (fs.write_bytes("file", b"new"), fs.rm("file"), fs.rm(*names, missing_ok=True)):
        with pytest.raises(Unsupported, match="format 7, and this version of aiofs knows 1") as caught:
            await attempt
        assert caught.value.filename == "file"
    driver = fs.driver
    assert isinstance(driver, AzureDriver)
    (left,) = [left async for left in driver.leftovers()]
    assert left.live
    assert not await driver.sweep(left)
    assert await fs.read_bytes("file") == b"old"


async def test_a_prepared_write_of_an_unknown_format_is_refused(fs: AzureFileSystem, raw: ContainerClient) -> None:
    token = put_back(raw, "blocks", b"prepared bytes")
    with pytest.raises(Unsupported, match="format 7"):
        await fs.driver.resume({**token, "format": "7"})
    with pytest.raises(Unsupported, match="format None"):
        await fs.driver.resume({**token, "format": None})


async def test_what_we_leave_has_a_number(fs: AzureFileSystem, raw: ContainerClient) -> None:
    lease = await fs.driver.lock("file")
    session = await fs.driver.begin("file", lease)
    assert (await session.prepare())["format"] == "1"
    (lock,) = raw.list_blobs(".aiofs/", include=["metadata"])
    assert lock.metadata["format"] == "1"
    await session.abort()
    await lease.release()


async def test_blocks_of_other_programs_are_taken_over_by_whoever_recovers(
    fs: AzureFileSystem, raw: ContainerClient
) -> None:
    names = [f"a block of another program, é, {number}" for number in (1, 2)]
    blob = raw.get_blob_client("file")
    for name in names:
        blob.stage_block(name, bytes(PART))
    blob.commit_block_list(names)
    lease = await fs.driver.lock("file")
    entry = await fs.stat("file")
    session = await fs.driver.begin("file", lease, match=entry.version)
    assert isinstance(session, CopiesRanges)
    await session.copy_range(0, PART)
    token = json.loads(json.dumps(await session.prepare()))
    await session.leave()
    await lease.release()
    await (await fs.driver.resume(token)).commit()
    assert (await fs.stat("file")).version != entry.version
    assert [block.id for block in blob.get_block_list("committed")[0]] == names[:1]
