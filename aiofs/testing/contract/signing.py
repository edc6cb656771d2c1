"""Behaviours 351 to 355: URLs that are signed with a key of the user's, and checked by who serves them."""

from __future__ import annotations

import copy
import pickle
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch
from urllib.parse import quote, unquote, urlsplit

import pytest

from aiofs import clock
from aiofs.errors import AccessDenied, Unsupported
from aiofs.layers.codecs import Base64
from aiofs.layers.names import Percent
from aiofs.layers.policy import Matching, ReadOnly
from aiofs.layers.signing import SignedUrls
from aiofs.powers import Presigns
from aiofs.testing.contract.names import WEIRD_NAMES
from aiofs.testing.harness import needs
from aiofs.transactions.transaction import transaction

if TYPE_CHECKING:
    from aiofs.filesystem import FileSystem
    from aiofs.testing.harness import Harness

BASE = "http://localhost:8000/files/"
OLD_KEY, KEY = "an old key, which is long enough", b"a newer key \xff, long enough as well"


def signing(fs: FileSystem) -> FileSystem:
    """Return the file system with signed URLs."""
    return fs.over(SignedUrls(BASE, KEY))


class Signing:
    """Signed URLs."""

    @needs("writable")
    async def test_351_get_and_put(self, store: Harness) -> None:
        """A signed URL is to read one file, or to write it; `check_url` tells which, also in other processes."""
        fs, server = signing(store.fs), signing(store.fresh())
        names = [name for name in (*WEIRD_NAMES, "folder/line\nend", "a%2Fb") if not store.cannot_hold(name)]
        for name in names:
            url = await fs.url(name, "PUT", expires=60)
            assert url.startswith(BASE)
            assert url.isascii()
            path = server.check_url(url, "PUT")
            assert path == name
            await server.write_bytes(path, name.encode())
            parts = urlsplit(await (fs / name).url(expires=60))
            assert await server.read_bytes(server.check_url(f"{parts.path}?{parts.query}")) == name.encode()
        assert len(set(await store.names())) == len(names)
        assert server.blocking.check_url(await fs.url(names[0])) == names[0]

    async def test_352_changed(self, store: Harness) -> None:
        """A URL that was changed in any place, or is for another method, is refused, without a word about the key."""
        fs = signing(store.fs)
        for name, method in (("folder/file", "GET"), ("é/ü", "PUT")):
            url = await fs.url(name, "GET" if method == "GET" else "PUT")
            assert fs.check_url(url, method) == name
            start = len(BASE)
            changed = [f"{url[:at]}{chr(ord(url[at]) ^ 1)}{url[at + 1 :]}" for at in range(start, len(url))]
            changed += [url[:start] + insert + url[start:] for insert in ("../", "./", "/", "x/../", "%2e%2e/", "%00")]
            changed += [f"{url}&x=1", f"{url}&method=PUT", url.partition("?")[0], url[:-1], f"{url}0", f"{url}#x", ""]
            changed += [url.replace("/files/", "/file/"), url.replace("/files/", "/"), unquote(url) + "\n", "http://["]
            parameters = url.partition("?")[2].split("&")
            changed += [f"{url}&{again}" for again in parameters] + [url.replace(f"&{parameters[1]}", "")]
            changed += [
                url.replace("expires=", f"expires={other}") for other in ("0", "-", "+", "%20", "%0A", "%D9%A1")
            ]
            changed += [url.replace(end := parameters[1], end + other) for other in (".0", "_0", "%20", "%0A", "0")]
            changed += [url.replace(name.upper(), name.lower()) for name in ("GET", "PUT")]
            changed += [
                url.replace(quote(name), quote(name).replace("/", slash)) for slash in ("%2F", "%2f", "//", "/./")
            ]
            changed += [url.replace(quote(name), quote(name.upper())), url.replace(quote(name), quote(quote(name)))]
            changed += [url.replace(parameters[2], parameters[2].upper().replace("SIGNATURE", "signature"))]
            changed += [url.replace(quote(name), f"{quote(name)}%FF"), f"{url[:-1]}\ud800", f"{url[:-1]}%ED%A0%80"]
            for other in set(changed) - {url}:
                with pytest.raises(AccessDenied, match="refused") as caught:
                    fs.check_url(other, method)
                assert caught.value.filename is None
                _shows_no_key(str(caught.value), repr(caught.value))
            for wrong in ("GET", "PUT", "HEAD", "DELETE", "", method.lower()):
                if wrong != method:
                    with pytest.raises(AccessDenied, match=f"it is for {method}, not for {wrong}"):
                        fs.check_url(url, wrong)
        for base in ("http://localhost:8000/", "http://another/files/"):
            with pytest.raises(AccessDenied):
                store.fs.over(SignedUrls(base, KEY)).check_url(await fs.url("file"))
        await self._moved_borders(store)

    async def _moved_borders(self, store: Harness) -> None:
        """Take the beginning of a signed name for the end of the field before it."""
        signs = SignedUrls(BASE, KEY).bind(store.driver)
        for name, more in (("\nfile", "%0A"), ("\n\nfile", "%0A%0A"), ("1\nfile", "%0A1"), (" \nfile", "%0A%20")):
            url = await signs.url(name, "GET", 60)
            assert signs.check_url(url, "GET") == name
            end = re.search("expires=[0-9]+", url)
            assert end
            moved = url.replace(quote(name), "file").replace(end[0], end[0] + more)
            until = end[0].removeprefix("expires=")
            beside = url.replace(quote(name), "file").replace("method=GET", f"method=GET%0A{until}")
            for other in (moved, beside, beside.replace(end[0], f"expires={more.removeprefix('%0A')}")):
                with pytest.raises(AccessDenied, match="refused"):
                    signs.check_url(other, "GET")

    async def test_353_expiry(self, store: Harness) -> None:
        """A URL is good until its time is over, by the clock of the package, and for no longer."""
        fs = signing(store.fs)
        now = clock.now().replace(microsecond=0)
        with patch.object(clock, "now", lambda: now):
            url = await fs.url("file", expires=60)
            assert fs.check_url(url) == "file"
        for seconds, good in ((59.9, True), (60, False), (10_000, False), (-10_000, True)):
            with patch.object(clock, "now", lambda seconds=seconds: now + timedelta(seconds=seconds)):
                if good:
                    assert fs.check_url(url) == "file"
                else:
                    with pytest.raises(AccessDenied, match="expired"):
                        fs.check_url(url)
        for wrong in (0, -1, float("inf"), float("nan"), 1e12, 1e300):
            with pytest.raises(ValueError, match=r"expires=|for some seconds"):
                await fs.url("file", expires=wrong)

        later = now + timedelta(seconds=0.5)
        with patch.object(clock, "now", lambda: later):  # the second that has begun counts whole
            assert "expires=" + str(int(now.timestamp()) + 2) in await fs.url("file", expires=1)

    async def test_354_keys(self, store: Harness) -> None:
        """Of several keys the first signs, and all are good; no key is shown, and none is in a `url_of()`."""
        keys: list[str | bytes] = [KEY, OLD_KEY]
        old, new = store.fs.over(SignedUrls(BASE, OLD_KEY)), store.fs.over(SignedUrls(BASE, KEY))
        both, turned = store.fs.over(SignedUrls(BASE, keys)), store.fs.over(SignedUrls(BASE, reversed(keys)))
        ours, theirs = await both.url("file"), await old.url("file")
        assert both.check_url(ours) == both.check_url(theirs) == turned.check_url(ours) == new.check_url(ours) == "file"
        for fs, url in ((old, ours), (new, theirs)):
            with pytest.raises(AccessDenied, match="was not signed with this key"):
                fs.check_url(url)
        for each in (both, both.driver, copy.copy(both.driver), SignedUrls(BASE, KEY), both.at("a"), both / "file"):
            _shows_no_key(repr(each), str(each))
        _shows_no_key(repr(vars(both.driver)))
        again = pickle.loads(pickle.dumps(SignedUrls(BASE, keys)))  # noqa: S301 -- its own
        assert store.fs.over(again).check_url(ours) == "file"
        _shows_no_key(repr(again), str(again), repr(vars(again)))
        with pytest.raises(Unsupported) as caught:
            both.url_of()
        _shows_no_key(str(caught.value))
        too_short: list[str | bytes | list[str | bytes]] = ["", "short", b"15 bytes, short", [], [KEY, "short"]]
        for wrong in too_short:
            with pytest.raises(ValueError, match="secret must be") as refused:
                SignedUrls(BASE, wrong)
            assert "short" not in str(refused.value).removesuffix("or more")
        no_keys: list[Any] = [bytearray(KEY), memoryview(KEY), [bytearray(KEY)], [20], 20, None, [None]]
        for wrong in no_keys:
            with pytest.raises(TypeError, match="secret must be"):
                SignedUrls(BASE, wrong)
        assert "long" not in repr(SignedUrls(BASE, "a long key from a strange environment \ud800"))
        for base in (
            "http:///x",
            "//x/",
            "",
            "localhost",
            "ftp://x/",
            "http://x/?a=b",
            "http://x/#a",
            "http://user:word@x/",
            "http://x y/",
        ):
            with pytest.raises(ValueError, match="base_url must be"):
                SignedUrls(base, KEY)

    async def test_355_through_layers(self, store: Harness) -> None:
        """A folder signs for its own files, layers that change bytes refuse, and without a key the error says so."""
        fs = signing(store.fs)
        folder = fs.at("folder")
        url = await folder.url("file")
        assert (folder.check_url(url), fs.check_url(url)) == ("file", "folder/file")
        with pytest.raises(AccessDenied, match="not in this file system"):
            folder.check_url(await fs.url("other/file"))
        url = await fs.url("file", "PUT")
        reading = fs.over(ReadOnly())
        assert reading.check_url(await reading.url("file")) == "file"
        with pytest.raises(PermissionError, match="read-only") as caught:
            reading.check_url(url, "PUT")
        assert caught.value.filename is None
        mapped = fs.over(Percent())
        assert mapped.check_url(await mapped.url("a b")) == "a b"
        for other in ("a b", "%zz", "a%2Fb"):
            with pytest.raises(AccessDenied, match="refused"):
                mapped.check_url(await fs.url(other))
        two = [store.fs.at(name).over(SignedUrls(f"{BASE}{name}/", KEY)) for name in ("folder", "other")]
        with pytest.raises(AccessDenied):
            two[1].check_url((await two[0].url("file")).replace("/folder/", "/other/"))
        with pytest.raises(AccessDenied, match="cannot hold"):
            fs.over(Matching("[a-z]")).check_url(url, "PUT")
        method: Literal["GET", "PUT"]
        async with transaction(fs, auto_commit=False) as tx:
            for refusing in (fs.over(Base64()), tx):
                for method in ("GET", "PUT"):
                    with pytest.raises(Unsupported):
                        await refusing.url("file", method)
                    with pytest.raises(Unsupported):
                        refusing.check_url(url, method)
        below = store.fs.over(Base64(), SignedUrls(BASE, KEY))
        assert below.check_url(url, "PUT") == "file"
        with pytest.raises(Unsupported, match="secret="):
            store.fs.check_url(url)
        if store.driver.offers(Presigns) is None:
            with pytest.raises(Unsupported, match="secret="):
                await store.fs.url("file")


def _shows_no_key(*texts: str) -> None:
    for text in texts:
        for key in (OLD_KEY, repr(KEY)[2:-1]):
            assert key[:10] not in text
