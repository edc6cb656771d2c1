"""What the file systems for code without asyncio give for what they are asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import aiofs
from aiofs import Entry, blocking

if TYPE_CHECKING:
    import io

    from aiofs import FileLikeSystem, FileSystem


def verbs(fs: blocking.BlockingFileSystem) -> None:
    assert_type(fs.read_bytes("a", 0, 10), bytes)
    assert_type(fs.read_text("a", encoding="utf-8"), str)
    assert_type(fs.exists("a"), bool)
    assert_type(fs.stat("a"), Entry)
    fs.write_bytes("a", b"", metadata={}, content_type="text/plain")
    fs.rm("a", "b", missing_ok=True)
    fs.write_bytes("a", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fs.stat("a", no=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def listings(fs: blocking.BlockingFileSystem) -> None:
    assert_type(list(fs.ls("folder", glob="*")), list[str])
    assert_type([entry.size for entry in fs.scan()], list[int | None])
    assert_type(list(fs.walk()), list[tuple[str, list[str], list[str]]])
    assert_type(fs.at("folder"), blocking.BlockingFileSystem)


def files(fs: blocking.BlockingFileSystem) -> None:
    assert_type(fs.open("a"), blocking.BlockingReader)
    assert_type(fs.open("a", "w", metadata={}), blocking.BlockingWriter)
    assert_type(fs.open("a", "r+"), blocking.BlockingEditor)
    assert_type(fs.open("a", "rt"), blocking.BlockingTextFile)
    assert_type(fs.open("a", encoding="utf-8"), blocking.BlockingTextFile)
    with fs.open("a", "w") as writer, fs.open("b") as reader, fs.open("c", "wt") as text:
        assert_type(writer.write(b""), int)
        assert_type(reader.read(), bytes)
        assert_type(text.write(""), int)
        takes_a_file(reader)
    fs.open("a", "w+")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def takes_a_file(file: io.BufferedReader) -> None:
    file.peek()


def faces(fs: FileSystem, system: FileLikeSystem) -> None:
    assert_type(fs.blocking, blocking.BlockingFileSystem)
    assert_type(system.blocking, blocking.BlockingFileSystem)
    assert_type(blocking.connect("memory://"), blocking.BlockingFileSystem)
    assert_type(blocking.open("memory://a"), blocking.BlockingTextFile)
    assert_type(blocking.open("memory://a", "rb"), blocking.BlockingReader)
    assert_type(blocking.open("memory://a", "wb"), blocking.BlockingWriter)
    assert_type(blocking.run(fs.exists("a")), bool)


def transactions(fs: FileSystem) -> None:
    with blocking.transaction(fs) as one, blocking.transaction({"it": fs.blocking}) as several:
        assert_type(one, blocking.BlockingFileTransaction)
        assert_type(several["it"], blocking.BlockingFileSystem)
    assert_type(blocking.recover(fs), aiofs.Recovered)
    assert_type(blocking.fsck(fs), list[aiofs.Finding])
