"""What is special about observers: they are told of everything, once, and can prevent it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.memory import MemoryDriver
from aiofs.errors import AccessDenied
from aiofs.filesystem import FileSystem
from aiofs.layers import Event, Log, Notify
from aiofs.testing import Chaos

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Told:
    """Remembers the events, and refuses one where it is told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuse: tuple[str, str] | None = None

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if (event.verb, event.phase) == self.refuse:
            raise AccessDenied.of(event.path, "not today")

    def take(self) -> list[tuple[object, ...]]:
        events, self.events = self.events, []
        return [(event.verb, event.path, event.phase, event.size) for event in events]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store() -> FileSystem:
    return FileSystem(MemoryDriver())


@pytest.fixture
def fs(store: FileSystem, told: Told) -> FileSystem:
    return store.over(Notify(told))


async def test_everything_is_told_before_and_after(fs: FileSystem, told: Told) -> None:
    await fs.write_bytes("file", b"12345")
    assert told.take() == [("write", "file", "before", 0), ("write", "file", "after", 5)]
    async with fs.open("file") as file:
        assert told.take() == [("read", "file", "before", 0)]
        await file.read()
    assert told.take() == [("read", "file", "after", 5)]
    await fs.stat("file")
    assert told.take() == [("stat", "file", "before", 0), ("stat", "file", "after", 0)]
    await fs.copy("file", "copied")
    assert [event.target for event in told.events] == ["copied", "copied"]
    assert told.take() == [("copy", "file", "before", 0), ("copy", "file", "after", 0)]
    assert await fs.ls() == ["copied", "file"]
    assert told.take() == [("list", "", "before", 0), ("list", "", "after", 2)]
    async for _ in fs.ls():
        break
    await fs.rm("file", "copied")
    events = told.take()
    assert [event for event in events if event[0] == "remove"] == [
        ("remove", "file", "before", 0),
        ("remove", "copied", "before", 0),
        ("remove", "copied", "after", 0),
        ("remove", "file", "after", 0),
    ]


async def test_what_goes_wrong_is_told_with_its_error(store: FileSystem, told: Told) -> None:
    chaos = Chaos()
    fs = store.over(chaos, Notify(told))
    with pytest.raises(FileNotFoundError) as caught:
        await fs.read_bytes("missing")
    assert told.events[-1].error is caught.value
    assert told.take() == [("read", "missing", "before", 0), ("read", "missing", "error", 0)]
    chaos.fail("commit", OSError(5, "broken"))
    with pytest.raises(OSError, match="broken"):
        await fs.write_bytes("file", b"123")
    assert told.take() == [("write", "file", "before", 0), ("write", "file", "error", 3)]
    file = await fs.open("file", "w")
    await file.abort()
    assert told.take() == [("write", "file", "before", 0), ("write", "file", "aborted", 0)]
    assert await store.ls() == []


@pytest.mark.parametrize("verb", ["write", "read", "remove", "list", "stat", "copy"])
async def test_refusing_before_prevents_it(store: FileSystem, fs: FileSystem, told: Told, verb: str) -> None:
    await store.write_bytes("file", b"old")
    told.refuse = (verb, "before")
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "write": lambda: fs.write_bytes("file", b"new"),
        "read": lambda: fs.read_bytes("file"),
        "remove": lambda: fs.rm("file"),
        "list": fs.ls,
        "stat": lambda: fs.stat("file"),
        "copy": lambda: fs.copy("file", "copied"),
    }
    with pytest.raises(PermissionError, match="not today"):
        await attempts[verb]()
    assert await store.ls() == ["file"]
    async with fs.open("file") if verb != "read" else store.open("file") as file:
        assert await file.read() == b"old"


async def test_an_error_of_the_handler_is_not_swallowed(store: FileSystem, fs: FileSystem, told: Told) -> None:
    told.refuse = ("write", "after")
    with pytest.raises(PermissionError, match="not today"):
        await fs.write_bytes("file", b"published all the same")
    assert await store.exists("file")


async def test_log(store: FileSystem, caplog: pytest.LogCaptureFixture) -> None:
    fs = store.over(Log(level=logging.DEBUG))
    with caplog.at_level(logging.DEBUG, logger="aiofs"):
        await fs.write_bytes("file", b"12345")
        await fs.copy("file", "copied")
        with pytest.raises(FileNotFoundError):
            await fs.stat("missing")
    written, copied, failed = caplog.records
    assert written.levelno == logging.DEBUG
    assert written.getMessage().startswith("write file, 5, ")
    assert copied.getMessage().startswith("copy file to copied, ")
    assert failed.levelno == logging.WARNING
    assert "NotFound" in failed.getMessage()
    assert failed.__dict__["aiofs"].path == "missing"
