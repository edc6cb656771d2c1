"""Properties beside the bytes: what is refused before any I/O, what a change of the bytes keeps, and old versions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.memory import Stored
from aiofs.layers import Base64, Gzip, Log, Prefix, ReadOnly
from aiofs.testing import Chaos
from conformance.versioned_memory import VersionedMemory

if TYPE_CHECKING:
    from aiofs.driver import Entry
    from aiofs.modes import BinaryMode


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"content_type": "text/plain\r\nX-Evil: 1"}, ValueError, "control character"),
        ({"tags": {"a\x00": "b"}}, ValueError, "control character"),
        ({"content_disposition": "filename=žluť"}, ValueError, "printable ASCII"),
        ({"cache_control": "no-store "}, ValueError, "without space around"),
        ({"tags": {"a": 1}}, TypeError, "tags maps str to str"),
        ({"tags": "a=b"}, TypeError, "tags maps str to str"),
        ({"cache_control": 60}, TypeError, "cache_control is a str"),
        ({"content_typ": "text/plain"}, TypeError, "'content_typ'"),
        ({"storage_class": "GLACIER"}, aiofs.Unsupported, "keeps no storage class"),
        ({"metadata": {"Content-Type": "text/plain"}}, ValueError, "give content_type= instead"),
        ({"metadata": {"cache_control": "no-store"}}, ValueError, "give cache_control= instead"),
        ({"metadata": {":tags": "a=b"}}, ValueError, "does not begin with ':'"),
    ],
)
async def test_what_is_refused_before_any_io(given: dict[str, Any], error: type[Exception], words: str) -> None:
    chaos = Chaos()
    fs = aiofs.MemoryFileSystem().over(chaos)
    with pytest.raises(error, match=words):
        fs.open("file", "w", **given)
    with pytest.raises(error, match=words):
        await fs.write_bytes("file", b"", **given)
    assert not chaos.calls


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_properties_go_with_a_new_file(mode: BinaryMode) -> None:
    with pytest.raises(ValueError, match="content_type goes with a new file"):
        aiofs.MemoryFileSystem().open("file", mode, content_type="text/plain")


def test_a_store_without_them_says_so(tmp_path: object) -> None:
    fs = aiofs.OSFileSystem(str(tmp_path))
    with pytest.raises(aiofs.Unsupported, match="keeps no content type: leave out content_type="):
        fs.open("file", "w", content_type="text/plain")


async def test_a_transaction_keeps_them() -> None:
    fs = aiofs.MemoryFileSystem()
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("file", b"1", metadata={"by": "me"}, content_type="text/csv", tags={"a b": "c&d"})
        await tx.copy("file", "copy")
    async with aiofs.transaction(fs) as tx, tx.open("copy", "r+") as file:
        await file.write(b"2")
    for name in ("file", "copy"):
        entry = await fs.stat(name)
        assert (entry.metadata, entry.content_type) == ({"by": "me"}, "text/csv")
        assert entry.properties == {"tags": {"a b": "c&d"}}


class Digesting(VersionedMemory):
    """Files in memory with a digest in each entry, and with old versions."""

    def publish(self, path: str, data: bytes, *rest: Any, **more: Any) -> Entry:
        entry = replace(super().publish(path, data, *rest, **more), digest="md5:00")
        self.files.stored[path] = self.old[path, entry.version or ""] = Stored(entry, data)
        return entry


@pytest.mark.parametrize("layer", [Gzip(), Base64()], ids=str)
async def test_a_layer_that_changes_bytes_drops_their_digest(layer: aiofs.Layer) -> None:
    plain = aiofs.FileSystem(Digesting())
    fs = plain.over(layer)
    await fs.write_bytes("file", b"data")
    assert (await plain.stat("file")).digest == "md5:00"
    assert (await fs.stat("file")).digest is None
    assert [entry.digest async for entry in fs.scan()] == [None]


@pytest.mark.parametrize(
    "layers",
    [(), (Prefix("folder/"),), (Gzip(), Log()), (Base64(), Prefix("a/"))],
    ids=["none", "prefix", "gzip", "base64"],
)
async def test_old_versions(layers: tuple[aiofs.Layer, ...]) -> None:
    fs = aiofs.FileSystem(Digesting()).over(*layers)
    await fs.write_bytes("file", b"first")
    await fs.write_bytes("file", b"second")
    newest, oldest = await fs.history("file")
    assert newest.path == oldest.path == "file"
    assert oldest.version_id is not None
    async with fs.open("file", version_id=oldest.version_id) as file:
        assert await file.read() == b"first"
    await fs.restore("file", oldest.version_id)
    assert await fs.read_bytes("file") == b"first"
    with pytest.raises(aiofs.NotFound) as caught:
        await fs.open("file", version_id="missing")
    assert caught.value.filename == "file"
    with pytest.raises(ValueError, match=r"restore\(\) the version"):
        fs.open("file", "w", version_id=oldest.version_id)


async def test_old_versions_of_a_read_only_system_are_read_only() -> None:
    plain = aiofs.FileSystem(Digesting())
    await plain.write_bytes("file", b"first")
    fs = plain.over(ReadOnly())
    (only,) = await fs.history("file")
    async with fs.open("file", version_id=only.version_id) as file:
        assert await file.read() == b"first"
    with pytest.raises(aiofs.AccessDenied):
        await fs.restore("file", only.version_id or "")


async def test_a_store_that_keeps_none_says_so() -> None:
    fs = aiofs.MemoryFileSystem()
    for use in (fs.history("file"), fs.restore("file", "1"), fs.open("file", version_id="1")):
        with pytest.raises(aiofs.Unsupported, match="keeps no old versions"):
            await use
