"""Every exchange, with a fault at every byte of it: a clear error in time, no wrong data, and the next one is right.

An ordinary run takes every fifth byte.
"""

from __future__ import annotations

import os
from typing import Literal

import pytest

from aiofs.backends.fastdfs import FastDFSClient
from aiofs.errors import AiofsError, TimedOut, Unreachable
from backends.fastdfs.exchanges import DATA, STORAGE, TRACKER, Exchange
from servers.fastdfs.cluster import Cluster, Fault
from servers.skipping import run

Kind = Literal["cut", "stall", "spoil"]
STRIDE = 1 if os.environ.get("AIOFS_TEST_FULL") else 5


class Field:
    """A cluster with one file, and another that shows whether a client is still in step."""

    def __init__(self, cluster: Cluster, exchange: Exchange) -> None:
        self.cluster = cluster
        self.exchange = exchange
        self.listener = exchange.listener(cluster)

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
            error = result = None
            try:
                result = await self.exchange.act(client, file)
            except AiofsError as raised:
                error = raised
            if self.listener.fault is None and error is not None:
                assert isinstance(error, _EXPECTED[fault.kind]), repr(error)
                assert error.errno
                assert error.__cause__ is not None
                if fault.kind != "spoil":  # a spoilt answer may name another server
                    assert f"127.0.0.1:{self.listener.port}" in str(error)
            elif error is None:
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
            at += STRIDE
        assert at >= 10


@pytest.mark.parametrize("where", ["request", "answer"])
@pytest.mark.parametrize("kind", ["cut", "stall"])
@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
def test_cut_and_stall(exchange: Exchange, kind: Kind, where: Literal["request", "answer"]) -> None:
    run(_hurt_everywhere(exchange, kind, where))


@pytest.mark.parametrize("exchange", STORAGE + TRACKER, ids=str)
def test_spoilt_answer(exchange: Exchange) -> None:
    run(_hurt_everywhere(exchange, "spoil", "answer"))
