"""Servers that encode the keys of a listing without saying so, as Ceph RGW does, and those that do not, as moto."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote

import pytest
from aiohttp import web

from aiofs.backends.s3 import store
from aiofs.transactions.fsck import fsck
from backends.s3.front import Asked, refusal

if TYPE_CHECKING:
    from aiofs.stores import S3FileSystem
    from backends.s3.conftest import Connect, Fronts
    from servers.moto import S3Server

NAMES = ["a name", "100%25", "a+b"]


class Picky:
    """A server that knows an upload by its own key only, and encodes keys in listings, or not, and says neither."""

    def __init__(self, *, encodes: bool, begins: bool = True) -> None:
        self.keys: set[str] = set()
        self.encodes = encodes
        self.begins = begins
        self.careless = False

    async def meddle(self, asked: Asked) -> web.Response | None:
        key = unquote(asked.path.lstrip("/").partition("/")[2])
        if "uploads" in asked.query and asked.method == "POST":
            if not self.begins:
                return refusal(403, "AccessDenied")
            self.keys.add(key)
        elif "uploadId" in asked.query and asked.method in {"GET", "DELETE"} and key not in self.keys:
            return None if self.careless else refusal(404, "NoSuchUpload")
        return None

    async def afterwards(self, asked: Asked, answer: web.Response) -> web.Response | None:
        if "uploads" in asked.query and asked.method == "GET" and self.encodes:
            text = answer.text or ""
            for key in self.keys:
                text = text.replace(f"<Key>{key}</Key>", f"<Key>{quote_plus(key, safe='/')}</Key>")
            answer.text = text
        return None


async def begun(fs: S3FileSystem, name: str) -> None:
    """Begin an upload as another program does."""
    client = await fs.driver._store.clients.client()
    await client.create_multipart_upload(Bucket=fs.driver._store.settings.bucket, Key=name)


@pytest.mark.parametrize("encodes", [True, False])
async def test_an_upload_is_found_under_its_own_name(
    encodes: bool, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    picky = Picky(encodes=encodes)
    before.meddle, before.afterwards = picky.meddle, picky.afterwards
    fs = connect(server)
    for name in NAMES:
        await begun(fs, name)
    async with connect(server).open("a name", "w") as file:
        await file.write(b"live")
        found = {left.path: left async for left in fs.driver.leftovers() if left.kind == "multipart upload"}
        assert sorted(found) == sorted(NAMES)
        assert found["a name"].live, "its writer's lock is looked up under its name"
        assert not found["a+b"].live
    assert {each.path for each in await fsck(fs, fix=True) if each.fixed} == set(NAMES)
    listed = s3_server.client()
    assert "Uploads" not in listed.list_multipart_uploads(Bucket=s3_server.bucket)
    listed.close()
    aborted = [asked.path for asked in before.asked if asked.method == "DELETE" and "uploadId" in asked.query]
    assert {f"/{s3_server.bucket}/{quote(name)}" for name in NAMES} <= {quote(unquote(path)) for path in aborted}


@pytest.mark.parametrize("encodes", [True, False])
async def test_who_may_not_try_it_out_looks_up_both_readings(
    encodes: bool, front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    picky = Picky(encodes=encodes)
    before.meddle, before.afterwards = picky.meddle, picky.afterwards
    fs = connect(server)
    await begun(fs, "a+b")
    picky.begins = False
    found = [left async for left in fs.driver.leftovers()]
    assert [(left.path, left.live) for left in found] == [("a+b", False)]
    picky.careless = True  # both readings have it: nothing is removed by guess
    found = [left async for left in fs.driver.leftovers()]
    assert [left.live for left in found] == [True]
    assert [each.fixed for each in await fsck(fs, fix=True)] == [False]


async def test_what_an_abort_left_is_not_reported_as_removed(
    front: Fronts, connect: Connect, s3_server: S3Server
) -> None:
    before, server = await front(s3_server)
    fs = connect(server)
    await begun(fs, "file")

    async def pretend(asked: Asked) -> web.Response | None:
        return web.Response(status=204) if asked.method == "DELETE" and "uploadId" in asked.query else None

    before.meddle = pretend
    assert [each.fixed for each in await fsck(fs, fix=True)] == [False]


@pytest.fixture(autouse=True)
def _learn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_LEARNED", {})
