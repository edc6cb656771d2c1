"""The portable side: what it says of wrong arguments, whose errors are whose, and what closing closes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.layers import Limit, Notify, Prefix
from aiofs.testing import Chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from aiofs.driver import Entry, ReadStream


class Counted(aiofs.Layer):
    """Counts how often the store is closed."""

    def __init__(self) -> None:
        self.times: list[str] = []

    async def aclose(self) -> None:
        self.times.append("closed")
        await super().aclose()


class Nowhere(aiofs.Layer):
    """A store that is not there."""

    async def stat(self, path: str) -> Entry:
        raise aiofs.StoreMissing.of(path, "there is no such bucket")


async def listed(fs: aiofs.FileSystem) -> list[Any]:
    return [entry async for entry in fs.walk()]


HALF: Any = 0.5
USES: list[Callable[[aiofs.FileSystem], Awaitable[Any]]] = [
    lambda fs: fs.read_bytes("file"),
    lambda fs: fs.write_bytes("file", b""),
    lambda fs: fs.stat("file"),
    lambda fs: fs.exists("file"),
    lambda fs: fs.rm("file"),
    lambda fs: fs.copy("file", "copy"),
    lambda fs: fs.move("file", "other"),
    lambda fs: fs.ls(),
    lambda fs: fs.glob("*"),
    listed,
    lambda fs: fs.at("folder").ls(),
    lambda fs: fs.over().ls(),
]


async def all_refused(*systems: aiofs.FileSystem) -> None:
    for fs in systems:
        assert fs.closed
        for use in USES:
            with pytest.raises(ValueError, match="closed"):
                await use(fs)


async def test_a_folder_is_closed_with_its_store() -> None:
    """Whoever goes on with it would open the store again, and nobody would close that."""
    fs = aiofs.MemoryFileSystem()
    folder = fs.at("folder")
    below = folder.at("below").over(Prefix("x"))
    async with fs:
        await below.write_bytes("file", b"")
    await all_refused(fs, folder, below)


async def test_closing_a_folder_closes_nothing_else() -> None:
    counted = Counted()
    async with aiofs.MemoryFileSystem().over(counted) as fs:
        async with fs.at("folder") as folder, folder.over(Prefix("x")) as layered:
            await layered.write_bytes("file", b"")
        await all_refused(folder, layered)
        assert await fs.ls() == ["folder/xfile"]
        assert counted.times == []
    assert counted.times == ["closed"]


async def test_closing_what_has_layers_closes_the_store() -> None:
    counted = Counted()
    fs = aiofs.MemoryFileSystem().over(counted)
    layered = fs.over(Prefix("a/"))
    folder = fs.at("a")
    async with layered:
        await layered.write_bytes("file", b"")
    assert counted.times
    await all_refused(layered, fs, folder)
    await fs.aclose()


async def test_files_of_a_folder_are_let_go_with_its_store() -> None:
    async with aiofs.MemoryFileSystem() as fs:
        folder = fs.over(Prefix("folder/")).at("inner")
        reader = await folder.open("text", "wt")
        await reader.write("lost")
    with pytest.raises(ValueError, match=r"'text', opened at .*test_filesystem\.py:.* nothing was published"):
        await reader.close()


async def test_files_of_a_store_stay_open_when_a_folder_is_closed() -> None:
    async with aiofs.MemoryFileSystem() as fs:
        file = await fs.open("file", "w")
        await fs.at("folder").aclose()
        await file.write(b"kept")
        await file.close()
        assert await fs.read_bytes("file") == b"kept"


async def awaited(opening: Awaitable[aiofs.FileLike]) -> aiofs.FileLike:
    """`create_task` takes coroutines only."""
    return await opening


async def test_a_file_that_is_opened_while_its_store_is_closed() -> None:
    chaos = Chaos()
    fs = aiofs.MemoryFileSystem().over(chaos)
    opening = fs.open("file", "w")
    late = fs.open("file", "w")
    gate = chaos.stall("begin")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(awaited(opening))
        await gate.reached.wait()
        closing = tasks.create_task(fs.aclose())
        await asyncio.sleep(0)
        gate.open()
    assert closing.done()
    file = task.result()
    assert file.closed
    with pytest.raises(ValueError, match="nothing was published"):
        await file.close()
    with pytest.raises(ValueError, match="closed file system"):
        await late


async def test_all_files_are_let_go_of_though_one_of_them_fails() -> None:
    chaos = Chaos()
    store = aiofs.MemoryFileSystem()
    fs = store.over(chaos)
    files = [await fs.open(name, "w") for name in ("first", "second", "third")]
    chaos.fail("release", OSError(errno.EIO, "it will not"))
    with pytest.raises(OSError, match="it will not"):
        await fs.aclose()
    assert all(file.closed for file in files)
    assert store.closed


@pytest.mark.parametrize("metadata", ["text", ["list"], 3])
async def test_metadata_is_a_mapping(metadata: Any) -> None:
    async with aiofs.MemoryFileSystem() as fs:
        with pytest.raises(TypeError, match="metadata maps str to str"):
            await fs.write_bytes("file", b"", metadata=metadata)
        assert await fs.ls() == []


@pytest.mark.parametrize(("start", "stop"), [("0", None), (0, "1"), (1.0, None), (None, None), (0, 2.5)])
async def test_ranges_are_of_whole_numbers(start: Any, stop: Any, fdfs: aiofs.FileSystem) -> None:
    async with aiofs.MemoryFileSystem() as fs:
        await fs.write_bytes("file", b"bytes")
        with pytest.raises(TypeError):
            await fs.read_bytes("file", start, stop)
    with pytest.raises(TypeError):
        await fdfs.read_bytes("group1/M00/00/00/fwAAA2sAcB6ACvueAAAADg4Qul0904.txt", start, stop)


@pytest.fixture
async def fdfs() -> AsyncIterator[aiofs.FileSystem]:
    """A store that would need the numbers for its protocol, and is never asked."""
    async with aiofs.FastDFSFileSystem("127.0.0.1:1", index=None) as fs:
        yield fs


async def test_the_words_of_a_url() -> None:
    async with aiofs.MemoryFileSystem() as fs:
        wrong: Any = "POST"
        with pytest.raises(ValueError, match="'GET' or 'PUT'"):
            await fs.url("file", wrong)
        for expires in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="some seconds"):
                await fs.url("file", expires=expires)
        with pytest.raises(aiofs.Unsupported):
            await fs.url("file")


@pytest.mark.parametrize(
    ("verb", "use", "named"),
    [
        ("lock", lambda fs: fs.copy("source", "target"), "target"),
        ("lock", lambda fs: fs.move("source", "target"), "source"),
        ("delete", lambda fs: fs.rm("source"), "source"),
        ("delete", lambda fs: fs.rm("source", missing_ok=True), "source"),
        ("delete", lambda fs: fs.rm("source", "folder/file"), None),
        ("list", lambda fs: fs.ls("folder"), "folder"),
        ("list", lambda fs: fs.ls("folder/", recursive=False), "folder"),
        ("list", lambda fs: fs.ls(), None),
    ],
)
async def test_an_error_names_what_was_asked_for(verb: Any, use: Any, named: str | None) -> None:
    """Also where the store does not: a connection that breaks has no file in mind."""
    chaos = Chaos()
    async with aiofs.MemoryFileSystem().over(chaos) as fs:
        for name in ("source", "folder/file"):
            await fs.write_bytes(name, b"")
        chaos.fail(verb, aiofs.Unreachable(errno.ECONNRESET, "cut"))
        with pytest.raises(aiofs.Unreachable) as caught:
            await use(fs)
        assert caught.value.filename == named


async def test_a_store_that_is_missing_is_no_missing_file() -> None:
    """To say that the file does not exist would hide that nothing can be written there either."""
    async with aiofs.MemoryFileSystem().over(Nowhere()) as fs:
        with pytest.raises(aiofs.StoreMissing):
            await fs.exists("file")


async def test_names_are_removed_before_what_matches() -> None:
    fs = aiofs.MemoryFileSystem()
    for name in ("a.txt", "b.txt"):
        await fs.write_bytes(name, b"")
    with pytest.raises(aiofs.NotFound, match="missing"):
        await fs.rm("missing", glob="*.txt")
    with pytest.raises(ValueError, match="pattern"):
        await fs.rm("a.txt", glob="/*")
    assert await fs.ls() == ["a.txt", "b.txt"]
    await fs.rm("a.txt", glob="*.txt")
    assert await fs.ls() == []


@pytest.mark.parametrize("layer", [Prefix, aiofs.MemoryFileSystem(), "gzip", None])
def test_layers_are_instances(layer: Any) -> None:
    with pytest.raises(TypeError, match=r"a layer is an instance of aiofs\.Layer, not"):
        aiofs.MemoryFileSystem().over(layer)


@pytest.mark.parametrize(("layer", "error"), [(lambda: Limit(-1), ValueError), (lambda: Limit(HALF), TypeError)])
def test_a_limit_is_a_number_of_bytes(layer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        layer()


def test_a_handler_can_be_called() -> None:
    handler: Any = None
    with pytest.raises(TypeError, match="handler must be an async function"):
        Notify(handler)


@pytest.mark.parametrize("prefix", [None, 3, b"a/"])
def test_a_prefix_is_text(prefix: Any) -> None:
    with pytest.raises(TypeError, match="a path is a str"):
        Prefix(prefix)


@pytest.mark.parametrize("prefix", ["/", "../", "a//", "\0", "\ud800", ".aiofs-x/"])
def test_a_prefix_that_no_name_begins_with(prefix: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Prefix(prefix)


async def test_a_walk_goes_as_deep_as_names_do_and_can_be_pruned() -> None:
    fs = aiofs.MemoryFileSystem()
    for name in ("a/" * 1500 + "file", "b/c/file", "b/file"):
        await fs.write_bytes(name, b"")
    assert len(await listed(fs)) == 1503
    seen = []
    async for folder, folders, _ in fs.walk():
        seen.append(folder)
        folders[:] = [name for name in folders if name != "a"]
    assert seen == ["", "b", "b/c"]


class Digesting(MemoryDriver):
    """Memory whose versions are digests, as an ETag of S3 is: who writes the same bytes makes the same version."""

    def publish(self, path: str, data: bytes, *others: Any, version: str | None = None) -> Entry:
        return super().publish(path, data, *others, version=hashlib.sha256(data).hexdigest())


class Toggled(Digesting):
    """The same, where others write 1 while the file is first changed, and 0 before it is read again."""

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        await aiofs.FileSystem(Digesting(self.files)).write_bytes(path, b"0")
        return await super().read(path, start, stop, match=match)


async def test_update_goes_on_if_others_write_the_first_bytes_again() -> None:
    driver = Toggled()
    others = aiofs.FileSystem(Digesting(driver.files))
    tries = 0

    async def change(old: bytes) -> bytes:
        nonlocal tries
        tries += 1
        if tries <= 2:
            await others.write_bytes("flag", b"1")
        return old + b"!"

    await aiofs.FileSystem(driver).update("flag", change)
    assert (await others.read_bytes("flag"), tries) == (b"0!", 3)


async def test_update_that_waited_for_a_writer_publishes_once() -> None:
    """What it read before the writer ended is not tried in vain; a file that is still the same is not changed twice."""
    chaos, made = Chaos(), list[bytes]()
    driver = MemoryDriver()
    fs, others = aiofs.FileSystem(chaos.bind(driver)), aiofs.FileSystem(driver)

    def change(old: bytes) -> bytes:
        made.append(old)
        return old + b"!"

    for publishes in (True, False):
        made.clear()
        await others.write_bytes("file", b"old")
        commits = chaos.calls["commit"]
        file = await others.open("file", "w")
        await file.write(b"new")
        updating = asyncio.ensure_future(fs.update("file", change))
        await asyncio.sleep(0.01)
        await (file.close() if publishes else file.abort())
        await updating
        assert made == [b"old", b"new"][: 1 + publishes]
        assert chaos.calls["commit"] == commits + 1
        assert await others.read_bytes("file") == made[-1] + b"!"


class Underway(MemoryDriver):
    """Memory behind a network: a removal that was sent is done, also if nobody waits for the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = asyncio.Event()

    async def delete(self, paths: Sequence[str], **_: Any) -> None:
        async def done() -> None:
            await asyncio.sleep(0.02)
            for path in paths:
                self.files.stored.pop(path, None)

        self.sent.set()
        await asyncio.shield(asyncio.ensure_future(done()))


@pytest.mark.parametrize("kind", ["move", "rm of a version", "rm"])
async def test_a_cancelled_removal_ends_before_its_lock_is_released(kind: str) -> None:
    driver = Underway()
    fs = aiofs.FileSystem(driver)
    version = (await fs.write_bytes("file", b"old")).version or ""
    work = {
        "move": lambda: fs.move("file", "moved", match=aiofs.ABSENT),
        "rm of a version": lambda: fs.rm("file", match=version),
        "rm": lambda: fs.rm("file"),
    }[kind]()
    removing = asyncio.ensure_future(work)
    await driver.sent.wait()
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    await fs.write_bytes("file", b"new")
    await asyncio.sleep(0.05)
    assert await fs.read_bytes("file") == b"new"


class Incomparable(str):
    """What cannot be compared with bytes, as any str cannot under `python -bb`, nor an array of several numbers."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise BytesWarning(f"comparison with {type(other).__name__}")


async def test_update_says_what_is_wrong_with_what_cannot_be_compared() -> None:
    fs = aiofs.MemoryFileSystem()
    wrong: Any = Incomparable("new")
    with pytest.raises(TypeError, match="what change returns must be bytes"):
        await fs.update("file", lambda _: wrong, create=b"old")
