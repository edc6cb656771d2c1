"""The double gives the recorded answers, byte for byte; only the clock and what storages draw by lot is given to it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from aiofs.backends.fastdfs import FileId
from aiofs.backends.fastdfs.client.answers import storages as read_storages
from servers.fastdfs.cluster import Listener
from servers.fastdfs.naming import Chance, facts_of
from servers.fastdfs.recordings import RECORDINGS
from servers.fastdfs.storage import Storage
from servers.fastdfs.tracker import Tracker
from servers.fastdfs.versions import CURRENT, MIDDLE, OLD, OLDEST, WIDE, Version

if TYPE_CHECKING:
    from servers.fastdfs.recordings import Exchange

TRACKER_PORT = "22122"
# fmt: off
FIRST_SESSION = [
    "t01", "t02", "t03", "t04", "t05", "s01", "s02", "s03", "s04", "s05", "s06", "s07", "t06", "t07", "t08", "t09",
    "t10", "t11", "t12", "s08", "s09", "s10", "s11", "s12", "s13", "s14", "s15", "s20", "s21", "s22", "s23", "s24",
    "s25", "s26", "s27", "s28", "s29", "s30", "e01", "s31", "s32", "e02", "e03", "s33", "s34", "s35", "s36", "s37",
    "s38", "e10", "e11", "e12", "e13", "e14", "e15", "e16", "e17", "e18", "e19", "e20", "e21", "e22", "e23", "e24",
    "e25", "e26", "e27", "e28", "e29", "e30", "e31", "e32", "s40", "e40", "t13",
]
# fmt: on
LEFT_OUT = {
    "x01": "is about connections: test_quit_has_no_answer",
    "x02": "is about files that no recording makes: test_log_of_names",
    "e33": "gives counters: test_all_storages_down",
    "e34": "a full cluster: test_full",
    "e35": "a full cluster: test_full",
}


class Recorded(Chance):
    """Draws what was drawn when the recording was made."""

    def __init__(self) -> None:
        self.time = 0
        self.bits = 0
        self.number = ""

    def take(self, exchange: Exchange) -> None:
        """Take time, salt and digits from a recorded name."""
        if exchange.command in {11, 21, 23, 38} and not exchange.status:
            name = exchange.answer[16:].decode()
            _source, created, size, _crc = facts_of(name)
            tail = name[-7:]
            self.time = created
            self.bits = size >> 32 & 0x7FFFFF
            self.number = tail[: 6 - len(tail.partition(".")[2])] if "." in tail else tail

    def now(self) -> int:
        return self.time

    def salt(self) -> int:
        return self.bits

    def digits(self, count: int) -> str:
        assert len(self.number) == count
        return self.number


class Double:
    """A tracker and storages under the recorded addresses."""

    def __init__(self, *storages: Storage, version: Version = CURRENT) -> None:
        self.chance = Recorded()
        self.storages = {storage.ip: storage for storage in storages}
        self.tracker = Tracker(list(storages), version)
        for storage in storages:
            storage.chance = self.chance
            storage.version = version

    def replay(self, name: str) -> None:
        """Ask every request of a recording, and compare."""
        recording = next(each for each in RECORDINGS.values() if each.name.startswith(f"{name}_") or each.name == name)
        for exchange in recording.exchanges:
            self.chance.take(exchange)
            ip, port = exchange.to.split(":")
            server = self.tracker if port == TRACKER_PORT else self.storages[ip]
            answer, stays = server.answer(exchange.command, exchange.flags, exchange.body)
            assert answer == exchange.response, exchange
            deaf = server.version.after_invalid == "deaf" and exchange.status == 22
            assert stays is (not exchange.closed and not (deaf and isinstance(server, Storage))), exchange


def group_facts(name: str) -> dict[str, dict[str, int]]:
    """What a recording tells about groups that no request of it makes so."""
    records = RECORDINGS[name].facts["decoded"]
    return {record["group"]: record for record in (records[-1] if isinstance(records[-1], list) else records)}


def storage_facts(exchange: Exchange) -> list[dict[str, object]]:
    """What a recording tells about storages that no request of it makes so."""
    old = {"src_id": "source_id", "join_time": "joined", "up_time": "started", "store_path_count": "store_paths"}
    return [
        asdict(storage)
        | {key: getattr(storage, value) for key, value in old.items()}
        | {"subdir_count": storage.subdirs}
        for storage in read_storages(exchange.answer)
    ]


def listing(name: str) -> Exchange:
    return next(each for each in RECORDINGS[name].exchanges if each.command == 92)


def test_every_recording_is_replayed() -> None:
    others = ["g01", "g02", "g03", "i01", "i02", "i03", "i04", "i05", "k01", "k02", "v"]
    assert {name.partition("_")[0] for name in RECORDINGS} == {*FIRST_SESSION, *others, *LEFT_OUT}


def test_one_storage() -> None:
    double = Double(Storage("group1", "127.0.0.3", facts=storage_facts(listing("t11_list_storages"))[0]))
    double.tracker.group_facts = group_facts("t09_list_all_groups")
    for name in FIRST_SESSION:
        double.replay(name)
        if name == "s26":  # here five bytes were appended that nobody recorded; s30 tells their checksum
            [appender] = [each for each in double.storages["127.0.0.3"].files if each.endswith("931.log")]
            double.storages["127.0.0.3"].files[appender].data += b"again"


def test_two_groups() -> None:
    double = Double(Storage("group1", "127.0.0.3"), Storage("group1", "127.0.0.4"), Storage("group2", "127.0.0.5"))
    double.tracker.group_facts = group_facts("g01_two_groups")
    for name in ("g01", "g02", "g03"):
        double.replay(name)


def test_wide_addresses_and_numbers() -> None:
    facts = storage_facts(listing("i05_list_storages_ipv6_width"))[0]
    double = Double(Storage("group1", "127.0.0.23", number=100001, facts=facts), version=WIDE)
    for name in ("i01", "i02", "i03", "i04", "i05"):
        double.replay(name)


def test_trunk() -> None:
    double = Double(Storage("trunk1", "127.0.0.13", trunk=True))
    for name in ("k01", "k02"):
        double.replay(name)


@pytest.mark.parametrize(("version", "ip"), [(OLDEST, "127.0.0.33"), (OLD, "127.0.0.35"), (MIDDLE, "127.0.0.37")])
def test_old_versions(version: Version, ip: str) -> None:
    name = f"v_{version.name}"
    storage = Storage("group1", ip, facts=storage_facts(listing(name))[0])
    double = Double(storage, version=version)
    double.tracker.group_facts = {"group1": {"free_mb": storage.facts["free_mb"], "current_trunk_file_id": 0}}
    double.replay(name)


def test_all_storages_down() -> None:
    storages = [Storage("group1", ip, active=False) for ip in ("127.0.0.3", "127.0.0.4")]
    for storage, facts in zip(storages, storage_facts(listing("e33_tracker_all_storages_down")), strict=True):
        storage.facts = facts
    Double(*storages).replay("e33")


def test_full() -> None:
    double = Double(Storage("group1", "127.0.0.23", number=100001, full=True), version=WIDE)
    double.replay("e34")
    double.replay("e35")


def test_log_of_names() -> None:
    recording = RECORDINGS["x02_fetch_one_path_binlog"]
    [exchange] = recording.exchanges
    words = (line.split(" ") for line in recording.facts["lines"])
    storage = Storage("group1", "127.0.0.3", log=[(int(when), operation, name) for when, operation, name in words])
    assert storage.answer(exchange.command, exchange.flags, exchange.body) == (exchange.response, False)


@pytest.mark.parametrize("exchange", RECORDINGS["x01_quit"].exchanges, ids=str)
async def test_quit_has_no_answer(exchange: Exchange) -> None:
    listener = Listener(Storage("group1", "127.0.0.3"))
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(exchange.request)
    assert await reader.read() == exchange.response == b""
    writer.close()
    await writer.wait_closed()
    await listener.stop()


def test_log_knows_what_exists() -> None:
    storage = Storage("group1", "127.0.0.3")
    answer, _ = storage.answer(11, 0, b"\0" + (1).to_bytes(8) + b"txt\0\0\0x")
    name = answer[26:].decode()
    assert FileId.parse(f"group1/{name}").size == 1
    assert name.encode() in storage.answer(26, 0, b"group1".ljust(17, b"\0"))[0]
    storage.answer(12, 0, b"group1".ljust(16, b"\0") + name.encode())
    assert name.encode() not in storage.answer(26, 0, b"group1".ljust(17, b"\0"))[0]
