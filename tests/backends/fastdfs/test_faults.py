"""Every exchange, with a fault at every byte of it: a clear error in time, no wrong data, and the next exchange is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
from servers.fastdfs.cluster import Cluster, Fault
from servers.fastdfs.storage import framed
from servers.skipping import run

from aiofs.backends.fastdfs import FastDFSClient
from aiofs.errors import AiofsError, AlreadyExists, Damaged, NoSpace, NotFound, TimedOut, Unavailable, Unreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DATA = b"hello fastdfs\n"
BOUND = 200  # no exchange here is longer, in either direction
Kind = Literal["cut", "stall", "spoil"]


@dataclass(frozen=True)
class Exchange:
    """One thing to ask of the cluster, in which one exchange is hurt."""

    name: str
    hurt: Literal["tracker", "storage"]
    act: Callable[[FastDFSClient, str], Awaitable[Any]]
    appender: bool = False
    right: Callable[[Any], bool] = lambda _result: True
    checked: bool = False  # even a spoilt answer gives no wrong data

    def __str__(self) -> str:
        return self.name


async def _names(client: FastDFSClient, _file: str) -> list[str]:
    return [logged.name async for logged in client.names("group1", storage="10.0.1.1")]


STORAGE = [
    Exchange("upload", "storage", lambda client, _: client.upload(DATA), checked=True),
    Exchange("upload_appender", "storage", lambda client, _: client.upload(DATA, appender=True)),
    Exchange("upload_slave", "storage", lambda client, file: client.upload_slave(file, "_s", DATA)),
    Exchange("append", "storage", lambda client, file: client.append(file, DATA), appender=True),
    Exchange("modify", "storage", lambda client, file: client.modify(file, 2, DATA), appender=True),
    Exchange("truncate", "storage", lambda client, file: client.truncate(file, 3), appender=True),
    Exchange("truncate_to_same", "storage", lambda client, file: client.truncate(file, len(DATA)), appender=True),
    Exchange("regenerate", "storage", lambda client, file: client.regenerate(file), appender=True),
    Exchange("download", "storage", lambda client, file: client.read(file), right=DATA.__eq__, checked=True),
    Exchange("delete", "storage", lambda client, file: client.delete(file)),
    Exchange("set_metadata", "storage", lambda client, file: client.set_metadata(file, {"a": "b"})),
    Exchange("metadata", "storage", lambda client, file: client.metadata(file), right={"k": "v"}.__eq__),
    Exchange("info", "storage", lambda client, file: client.info(file), right=lambda info: info.size == len(DATA)),
    Exchange("names", "storage", _names, right=lambda names: len(names) == 3),
    Exchange("active_test", "storage", lambda client, _: client.active_test("10.0.1.1:23000")),
]
TRACKER = [
    Exchange("query_store", "tracker", lambda client, _: client.query_store()),
    Exchange("query_store_in_group", "tracker", lambda client, _: client.query_store("group1")),
    Exchange("query_store_all", "tracker", lambda client, _: client.query_store_all()),
    Exchange("query_store_all_in_group", "tracker", lambda client, _: client.query_store_all("group1")),
    Exchange("query_fetch", "tracker", lambda client, file: client.query_fetch(file)),
    Exchange("query_fetch_all", "tracker", lambda client, file: client.query_fetch_all(file)),
    Exchange("query_update", "tracker", lambda client, file: client.query_update(file)),
    Exchange("groups", "tracker", lambda client, _: client.groups()),
    Exchange("group", "tracker", lambda client, _: client.group("group1")),
    Exchange("storages", "tracker", lambda client, _: client.storages("group1")),
    Exchange("storage_by_id", "tracker", lambda client, _: client.storages("group1", "10.0.1.1")),
]
TRACKER_ANSWERS = {"groups": 123, "group": 123, "storages": 497, "storage_by_id": 497}


class Field:
    """A cluster with one file, and another that shows whether a client is still in step."""

    def __init__(self, cluster: Cluster, exchange: Exchange) -> None:
        self.cluster = cluster
        self.exchange = exchange
        self.listener = cluster.tracker if exchange.hurt == "tracker" else cluster.storage

    async def hurt(self, fault: Fault) -> bool:
        """Do it with a fault, by a new client; return whether the fault was reached."""
        storage = self.cluster.storages[0]
        storage.files.clear()
        storage.metadata.clear()
        storage.log.clear()
        file = storage.put(DATA, appender=self.exchange.appender)
        witness = storage.put(b"the witness")
        storage.metadata[file.partition("/")[2]] = b"k\x02v"
        storage.log.append((0, "C", "M00/00/00/x-m"))
        self.listener.fault = fault
        mapped = {"10.0.1.1": f"127.0.0.1:{self.cluster.storage.port}"}
        async with FastDFSClient(self.cluster.addresses, network_timeout=5, address_map=mapped) as client:
            try:
                result = await self.exchange.act(client, file)
            except AiofsError as error:
                if self.listener.fault is None:
                    assert isinstance(error, _EXPECTED[fault.kind]), repr(error)
                    assert error.errno
                    assert error.__cause__ is not None
            else:
                assert self.listener.fault is not None or fault.kind == "spoil", f"no error after {fault}"
                assert self.exchange.right(result) or (fault.kind == "spoil" and not self.exchange.checked)
            reached = self.listener.fault is None
            self.listener.fault = None
            assert await client.read(witness) == b"the witness"
        return reached


_EXPECTED: dict[Kind, tuple[type[AiofsError], ...]] = {
    "cut": (Unreachable,),
    "stall": (TimedOut,),
    "spoil": (AiofsError,),
}


async def _hurt_everywhere(exchange: Exchange, kind: Kind, where: Literal["request", "answer"]) -> None:
    async with Cluster() as cluster:
        field = Field(cluster, exchange)
        at = 0
        while await field.hurt(Fault(kind, where, at)):
            at += 1
        assert at >= 10


@pytest.mark.parametrize("where", ["request", "answer"])
@pytest.mark.parametrize("kind", ["cut", "stall"])
@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
def test_cut_and_stall(exchange: Exchange, kind: Kind, where: Literal["request", "answer"]) -> None:
    run(_hurt_everywhere(exchange, kind, where))


@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
def test_spoilt_answer(exchange: Exchange) -> None:
    run(_hurt_everywhere(exchange, "spoil", "answer"))
