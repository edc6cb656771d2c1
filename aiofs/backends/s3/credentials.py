"""Who we are to the store: the SDK's session, with credentials from wherever the settings say."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentials,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.session import AioSession
from botocore.loaders import create_loader

from aiofs.errors import AccessDenied
from aiofs.threads import hop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.backends.s3.settings import Settings

OWN = "aiofs"
"""What the SDK calls credentials that a caller's own callable gave."""


async def session_for(settings: Settings) -> Any:
    """Return the session whose credentials and settings are to be used.

    :raises AccessDenied: if there are no credentials.
    """
    session = settings.session or await hop(_session, settings)
    if settings.anonymous:
        return session
    if settings.credentials is not None:
        session._credentials = await _given(settings)  # noqa: SLF001 -- set_credentials() takes lasting ones alone
    found = await session.get_credentials()  # asked here, where that may take the network; then they are known
    if found is None:
        raise AccessDenied.of(settings.bucket, "no credentials: set them in the environment, or pass access_key=")
    if settings.role_arn is not None:
        return await _with_role(session, found, settings)
    return session


def _session(settings: Settings) -> AioSession:
    """Make a session, which reads AWS's own settings."""
    session = AioSession(profile=settings.profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    if settings.access_key is not None:
        session.set_credentials(settings.access_key, settings.secret_key, settings.session_token)
    return session


@cache
def _loader(data_path: str | None) -> Any:
    """Return what reads the SDK's models, the same for all sessions: a megabyte of them is then read once."""
    return create_loader(data_path)


async def _with_role(asking: Any, credentials: Any, settings: Settings) -> AioSession:
    """Return a session whose credentials are those of the role, asked for anew before they expire."""
    extra = {"RoleSessionName": settings.role_session_name}
    if settings.external_id is not None:
        extra["ExternalId"] = settings.external_id

    def client(service: str, **keys: Any) -> Any:
        region = settings.region or asking.get_config_variable("region") or "us-east-1"
        return asking.create_client(service, region_name=region, verify=settings.ca_bundle, **keys)

    fetcher = AioAssumeRoleCredentialFetcher(client, credentials, settings.role_arn, extra_args=extra)
    session: AioSession = await hop(_session, settings)
    session._credentials = AioDeferredRefreshableCredentials(  # noqa: SLF001 -- set_credentials() takes lasting ones
        method="assume-role", refresh_using=fetcher.fetch_credentials
    )
    return session


async def _given(settings: Settings) -> Any:
    """Return the credentials that the caller's callable gives, now and again when they are about to expire."""
    first = await _ask(settings)
    if first["expiry_time"] is None:
        return AioCredentials(first["access_key"], first["secret_key"], first["token"], method=OWN)
    kept: list[dict[str, Any]] = [first]

    async def fresh() -> dict[str, Any]:
        return kept.pop() if kept else await _ask(settings)

    return AioDeferredRefreshableCredentials(method=OWN, refresh_using=fresh)


async def _ask(settings: Settings) -> dict[str, Any]:
    """Return what the callable says, as the SDK wants it.

    :raises TypeError: if it is something else than credentials, which the error does not repeat.
    """
    assert settings.credentials is not None  # noqa: S101 -- or nobody would ask
    told: Any = settings.credentials()
    if inspect.isawaitable(told):
        told = await told
    try:
        return _as_sdk(told)
    except (AttributeError, KeyError, TypeError):
        raise TypeError(
            "credentials= must return a dict with access_key, secret_key, and expires where they do"
        ) from None


def _as_sdk(told: Mapping[str, Any]) -> dict[str, Any]:
    expires = told.get("expires")
    return {
        "access_key": told["access_key"],
        "secret_key": told["secret_key"],
        "token": told.get("session_token"),
        "expiry_time": expires if expires is None else expires.isoformat(),
    }
