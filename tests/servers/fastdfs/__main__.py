"""A cluster as a process of its own, for what is measured: `python -m servers.fastdfs PORT`, with that tracker."""

from __future__ import annotations

import asyncio
import sys

from servers.fastdfs.cluster import Cluster
from servers.process import HOST


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    cluster = Cluster()
    await cluster.storage.start()
    cluster.storages[0].ip, cluster.storages[0].port = HOST, cluster.storage.port
    cluster.tracker.port = port
    await cluster.tracker.start()
    await asyncio.Event().wait()


asyncio.run(serve(int(sys.argv[1])))
