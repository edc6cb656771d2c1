"""URLs that carry a signature: by the account's key, or by one that the service gives to who has a token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from azure.storage.blob import generate_blob_sas

from aiofs.backends.azure.errors import NotPermitted

if TYPE_CHECKING:
    from azure.storage.blob import BlobSasPermissions, UserDelegationKey

    from aiofs.backends.azure.container import Container

_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST = timedelta(days=7)
"""For how long the service gives keys."""
_RESERVE = timedelta(hours=1)
"""How much longer than the first URL a key is asked for, so that others can be signed with it."""


class DelegationKey:
    """The key that the service gave last, and until when it is good."""

    def __init__(self) -> None:
        self._key: UserDelegationKey | None = None
        self._expiry = datetime.min.replace(tzinfo=UTC)

    async def until(self, container: Container, path: str, start: datetime, expiry: datetime) -> UserDelegationKey:
        """Return a key for signatures that are good from `start` to `expiry`.

        :raises ValueError: if the service gives none for so long.
        :raises NotPermitted: if it gives us none.
        """
        if expiry - start > _LONGEST:
            raise ValueError("a URL that is signed without the account's key is good for 7 days at most")
        if self._key is None or expiry > self._expiry:
            until = min(expiry + _RESERVE, start + _LONGEST)
            service = container.service
            try:
                self._key = await container.ask(path, lambda: service.get_user_delegation_key(start, until))
            except NotPermitted as error:
                reason = f"{error.strerror}: signing a URL with a token needs the permission generateUserDelegationKey"
                raise NotPermitted.of(path, reason) from error.__cause__
            self._expiry = until
        return self._key


async def signed_url(
    container: Container, path: str, permission: BlobSasPermissions, seconds: float, **version: Any
) -> str | None:
    """Return a URL that lets its bearer do with the blob what is permitted; `None` if we have nothing to sign it with.

    `version` may be the `snapshot` or `version_id` that it is for.
    """
    client = container.client
    now = datetime.now(UTC).replace(microsecond=0)
    start, expiry = now - _CLOCK_SKEW, now + timedelta(seconds=seconds)
    key: dict[str, Any] = {"account_key": getattr(client.credential, "account_key", None)}
    if key["account_key"] is None:
        if not container.has_token:
            return None
        key = {"user_delegation_key": await container.delegation.until(container, path, start, expiry)}
    signature = generate_blob_sas(
        str(client.account_name),
        container.name,
        path,
        permission=permission,
        start=start,
        expiry=expiry,
        **version,
        **key,
    )
    wanted = "".join(f"{name.replace('_', '')}={quote(value)}&" for name, value in version.items())
    return f"{container.blob(path).url}?{wanted}{signature}"
