"""FastDFS: the client beside a bare loop over sockets that sends the same bytes, client CPU per operation.

`python tests/benchmarks/bench_fastdfs.py`. The servers are a double in a process of its own. Contenders take turns; a
figure is the median of the rounds.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiofs.backends.fastdfs import FastDFSClient, FileId, wire
from aiofs.stores import FastDFSFileSystem, MemoryFileSystem

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
from servers.process import HOST, running  # noqa: E402

ROUNDS = 15
OPERATIONS = 320
SMALL = bytes(1024)
LARGE = bytes(64 << 20)
Operation = Callable[[], Awaitable[Any]]


class Bare:
    """One socket to a server: sends frames and takes in answers, and knows nothing of errors or of the time."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    async def ask(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, request)
        answer = await loop.sock_recv(self._socket, 1 << 18)
        length = int.from_bytes(answer[:8])
        pieces = [answer[10:]]
        left = length - len(pieces[0])
        while left:
            pieces.append(await loop.sock_recv(self._socket, min(left, 1 << 18)))
            left -= len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        self._socket.close()


async def cpu(operation: Operation, count: int) -> float:
    """Return the microseconds of this process's CPU that an operation takes."""
    began = time.process_time()
    for _ in range(count):
        await operation()
    return (time.process_time() - began) / count * 1e6


async def measure(port: int) -> None:
    """Print a line for each operation."""
    async with (
        FastDFSClient(f"{HOST}:{port}") as client,
        FastDFSFileSystem(f"{HOST}:{port}", index=MemoryFileSystem()) as fs,
    ):
        small = FileId.parse(await client.upload(SMALL))
        large = FileId.parse(await client.upload(LARGE))
        await fs.write_bytes("small", SMALL)
        tracker = Bare(HOST, port)
        storage = Bare(*(await client.query_update(str(small))).address)
        find, look = wire.query_fetch(small).frame, wire.query_info(small).frame
        get, get_large = wire.download(small, 0, 0).frame, wire.download(large, 0, 0).frame
        place, put, drop = wire.query_store().frame, wire.upload(0, len(SMALL), "").frame + SMALL, wire.delete

        async def bare_download() -> None:
            await tracker.ask(find)
            await storage.ask(get)

        async def bare_upload() -> None:
            await tracker.ask(place)
            name = await storage.ask(put)
            await storage.ask(drop(FileId.parse(f"group1/{name[16:].decode()}")).frame)

        async def upload() -> None:
            await client.delete(await client.upload(SMALL))

        async def streamed() -> None:
            async with await client.download(str(large)) as download:
                async for _ in download:
                    pass

        table: dict[str, tuple[int, dict[str, Operation]]] = {
            "info": (OPERATIONS, {"bare": lambda: storage.ask(look), "client": lambda: client.info(str(small))}),
            "download 1 KiB": (
                OPERATIONS,
                {
                    "bare": bare_download,
                    "client": lambda: client.read(str(small)),
                    "file system": lambda: fs.read_bytes("small"),
                },
            ),
            "upload and delete 1 KiB": (OPERATIONS, {"bare": bare_upload, "client": upload}),
            "download 64 MiB": (2, {"bare": lambda: storage.ask(get_large), "client": streamed}),
        }
        for what, (count, contenders) in table.items():
            taken: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(ROUNDS):
                for name, operation in contenders.items():
                    taken[name].append(await cpu(operation, count))
            medians = {name: statistics.median(times) for name, times in taken.items()}
            print(
                f"{what:24}",
                *[f"{name} {each:.0f} µs ({each / medians['bare']:.2f})" for name, each in medians.items()],
                sep="  ",
            )
        tracker.close()
        storage.close()


def main() -> None:
    """Start a cluster and measure."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            "fastdfs",
            lambda port: [sys.executable, "-m", "servers.fastdfs", str(port)],
            Path(folder),
            environment={"PYTHONPATH": str(TESTS)},
        ) as port,
    ):
        asyncio.run(measure(port))


if __name__ == "__main__":
    main()
