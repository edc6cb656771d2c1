"""Signed URLs: the settings of the file systems that have a key of their own."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.layers import SignedUrls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE, KEY = "http://localhost:8000/files/", "a key that is long enough"


@pytest.fixture(params=["memory", "local", "locks elsewhere"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., aiofs.FileSystem]:
    if request.param == "memory":
        return aiofs.MemoryFileSystem
    locks = aiofs.MemoryFileSystem() if request.param == "locks elsewhere" else None
    return lambda **settings: aiofs.OSFileSystem(tmp_path, locks=locks, **settings)


async def test_the_settings_are_the_layer(make: Callable[..., aiofs.FileSystem]) -> None:
    async with make(base_url=BASE, secret=[KEY, "an old key, long enough"]) as fs, aiofs.MemoryFileSystem() as other:
        url = await fs.url("folder/file", "PUT", expires=60)
        assert fs.check_url(url, "PUT") == other.over(SignedUrls(BASE, KEY)).check_url(url, "PUT") == "folder/file"
        with pytest.raises(aiofs.Unsupported, match="secret="):
            await other.url("file")


@pytest.mark.parametrize("settings", [{"base_url": BASE}, {"secret": KEY}])
async def test_one_setting_alone_is_refused(make: Callable[..., aiofs.FileSystem], settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="go together") as caught:
        make(**settings)
    assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="secret must be"):
        make(base_url=BASE, secret="")


async def test_the_key_is_in_no_text(make: Callable[..., aiofs.FileSystem], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with make(base_url=BASE, secret=KEY) as fs:
        logged = fs.over(aiofs.layers.Log())
        await logged.write_bytes("file", b"bytes")
        logged.check_url(await logged.url("file"))
        texts = [repr(fs), str(fs), repr(fs.driver), str(fs.driver), repr(fs / "file"), caplog.text]
        for call in (fs.url_of, lambda: fs.check_url("x")):
            with pytest.raises((aiofs.Unsupported, aiofs.AccessDenied)) as caught:
                call()
            texts += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
        assert not [text for text in texts if KEY in text]


def test_no_url_of_a_store_has_the_key() -> None:
    for url in (f"memory://?secret={KEY}", f"file:///srv?base_url={BASE}&secret={KEY}"):
        with pytest.raises(ValueError, match=r"secret|base_url") as caught:
            aiofs.connect(url)
        assert KEY not in str(caught.value)


async def test_a_pickled_system_signs_the_same(tmp_path: Path) -> None:
    fs = aiofs.OSFileSystem(tmp_path, base_url=BASE, secret=KEY)
    again = pickle.loads(pickle.dumps(fs))
    assert again.check_url(await fs.url("file")) == "file"
    assert fs / "file" == again / "file"
