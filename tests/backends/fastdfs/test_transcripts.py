"""Every recorded exchange with a real server: our requests are the recorded ones, and its answers read as noted."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from aiofs.backends.fastdfs import Address, FileId, FileInfo, Place
from aiofs.backends.fastdfs.client import wire
from aiofs.backends.fastdfs.client.answers import logged_name
from servers.fastdfs.recordings import EXCHANGES, RECORDINGS

if TYPE_CHECKING:
    from servers.fastdfs.recordings import Exchange, Recording

ANY_FILE = FileId.parse("group1/M00/00/00/fwAAA2sAcB6ACvueAAAADg4Qul0904.txt")
WITHOUT_ANSWER = {"x01_quit"}


def text(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def file(group: bytes, name: bytes) -> FileId:
    return dataclasses.replace(ANY_FILE, group=text(group), name=name.decode())


def grouped(body: bytes) -> FileId:
    return file(body[:16], body[16:])


def upload(body: bytes, *, appender: bool = False) -> wire.FastDFSRequest[str]:
    path_index, size = struct.unpack_from("!bq", body)
    return wire.upload(path_index, size, text(body[9:15]), appender=appender)


def upload_slave(body: bytes) -> wire.FastDFSRequest[str]:
    length, size = struct.unpack_from("!qq", body)
    return wire.upload_slave(file(b"", body[38 : 38 + length]), text(body[16:32]), size, text(body[32:38]))


def append(body: bytes) -> wire.FastDFSRequest[None]:
    length, size = struct.unpack_from("!qq", body)
    return wire.append(file(b"", body[16 : 16 + length]), size)


def modify(body: bytes) -> wire.FastDFSRequest[None]:
    length, offset, size = struct.unpack_from("!qqq", body)
    return wire.modify(file(b"", body[24 : 24 + length]), offset, size)


def truncate(body: bytes) -> wire.FastDFSRequest[None]:
    _length, size = struct.unpack_from("!qq", body)
    return wire.truncate(file(b"", body[16:]), size)


def download(body: bytes) -> wire.FastDFSRequest[None]:
    offset, length = struct.unpack_from("!qq", body)
    return wire.download(grouped(body[16:]), offset, length)


def set_metadata(body: bytes) -> wire.FastDFSRequest[None]:
    length, _size = struct.unpack_from("!qq", body)
    name, pairs = body[33 : 33 + length], body[33 + length :]
    metadata = dict(pair.decode().split("\x02") for pair in pairs.split(b"\x01")) if pairs else {}
    return wire.set_metadata(file(body[17:33], name), metadata, merge=body[16:17] == b"M")


MAKERS = {
    11: upload,
    12: lambda body: wire.delete(grouped(body)),
    13: set_metadata,
    14: download,
    15: lambda body: wire.get_metadata(grouped(body)),
    21: upload_slave,
    23: lambda body: upload(body, appender=True),
    24: append,
    26: lambda body: wire.list_names(text(body[:16]), body[16]),
    34: modify,
    36: truncate,
    38: lambda body: wire.regenerate(file(b"", body)),
    82: lambda _body: wire.goodbye(),
    90: lambda body: wire.list_group(text(body)),
    91: lambda _body: wire.list_groups(),
    92: lambda body: wire.list_storages(text(body[:16]), text(body[16:])),
    101: lambda _body: wire.query_store(),
    102: lambda body: wire.query_fetch(grouped(body)),
    103: lambda body: wire.query_update(grouped(body)),
    104: lambda body: wire.query_store(text(body)),
    105: lambda body: wire.query_fetch_all(grouped(body)),
    106: lambda _body: wire.query_store_all(),
    107: lambda body: wire.query_store_all(text(body)),
    111: lambda _body: wire.active_test(),
    200: lambda _body: wire.FastDFSRequest(200, b"", lambda body: body),
}


def make(exchange: Exchange) -> wire.FastDFSRequest[Any]:
    """Ours for the recorded request, made of what it means."""
    if exchange.command == wire.Command.QUERY_INFO:
        return wire.query_info(grouped(exchange.body), checksum=not exchange.flags)
    return MAKERS[exchange.command](exchange.body)


def read(exchange: Exchange) -> Any:
    return make(exchange).decode(exchange.answer)


def test_all_recordings_are_here() -> None:
    assert len(RECORDINGS) == 93
    assert len(EXCHANGES) == 235


@pytest.mark.parametrize("exchange", EXCHANGES, ids=str)
def test_request_is_the_recorded_one(exchange: Exchange) -> None:
    request = make(exchange)
    payload = exchange.request[len(request.frame) :]
    assert request.frame + payload == exchange.request
    assert len(payload) == request.payload


@pytest.mark.parametrize("exchange", [each for each in EXCHANGES if each.recording not in WITHOUT_ANSWER], ids=str)
def test_answer_header_reads(exchange: Exchange) -> None:
    answer = wire.AnswerHeader.parse(exchange.response[:10])
    assert answer.status == exchange.status
    expected = wire.LISTING_LENGTH if exchange.command == wire.Command.LIST_NAMES else len(exchange.answer)
    assert answer.length == expected


def hosts(found: list[Place]) -> dict[str, Any]:
    return {"group": found[0].group, "hosts": [list(place.address) for place in found], "path": found[0].path_index}


PLACES = [each for each in EXCHANGES if 101 <= each.command <= 107 and not each.status]


@pytest.mark.parametrize("exchange", PLACES, ids=str)
def test_place_reads(exchange: Exchange) -> None:
    found = read(exchange)
    [place] = found if isinstance(found, list) else [found]
    assert place.group == text(exchange.answer[:16])
    assert place.address.host.encode() in exchange.answer
    assert place.address.port == 23000
    assert place.path_index == (0 if exchange.command in {101, 104, 106, 107} else -1)


@pytest.mark.parametrize("name", ["t02_query_store_one", "t03_query_store_all", "i01_query_store_ipv6_width"])
def test_store_place_means_what_was_noted(name: str) -> None:
    recording = RECORDINGS[name]
    found = read(recording.exchanges[0])
    noted = recording.facts["decoded"]
    found = found if isinstance(found, list) else [found]
    assert hosts(found) | {"ip_width": noted["ip_width"]} == noted


@pytest.mark.parametrize("name", ["t06_query_fetch_one", "t07_query_fetch_all", "t08_query_update"])
def test_place_means_what_was_noted(name: str) -> None:
    recording = RECORDINGS[name]
    found = read(recording.exchanges[0])
    noted = recording.facts["decoded"]
    found = found if isinstance(found, list) else [found]
    assert hosts(found) == {"group": noted["group"], "hosts": noted["hosts"], "path": -1}


def test_both_widths_of_queries_read_alike() -> None:
    recording = RECORDINGS["i03_queries_ipv6_width"]
    one, every, update = [read(exchange) for exchange in recording.exchanges]
    assert one == update == every[0] == Place("group1", Address("127.0.0.23", 23000))


NAMED = [recording for recording in RECORDINGS.values() if "decoded_name" in recording.facts]


@pytest.mark.parametrize("recording", NAMED, ids=lambda recording: recording.name)
def test_file_id_means_what_was_noted(recording: Recording) -> None:
    noted = recording.facts["decoded_name"]
    file = FileId.parse(recording.facts.get("file_id") or recording.facts["new_id"])
    assert file.path_index == noted["path_index"]
    assert file.created == noted["timestamp"]
    assert file.source == noted.get("ip", noted.get("server_id"))
    assert file.kind == noted["type"]
    assert file.size == noted["size"]
    assert file.crc32 == (noted["crc32"] if noted["type"] == "normal" else None)
    trunk = noted.get("trunk_info")
    assert (file.trunk is not None) == noted["trunk"]
    if file.trunk is not None:
        assert dataclasses.astuple(file.trunk) == (trunk["file_id"], trunk["offset"], trunk["alloc_size"])


UPLOADS = [each for each in EXCHANGES if each.command in {11, 21, 23, 38} and not each.status]


@pytest.mark.parametrize("exchange", UPLOADS, ids=str)
def test_uploaded_id_reads(exchange: Exchange) -> None:
    assert read(exchange) == f"{text(exchange.answer[:16])}/{exchange.answer[16:].decode()}"


@pytest.mark.parametrize("exchange", [each for each in UPLOADS if each.command == 11], ids=str)
def test_uploaded_name_tells_size_and_checksum(exchange: Exchange) -> None:
    data = exchange.body[15:]
    file = FileId.parse(read(exchange))
    assert (file.kind, file.size, file.crc32) == ("normal", len(data), zlib.crc32(data))


INFOS = [recording for recording in RECORDINGS.values() if "crc32_raw" in (recording.facts.get("decoded") or {})]


@pytest.mark.parametrize("recording", INFOS, ids=lambda recording: recording.name)
def test_file_info_means_what_was_noted(recording: Recording) -> None:
    noted = recording.facts["decoded"]
    [exchange] = [each for each in recording.exchanges if each.command == wire.Command.QUERY_INFO]
    assert read(exchange) == FileInfo(noted["size"], noted["mtime"], noted["crc32"], noted["source"])


@pytest.mark.parametrize(
    "exchange", [each for each in EXCHANGES if each.command == 22 and not each.status and "v_" in str(each)], ids=str
)
def test_file_info_of_old_versions_reads(exchange: Exchange) -> None:
    info = read(exchange)
    assert info.size in {0, 10, 14}
    assert info.crc32 in {0, 2793719750, 235977309}
    assert info.source.startswith("127.0.0.3")


@pytest.mark.parametrize("name", ["s34_get_metadata", "s36_get_metadata_merged"])
def test_metadata_means_what_was_noted(name: str) -> None:
    recording = RECORDINGS[name]
    assert read(recording.exchanges[0]) == recording.facts["decoded"]


def test_spoilt_metadata_still_reads() -> None:
    recording = RECORDINGS["s37_metadata_too_long"]
    metadata = read(recording.exchanges[1])
    lengths = [[len(key), len(value.encode(errors="surrogateescape"))] for key, value in metadata.items()]
    assert lengths == recording.facts["decoded_lengths"]


@pytest.mark.parametrize("name", ["t09_list_all_groups", "t10_list_one_group", "g01_two_groups"])
def test_groups_mean_what_was_noted(name: str) -> None:
    recording = RECORDINGS[name]
    noted = recording.facts["decoded"]
    found = read(recording.exchanges[-1])
    if name == "g01_two_groups":
        noted = noted[-1]
    names = {
        "group": "name",
        "storage_count": "storages",
        "storage_port": "port",
        "store_path_count": "store_paths",
        "subdir_count": "subdirs",
        "current_trunk_file_id": "current_trunk_file",
    }
    expected = [{names.get(key, key): value for key, value in record.items()} for record in noted]
    assert [dataclasses.asdict(group) for group in (found if isinstance(found, list) else [found])] == expected


@pytest.mark.parametrize("version", ["5.12", "6.09", "6.12.4"])
def test_old_groups_read(version: str) -> None:
    [exchange] = [each for each in RECORDINGS[f"v_{version}"].exchanges if each.op == "list_all_groups"]
    [group] = read(exchange)
    assert (group.name, group.total_mb, group.reserved_mb, group.storages, group.port) == (
        "group1",
        258019,
        None,
        1,
        23000,
    )
    assert (group.readable, group.writable, group.store_paths, group.subdirs) == (1, 1, 1, 4)


@pytest.mark.parametrize("name", ["t11_list_storages", "t12_list_one_storage", "i05_list_storages_ipv6_width"])
def test_storages_mean_what_was_noted(name: str) -> None:
    recording = RECORDINGS[name]
    [noted] = recording.facts["decoded"]
    [found] = read(recording.exchanges[0])
    names = {
        "status": "state",
        "src_id": "source_id",
        "join_time": "joined",
        "up_time": "started",
        "store_path_count": "store_paths",
        "subdir_count": "subdirs",
    }
    facts = dataclasses.asdict(found)
    for key, value in noted.items():
        assert facts[names.get(key, key)] == (tuple(value) if isinstance(value, list) else value), key
    assert len(found.counters) == 42


@pytest.mark.parametrize(("version", "host"), [("5.12", 33), ("6.09", 35), ("6.12.4", 37)])
def test_old_storages_read(version: str, host: int) -> None:
    [exchange] = [each for each in RECORDINGS[f"v_{version}"].exchanges if each.op == "list_storages"]
    [storage] = read(exchange)
    assert (storage.state, storage.version, storage.port, storage.ip) == ("ACTIVE", version, 23000, f"127.0.0.{host}")
    assert (storage.total_mb, storage.subdirs, storage.upload_priority, storage.is_trunk_server) == (
        258019,
        4,
        10,
        False,
    )


def test_storages_that_are_down_read() -> None:
    recording = RECORDINGS["e33_tracker_all_storages_down"]
    found = read(recording.exchanges[-1])
    assert [[storage.ip, storage.state] for storage in found] == recording.facts["decoded"]
    assert found[1].source_id == "127.0.0.3"


def test_log_of_names_reads() -> None:
    recording = RECORDINGS["x02_fetch_one_path_binlog"]
    log = recording.exchanges[0].answer[:-8]
    assert [" ".join(map(str, logged_name(line))) for line in log.splitlines()] == recording.facts["lines"]


@pytest.mark.parametrize("exchange", [each for each in EXCHANGES if each.command in {24, 34, 36}], ids=str)
def test_echo_of_a_change_that_changes_nothing_is_nothing(exchange: Exchange) -> None:
    assert read(exchange) is None
