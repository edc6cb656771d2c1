"""Listings of servers that do not list by bytes, as they come to readers who may not try the server out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import XML, tostring

import pytest
from aiohttp import web

from aiofs.backends.s3 import listing, store
from aiofs.driver import Entry
from aiofs.errors import Unavailable
from backends.s3.sessions import put

if TYPE_CHECKING:
    from backends.s3.conftest import Connect, Fronts
    from backends.s3.front import Asked
    from servers.moto import S3Server

NAMES = ["B", "a", "d-/b", "d.txt", "d/a", "d/c", "e", "f", "g"]
S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def by_folder(key: str) -> list[str]:
    return key.split("/")


class OutOfOrder:
    """Lists by folder, ignores StartAfter, and says nothing of it."""

    def __init__(self, server: S3Server, page: int) -> None:
        self._names = sorted(NAMES, key=by_folder)
        self._server = server
        self._page = page
        self.listings: list[dict[str, str]] = []

    async def __call__(self, asked: Asked) -> web.Response | None:
        if "list-type" not in asked.query:
            return None
        self.listings.append(asked.query)
        names = [name for name in self._names if name.startswith(asked.query["prefix"])]
        start = int(asked.query.get("continuation-token", 0))
        more = start + self._page < len(names)
        contents = "".join(
            f"<Contents><Key>{name}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;e&quot;</ETag>"
            f"<Size>1</Size></Contents>"
            for name in names[start : start + self._page]
        )
        text = (
            f'<ListBucketResult xmlns="{S3[1:-1]}"><IsTruncated>{str(more).lower()}</IsTruncated>{contents}'
            f"<NextContinuationToken>{start + self._page}</NextContinuationToken></ListBucketResult>"
        )
        return web.Response(text=text, content_type="application/xml")


@pytest.mark.parametrize("direct", [True, False])
async def test_a_reader_finds_out_midway_and_the_next_listing_is_in_order(
    direct: bool, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    meddle = before.meddle = OutOfOrder(s3_server, page=3)
    fs = connect(server, direct=direct)
    with pytest.raises(Unavailable, match="list again"):
        await fs.ls()
    assert await fs.ls() == NAMES
    assert await connect(server, direct=direct).ls(after="d.txt") == NAMES[4:]
    assert await fs.ls("d") == ["d/a", "d/c"]
    assert not any("start-after" in listing for listing in meddle.listings)


async def test_a_reader_who_has_seen_nothing_yet_gets_all_in_order(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    before.meddle = OutOfOrder(s3_server, page=100)
    assert await connect(server).ls() == NAMES


async def test_after_loses_nothing_where_the_order_is_not_known(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    meddle = before.meddle = OutOfOrder(s3_server, page=100)
    assert await connect(server).ls(after="d-/b") == NAMES[3:]
    assert not any("start-after" in listing for listing in meddle.listings)


async def test_a_server_in_order_is_asked_for_what_follows_only_once_it_was_tried(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    for name in NAMES:
        await put(s3_server, name, b"bytes")
    reader = connect(server, page_size=2)
    assert await reader.ls(after="e") == ["f", "g"]
    assert not any("start-after" in asked.query for asked in before.asked)
    await connect(server).write_bytes("a", b"bytes")
    before.asked.clear()
    assert await reader.ls(after="e") == ["f", "g"]
    assert [asked.query.get("start-after") for asked in before.asked] == ["e"]


async def test_a_listing_and_a_look_agree_on_the_time(front: Fronts, connect: Connect, s3_server: S3Server) -> None:
    """Some stores list milliseconds, and HEAD has none."""
    before, server = await front(s3_server)
    fs = connect(server)
    await fs.write_bytes("file", b"bytes")

    async def with_milliseconds(asked: Asked, answer: web.Response) -> web.Response | None:
        if "list-type" not in asked.query:
            return None
        root = XML(answer.body)  # type: ignore[arg-type]
        for modified in root.iter(f"{S3}LastModified"):
            modified.text = re.sub(r"(\.\d+)?Z$", ".987Z", modified.text or "")
        return web.Response(body=tostring(root), content_type="application/xml")

    before.afterwards = with_milliseconds
    for reader in (fs, connect(server, direct=False)):
        (entry,) = [entry async for entry in reader.scan()]
        assert entry.modified == (await reader.stat("file")).modified


async def test_what_is_too_much_for_memory_is_put_in_order_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "IN_MEMORY", 100)
    monkeypatch.setattr(listing, "PIECE", 7)
    names = [f"{number * 7919 % 1009:04}" for number in range(1009)]
    sorter = listing.ListingSorter()
    for start in range(0, len(names), 40):
        await sorter.add([Entry(name, 1) for name in names[start : start + 40]])
        assert len(sorter._entries) < 140
    await sorter.add([Entry("0000", 1)])
    assert [entry.path async for entry in sorter.sorted()] == sorted(names)
    await sorter.aclose()


async def test_seaweedfs_is_known_by_its_name(connect: Connect, seaweedfs: S3Server) -> None:
    store._PROBED.clear()
    for name in NAMES:
        await put(seaweedfs, name, b"bytes")
    fs = connect(seaweedfs, page_size=2)
    assert await fs.ls() == NAMES
    assert await fs.ls(after="d.txt") == NAMES[4:]
    assert await fs.ls(recursive=False) == ["B", "a", "d-/", "d.txt", "d/", "e", "f", "g"]
    (stat,) = [entry async for entry in fs.scan(prefix="B")]
    assert stat.modified == (await fs.stat("B")).modified


async def test_seaweedfs_is_tried_and_found_safe_but_out_of_order(connect: Connect, seaweedfs: S3Server) -> None:
    store._PROBED.clear()
    fs = connect(seaweedfs)
    await fs.write_bytes("file", b"bytes")
    (traits,) = store._PROBED.values()
    assert traits.fault is None
    assert traits.deletes
    assert traits.ordered is False
    with pytest.raises(FileNotFoundError):
        await fs.driver.delete(["missing"], match="0" * 32)
    await fs.driver.delete(["missing"], match="0" * 32, missing_ok=True)
