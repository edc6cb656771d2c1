"""FastDFS: the client beside a bare loop over sockets that sends the same bytes.

`python tests/benchmarks/bench_fastdfs.py`; what is measured, `turns.py` says. The servers are a double in a process of
its own.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from pathlib import Path

from turns import LARGE, SMALL, take_turns, through

from aiofs.backends.fastdfs import FastDFSClient, FileId
from aiofs.backends.fastdfs.client import wire
from aiofs.stores import FastDFSFileSystem, MemoryFileSystem

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
from servers.process import HOST, running  # noqa: E402

OPERATIONS = 320


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
                await through(download)

        infos = {"bare": lambda: storage.ask(look), "client": lambda: client.info(str(small))}
        await take_turns("info", infos, count=OPERATIONS)
        downloads = {
            "bare": bare_download,
            "client": lambda: client.read(str(small)),
            "file system": lambda: fs.read_bytes("small"),
        }
        await take_turns("download 1 KiB", downloads, count=OPERATIONS)
        await take_turns("upload and delete 1 KiB", {"bare": bare_upload, "client": upload}, count=OPERATIONS)
        await take_turns("download 64 MiB", {"bare": lambda: storage.ask(get_large), "client": streamed}, count=2)
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
