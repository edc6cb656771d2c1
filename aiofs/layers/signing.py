"""SignedUrls: URLs with which anybody can read or write one file for some time, for stores that make none."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from aiofs import clock
from aiofs.driver import Layer
from aiofs.errors import AccessDenied
from aiofs.names import check_path
from aiofs.powers import HasAddress

if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import NoReturn

    from aiofs.driver import Power

FORMAT = "aiofs-url-1"
SHORTEST_KEY = 16
"""How many bytes a key has at least."""
_LATEST = 10**12
_BASE = re.compile(r"https?://(?![/?#])[!-~]+|/(?!/)[!-~]*")
_FIELDS = {"method": "GET|PUT", "expires": "[1-9][0-9]{0,11}", "signature": "[0-9a-f]{64}"}
"""The parameters of a URL, each with the only form that it has here."""


class SigningKeys(tuple[bytes, ...]):
    """Keys, which are not shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} keys>"


class SignedUrls(Layer):
    """Signs URLs that begin with `base_url`, for `fs.url`, and checks them for `fs.check_url`, with a key of yours.

    A web server at `base_url` has to serve them. It asks `fs.check_url` which file a request may read or write, and
    reads or writes it through the same file system. `secret` is a key of 16 bytes or more, such as
    `secrets.token_hex()`; of several keys the first signs, and URLs that were signed with any of them are good.

    :raises TypeError: for a key that is neither `str` nor `bytes`.
    :raises ValueError: for a `base_url` that is none, or a key that is too short.
    """

    def __init__(self, base_url: str, secret: str | bytes | Iterable[str | bytes]) -> None:
        parts = urlsplit(base_url)
        if not _BASE.fullmatch(base_url) or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("base_url must be like http://localhost:8000/files/: no query, fragment or credentials")
        self.base_url: str = base_url.rstrip("/") + "/"
        self._folder = urlsplit(self.base_url).path
        self._keys = SigningKeys(map(_key, _given(secret)))
        if not self._keys or any(len(key) < SHORTEST_KEY for key in self._keys):
            raise ValueError(f"secret must be one key or several, each of {SHORTEST_KEY} bytes or more")

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        """Return a URL that names the file, the method, and the second when it expires, with a signature of these.

        :raises ValueError: if that second is too far away.
        """
        end = math.ceil(clock.now().timestamp() + expires)
        if end >= _LATEST:
            raise ValueError(f"expires={expires!r} is too far away")
        signature = self._sign(self._keys[0], method, str(end), path)
        fields = urlencode({"method": method, "expires": end, "signature": signature})
        return f"{self.base_url}{quote(path)}?{fields}"

    def check_url(self, url: str, method: str) -> str:
        """Return the name of the file that a signed URL is for. The errors say nothing that helps to forge one.

        :raises AccessDenied: if it was not signed so with one of the keys, is for another method, or has expired.
        """
        name, signed_method, end, given = self._parts(url)
        signed = [
            hmac.compare_digest(self._sign(key, signed_method, end, name).encode(), given.encode())
            for key in self._keys
        ]
        if not any(signed):
            _refuse("it was not signed with this key, or was changed")
        if method != signed_method:
            _refuse(f"it is for {signed_method}, not for {method}")
        if clock.now().timestamp() >= int(end):
            _refuse("it has expired")
        return check_path(name)

    def offers(self, power: type[Power]) -> Power | None:
        """Return the driver that has the power. There is no address: it would have to have the key."""
        return None if power is HasAddress else super().offers(power)

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the base's answer: the files are the same."""
        return self.base.locate(path)

    def _parts(self, url: str) -> tuple[str, str, str, str]:
        """Return the name in a URL, or in its part behind the host, and its method, expiry and signature."""
        if not re.fullmatch(r"[!-~]*", url):
            _refuse("it has characters that are not percent-encoded")
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True, errors="strict")
            path = parts.path.removeprefix(self._folder)
            name = unquote(path, errors="strict")
        except ValueError:
            _refuse("it is not well-formed")
        if not parts.path.startswith(self._folder) or parts.fragment:
            _refuse(f"it is not below {self._folder}")
        if name.count("/") != path.count("/"):
            _refuse("it has a percent-encoded slash")  # others who look at the path may take it for another one
        if sorted(field for field, _ in pairs) != sorted(_FIELDS):
            _refuse("it has not exactly the parameters method, expires and signature")
        fields = dict(pairs)
        if not all(re.fullmatch(form, fields[field]) for field, form in _FIELDS.items()):
            _refuse("its parameters do not have the form of signed ones")
        return name, fields["method"], fields["expires"], fields["signature"]

    def _sign(self, key: bytes, method: str, end: str, path: str) -> str:
        # A list in JSON: no character of a field can be taken for the end of the field, or for a part of the next.
        message = json.dumps([FORMAT, self.base_url, method, end, path])
        return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def _given(secret: str | bytes | Iterable[str | bytes]) -> Iterable[str | bytes]:
    """Return the keys one by one."""
    if isinstance(secret, str | bytes):
        return [secret]
    if not isinstance(secret, Iterable):
        raise TypeError(f"secret must be str or bytes, or several of them, not {type(secret).__name__}")
    return secret


def _key(each: str | bytes) -> bytes:
    # The items of a bytearray are numbers, of which `bytes` would make zeros: a key that anybody can guess.
    if not isinstance(each, str | bytes):
        raise TypeError(f"secret must be str or bytes, or several of them, not of {type(each).__name__}")
    return each.encode("utf-8", "surrogatepass") if isinstance(each, str) else each  # an error would show the key


def _refuse(why: str) -> NoReturn:
    raise AccessDenied.of(None, f"this URL is refused: {why}") from None
