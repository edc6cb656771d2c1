"""Records, labels and prepared sessions of other versions of aiofs: 2.0.0a1's are read, unknown ones refused by name.

`left_by_2_0_0a1.json` is what processes of 2.0.0a1 left in an index, a journal and a storage: names and a before-image,
a write that was prepared, and a transaction of which one of two files was published.
"""

from __future__ import annotations

import base64
import json
import zlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiofs import FastDFSFileSystem, MemoryFileSystem, fsck, recover
from aiofs.errors import Unsupported
from backends.fastdfs.systems import leftovers, over, prepared, stored, sweep
from servers.fastdfs.storage import File

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servers.fastdfs.cluster import Cluster

LEFT = json.loads(Path(__file__).with_name("left_by_2_0_0a1.json").read_text(encoding="utf-8"))
LARGE = 1 << 17


async def fill(system: MemoryFileSystem, files: dict[str, str]) -> None:
    for path, text in files.items():
        lease = await system.driver.lock(path)
        session = await system.driver.begin(path, lease)
        await session.write(text.encode())
        await session.commit()
        await lease.release()


@asynccontextmanager
async def left(what: str, cluster: Cluster) -> AsyncIterator[tuple[FastDFSFileSystem, MemoryFileSystem, Any]]:
    """A file system over what a process left, its journal, and what it had prepared."""
    [storage] = cluster.storages
    for name, packed in LEFT[what]["files"].items():
        storage.files[name] = File(bytearray(zlib.decompress(base64.b64decode(packed))), 0)
    storage.metadata = {name: text.encode() for name, text in LEFT[what]["metadata"].items()}
    storage.log = [tuple(line) for line in LEFT[what]["log"]]
    index, journal = MemoryFileSystem(), MemoryFileSystem()
    await fill(index, LEFT[what]["index"])
    await fill(journal, LEFT[what]["journal"])
    async with over(cluster, index) as fs:
        yield fs, journal, LEFT[what]["token"]


async def test_names_and_images_of_2_0_0a1_are_read(cluster: Cluster) -> None:
    async with left("names", cluster) as (fs, _, _):
        assert await fs.read_bytes("folder/name.txt") == b"data"
        assert (await fs.stat("folder/name.txt")).metadata == {"kind": "é"}
        lease = await fs.driver.lock("kept")
        await fs.driver.restore("kept", "tag-1", lease, match=str((await fs.stat("kept")).version))
        await lease.release()
        await fs.driver.drop("kept", "tag-1")
        assert await fs.read_bytes("kept") == b"old"
        assert await leftovers(fs) == []
        async with over(cluster, MemoryFileSystem()) as anew:
            assert await anew.rebuild_index() == 2
            assert await anew.read_bytes("folder/name.txt") == b"data"


@pytest.mark.parametrize("ending", ["commit", "abort", "sweep"])
async def test_what_2_0_0a1_prepared_is_finished_or_undone(cluster: Cluster, ending: str) -> None:
    async with left("prepared", cluster) as (fs, _, token):
        if ending == "sweep":
            [leftover] = await leftovers(fs)
            assert await sweep(fs, leftover)
        else:
            await getattr(await fs.driver.resume(token), ending)()
        expected = b"new" if ending == "commit" else b"old"
        assert await fs.read_bytes("name") == expected
        assert stored(cluster) == [expected]
        assert await leftovers(fs) == []


async def test_transaction_of_2_0_0a1_is_finished(cluster: Cluster) -> None:
    async with left("decided", cluster) as (fs, journal, _):
        report = await recover({"data": fs}, journal=journal)
        assert (len(report.finished), report.undone, report.failed) == (1, [], [])
        assert await fs.read_bytes("a") == b"a" * LARGE
        assert await fs.read_bytes("b") == b"b" * LARGE
        assert await leftovers(fs) == []


async def test_record_in_an_unknown_format_is_refused_by_name(cluster: Cluster) -> None:
    index = MemoryFileSystem()
    async with over(cluster, index) as fs:
        await fs.write_bytes("name", b"data")
        record = json.loads(await index.read_bytes("name"))
        assert record["format"] == "1"
        await index.write_bytes("name", json.dumps(record | {"format": "7"}).encode())
        for attempt in (fs.read_bytes, fs.stat, fs.rm, lambda name: fs.write_bytes(name, b"new")):
            with pytest.raises(Unsupported, match="format 7") as caught:
                await attempt("name")
            assert caught.value.filename == "name"
        [finding] = await fsck({"data": fs}, journal=MemoryFileSystem(), fix=True)
        assert (finding.path, finding.kind, finding.fixed) == ("name", "name that cannot be read", False)
        assert b"data" in stored(cluster)


async def test_label_in_an_unknown_format_is_refused_by_name(cluster: Cluster, fs: FastDFSFileSystem) -> None:
    await prepared(fs.driver, "name", b"data")
    [storage] = cluster.storages
    [(name, label)] = storage.metadata.items()
    assert b'"format": "1"' in label
    storage.metadata[name] = label.replace(b'"format": "1"', b'"format": "7"')
    [finding] = await fsck({"data": fs}, journal=MemoryFileSystem(), fix=True)
    assert (finding.path, finding.fixed) == (f"group1/{name}", False)
    assert "format 7" in finding.why
    async with over(cluster, MemoryFileSystem()) as anew:
        with pytest.raises(Unsupported, match="format 7") as caught:
            await anew.rebuild_index()
        assert caught.value.filename == f"group1/{name}"
    assert stored(cluster) == [b"data"]


async def test_token_in_an_unknown_format_is_refused_by_name(cluster: Cluster, fs: FastDFSFileSystem) -> None:
    token = await prepared(fs.driver, "name", b"data")
    assert token["format"] == "1"
    with pytest.raises(Unsupported, match="format 7") as caught:
        await fs.driver.resume(token | {"format": "7"})
    assert caught.value.filename == "name"
    assert stored(cluster) == [b"data"]
