"""URLs with a signature, made with the account's key, or with one that the service gives to those who have a token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from azure.storage.blob import generate_blob_sas

from aiofs import clock
from aiofs.backends.azure.errors import NotPermitted

if TYPE_CHECKING:
    from azure.storage.blob import BlobSasPermissions, UserDelegationKey

    from aiofs.backends.azure.client import Container

_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST = timedelta(days=7)
"""How long the service's keys are valid at most."""
_RESERVE = timedelta(hours=1)
"""How much longer than the first URL a key is valid, so that it can sign other URLs too."""


class Signer:
    """Signs URLs of the blobs of one container, and keeps the key that the service gave last."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._key: UserDelegationKey | None = None
        self._expiry = datetime.min.replace(tzinfo=UTC)

    def __reduce__(self) -> tuple[type[Signer], tuple[Container]]:
        """Pickle without the key, which is a secret."""
        return Signer, (self._container,)

    async def url(self, path: str, permission: BlobSasPermissions, seconds: float, **version: Any) -> str | None:
        """Return a URL that permits its bearer something about a blob for so many seconds.

        `version` may be the `snapshot` or `version_id` that is meant. Returns `None` if we have nothing to sign with.

        :raises ValueError: if the service gives no key for so long.
        :raises NotPermitted: if the service gives us no key.
        """
        container = self._container
        client = container.client
        now = clock.now().replace(microsecond=0)
        start, expiry = now - _CLOCK_SKEW, now + timedelta(seconds=seconds)
        key: dict[str, Any] = {"account_key": getattr(client.credential, "account_key", None)}
        if key["account_key"] is None:
            if not container.has_token:
                return None
            key = {"user_delegation_key": await self._delegated(path, start, expiry)}
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

    async def _delegated(self, path: str, start: datetime, expiry: datetime) -> UserDelegationKey:
        """Return the service's key for signatures that are valid from `start` to `expiry`."""
        if expiry - start > _LONGEST:
            raise ValueError("a URL that is signed without the account's key is valid for 7 days at most")
        if self._key is None or expiry > self._expiry:
            until = min(expiry + _RESERVE, start + _LONGEST)
            service = self._container.service
            try:
                self._key = await self._container.ask(path, lambda: service.get_user_delegation_key(start, until))
            except NotPermitted as error:
                reason = f"{error.strerror}: signing a URL with a token needs the permission generateUserDelegationKey"
                raise NotPermitted.of(path, reason) from error.__cause__
            self._expiry = until
        return self._key
