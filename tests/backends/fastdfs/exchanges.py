"""Everything that can be asked of a cluster, each with the one exchange in it that a test hurts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiofs.backends.fastdfs import FastDFSClient
    from servers.fastdfs.cluster import Cluster, Listener

DATA = b"hello fastdfs\n"


@dataclass(frozen=True)
class Exchange:
    """One thing to ask of the cluster, in which one exchange is hurt."""

    name: str
    command: int
    hurt: Literal["tracker", "storage"]
    act: Callable[[FastDFSClient, str], Awaitable[Any]]
    appender: bool = False
    right: Callable[[Any], bool] = lambda _result: True
    checked: bool = False  # even a spoilt answer gives no wrong data

    def __str__(self) -> str:
        return self.name

    def listener(self, cluster: Cluster) -> Listener:
        """The server that is hurt."""
        return cluster.tracker if self.hurt == "tracker" else cluster.storage


async def names(client: FastDFSClient, _file: str) -> list[str]:
    return [logged.name async for logged in client.names("group1", storage="10.0.1.1")]


STORAGE = [
    Exchange("upload", 11, "storage", lambda client, _: client.upload(DATA), checked=True),
    Exchange("upload_appender", 23, "storage", lambda client, _: client.upload(DATA, appender=True)),
    Exchange("upload_slave", 21, "storage", lambda client, file: client.upload_slave(file, "_s", DATA)),
    Exchange("append", 24, "storage", lambda client, file: client.append(file, DATA), appender=True),
    Exchange("modify", 34, "storage", lambda client, file: client.modify(file, 2, DATA), appender=True),
    Exchange("truncate", 36, "storage", lambda client, file: client.truncate(file, 3), appender=True),
    Exchange("truncate_to_same", 36, "storage", lambda client, file: client.truncate(file, len(DATA)), appender=True),
    Exchange("regenerate", 38, "storage", lambda client, file: client.regenerate(file), appender=True),
    Exchange("download", 14, "storage", lambda client, file: client.read(file), right=DATA.__eq__, checked=True),
    Exchange("delete", 12, "storage", lambda client, file: client.delete(file)),
    Exchange("set_metadata", 13, "storage", lambda client, file: client.set_metadata(file, {"a": "b"})),
    Exchange("metadata", 15, "storage", lambda client, file: client.metadata(file), right={"k": "v"}.__eq__),
    Exchange("info", 22, "storage", lambda client, file: client.info(file), right=lambda info: info.size == len(DATA)),
    Exchange("names", 26, "storage", names, right=lambda names: len(names) == 3),
    Exchange("active_test", 111, "storage", lambda client, _: client.active_test("10.0.1.1:23000")),
]
TRACKER = [
    Exchange("query_store", 101, "tracker", lambda client, _: client.query_store()),
    Exchange("query_store_in_group", 104, "tracker", lambda client, _: client.query_store("group1")),
    Exchange("query_store_all", 106, "tracker", lambda client, _: client.query_store_all()),
    Exchange("query_store_all_in_group", 107, "tracker", lambda client, _: client.query_store_all("group1")),
    Exchange("query_fetch", 102, "tracker", lambda client, file: client.query_fetch(file)),
    Exchange("query_fetch_all", 105, "tracker", lambda client, file: client.query_fetch_all(file)),
    Exchange("query_update", 103, "tracker", lambda client, file: client.query_update(file)),
    Exchange("groups", 91, "tracker", lambda client, _: client.groups()),
    Exchange("group", 90, "tracker", lambda client, _: client.group("group1")),
    Exchange("storages", 92, "tracker", lambda client, _: client.storages("group1")),
]
