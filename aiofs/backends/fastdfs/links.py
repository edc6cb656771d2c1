"""URLs of files behind the web servers of a cluster, with the tokens that keep others from linking to them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiofs.backends.fastdfs.ids import FileId


@dataclass(frozen=True, slots=True)
class Links:
    """What URLs of files are made of."""

    base_url: str | None
    secret: str | None = field(repr=False)
    token_ttl: float

    def url(self, file: FileId, secret: str | None, ttl: float | None) -> str:
        """Return the URL of a file, with a token where there is a secret.

        :raises ValueError: if there is no secret for a `ttl`, or the id does not tell where its web server is.
        """
        base = self.base_url
        if base is None:
            if not isinstance(file.source, str):
                raise ValueError(f"{file} does not tell where its web server is: give the client base_url=")
            base = f"http://{file.source}"
        address = f"{base.rstrip('/')}/{file}"
        secret = self.secret if secret is None else secret
        if secret is None:
            if ttl is not None:
                raise ValueError("a URL that ends needs the secret of the web servers: give secret=")
            return address
        now = time.time()
        stamp = int(now if ttl is None else now + ttl - self.token_ttl)
        token = hashlib.md5(f"{file.name}{secret}{stamp}".encode(), usedforsecurity=False).hexdigest()
        return f"{address}?token={token}&ts={stamp}"
