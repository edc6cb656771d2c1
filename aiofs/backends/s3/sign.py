"""AWS's Signature Version 4, as S3 has it: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
"""In place of a body's hash, where the connection itself keeps the body safe."""
EMPTY = hashlib.sha256().hexdigest()


class Signer:
    """Signs requests for one region, with one pair of keys at a time."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._derived_from: tuple[str, str] = ("", "")
        self._key = b""

    def sign(  # noqa: PLR0917 -- the parts of a request, in their order
        self, method: str, path: str, query: str, headers: Mapping[str, str], access_key: str, secret_key: str
    ) -> str:
        """Return the `Authorization` for a request.

        `path` and `query` are encoded, the query sorted; the headers, named in lower case, are all to be signed, with
        `host`, `x-amz-date` and `x-amz-content-sha256` among them.
        """
        moment = headers["x-amz-date"]
        day = moment[:8]
        names = sorted(headers)
        signed = ";".join(names)
        lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        request = f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{headers['x-amz-content-sha256']}"
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._day_key(day, secret_key), text.encode(), "sha256").hex()
        return f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed}, Signature={signature}"

    def _day_key(self, day: str, secret_key: str) -> bytes:
        """Return the key for a day, derived once."""
        if self._derived_from != (day, secret_key):
            key = f"AWS4{secret_key}".encode()
            for step in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._key, self._derived_from = key, (day, secret_key)
        return self._key


def encode_path(key: str) -> str:
    """Encode a key as it stands in a URL's path."""
    return quote(key, safe="/~")


def encode_query(parameters: Mapping[str, str]) -> str:
    """Encode a query, sorted."""
    return "&".join(f"{name}={quote(parameters[name], safe='~')}" for name in sorted(parameters))
