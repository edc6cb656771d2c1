"""Trackers and storages on sockets of the running loop, with faults to switch on."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self

from servers.fastdfs.storage import NoAnswer, Storage
from servers.fastdfs.tracker import Tracker
from servers.fastdfs.versions import CURRENT, Version
from servers.process import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIT = 82


class Answering(Protocol):
    """What a tracker and a storage have in common."""

    version: Version

    def answer(self, command: int, flags: int, body: bytes) -> tuple[bytes, bool]:
        """The bytes to send, and whether the connection stays in use behind them."""
        ...


@dataclass
class Fault:
    """What befalls one exchange, at a byte of its request or answer: once, unless somebody sets it again."""

    kind: Literal["cut", "stall", "spoil"]
    where: Literal["request", "answer"]
    at: int


class Listener:
    """One server on its port. The attributes are faults, by command where they are dictionaries."""

    def __init__(self, server: Answering) -> None:
        self.server = server
        self.port = 0
        self.instead: dict[int, bytes | None] = {}  # sent in place of the answer; None hangs up
        self.early: dict[int, bytes] = {}  # sent as soon as the header of a request is there
        self.behind = b""  # sent behind every answer
        self.fault: Fault | None = None  # befalls the next exchange
        self.hangs = False  # takes connections and requests, and answers nothing
        self.asked: list[int] = []  # the commands that came
        self.connections = 0  # taken so far
        self.was_asked = asyncio.Event()
        self.was_hurt = asyncio.Event()  # by the fault
        self.hung_up = asyncio.Event()  # set whenever a client has closed
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def open(self) -> int:
        """How many connections clients have at this moment."""
        return len(self._tasks)

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._listener = await asyncio.start_server(self._take, HOST, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: stop listening, and break every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def say(self, data: bytes) -> None:
        """Send bytes that nobody asked for, on every connection."""
        for writer in self._writers:
            writer.write(data)
            await writer.drain()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self.hung_up.set()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        fault = self.fault
        if fault is not None and fault.where == "request":
            await reader.readexactly(fault.at)
            return await self._leave(fault, reader)
        length, command, flags = struct.unpack("!qBB", await reader.readexactly(10))
        self.asked.append(command)
        self.was_asked.set()
        if self.hangs:
            await reader.read()
            return False
        if command in self.early:
            writer.write(self.early[command])
            await reader.readexactly(length)
            return True
        found = self._answer(command, flags, await reader.readexactly(length))
        if found is None:
            return False
        answer, stays = found
        fault = self.fault
        if fault is not None and fault.at < len(answer):
            await self._send_spoilt(answer, fault, writer)
            return await self._leave(fault, reader)
        writer.write(answer + self.behind)
        await writer.drain()
        if not answer or (
            self.server.version.after_invalid == "deaf" and isinstance(self.server, Storage) and not stays
        ):
            await reader.read()
        return stays

    def _answer(self, command: int, flags: int, body: bytes) -> tuple[bytes, bool] | None:
        """What to send, perhaps nothing, and whether to stay; None to hang up."""
        if command == QUIT:
            return None
        if command in self.instead:
            other = self.instead[command]
            return None if other is None else (other, True)
        try:
            return self.server.answer(command, flags, body)
        except NoAnswer:
            return b"", False

    async def _send_spoilt(self, answer: bytes, fault: Fault, writer: asyncio.StreamWriter) -> None:
        spoilt = bytearray(answer if fault.kind == "spoil" else answer[: fault.at])
        if fault.kind == "spoil":
            spoilt[fault.at] ^= 0x80
        writer.write(spoilt)
        await writer.drain()

    async def _leave(self, fault: Fault, reader: asyncio.StreamReader) -> bool:
        """Go on after a fault: after a cut nobody listens, after a stall nobody answers."""
        self.fault = None
        self.was_hurt.set()
        if fault.kind == "stall":
            await reader.read()
        return fault.kind == "spoil"


class Cluster:
    """A whole FastDFS, for the time of an `async with`.

    Storages have addresses of their own, `10.0.<group>.<number>:23000`, which `address_map` leads to their sockets.
    Those of one group follow each other after `lag` seconds, or when `Storage.replicate` is called.
    """

    def __init__(
        self,
        *,
        groups: Sequence[int] = (1,),
        trackers: int = 1,
        version: Version = CURRENT,
        trunk: bool = False,
        numbers: bool = False,
        lag: float | None = None,
        log_delay: float = 0.0,
    ) -> None:
        self.storages = [
            Storage(
                group=f"group{group}",
                ip=f"10.0.{group}.{number}",
                version=version,
                trunk=trunk,
                number=100_000 + 100 * group + number if numbers else None,
                lag=lag,
                log_delay=log_delay,
            )
            for group, count in enumerate(groups, 1)
            for number in range(1, count + 1)
        ]
        for storage in self.storages:
            storage.peers = [each for each in self.storages if each.group == storage.group and each is not storage]
        self.trackers = [Tracker(self.storages, version) for _ in range(trackers)]
        self.tracker_listeners = [Listener(tracker) for tracker in self.trackers]
        self.storage_listeners = [Listener(storage) for storage in self.storages]

    @property
    def tracker(self) -> Listener:
        """The first tracker."""
        return self.tracker_listeners[0]

    @property
    def storage(self) -> Listener:
        """The first storage."""
        return self.storage_listeners[0]

    @property
    def addresses(self) -> list[str]:
        """Where the trackers are."""
        return [f"{HOST}:{listener.port}" for listener in self.tracker_listeners]

    @property
    def address_map(self) -> dict[str, str]:
        """Where the storages are."""
        return {
            f"{storage.ip}:{storage.port}": f"{HOST}:{listener.port}"
            for storage, listener in zip(self.storages, self.storage_listeners, strict=True)
        }

    async def stop_storage(self, number: int, *, known: bool = True) -> None:
        """Let a storage die; if that is not `known`, the trackers think that it is up."""
        self.storages[number].active = not known
        await self.storage_listeners[number].stop()

    async def start_storage(self, number: int) -> None:
        """Let a storage that died be up again."""
        await self.storage_listeners[number].start()
        self.storages[number].active = True

    async def __aenter__(self) -> Self:
        for listener in (*self.tracker_listeners, *self.storage_listeners):
            await listener.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for listener in (*self.tracker_listeners, *self.storage_listeners):
            await listener.stop()
