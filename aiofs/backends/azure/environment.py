"""Who we are, as the environment says it: the names are those of Azure's own command line and of adlfs and obstore."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

_ACCOUNTS = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
_KEYS = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")
_SIGNATURES = ("AZURE_STORAGE_SAS_TOKEN",)
_IDENTITIES = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT")
"""What azure-identity's default credential finds in the environment of a program that has an identity."""


def settings(account_url: str | None, *, anonymous: bool, identity: bool) -> dict[str, Any]:
    """Return the `connection_string`, or the `account_url` and `credential`, that the environment gives.

    :raises ValueError: if it names no account.
    :raises ImportError: if azure-identity is needed and not installed.
    """
    if anonymous and identity:
        raise ValueError("anonymous= shows no credential, and identity= shows one: leave out either")
    string = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if string and account_url is None and not (anonymous or identity):
        return {"connection_string": string}
    if account_url is None:
        account_url = os.environ.get("AZURE_STORAGE_ACCOUNT_URL") or _url_of(_first(_ACCOUNTS))
    if account_url is None:
        known = "AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT_URL or AZURE_STORAGE_ACCOUNT"
        raise ValueError(f"azure URL needs account_url=, or {known} in the environment")
    return {"account_url": account_url, "credential": None if anonymous else _credential(identity)}


def default_identity() -> AsyncTokenCredential:
    """Return the credential that azure-identity finds by itself.

    :raises ImportError: if it is not installed.
    """
    made: AsyncTokenCredential = _identity().DefaultAzureCredential()
    return made


def _credential(identity: bool) -> Any:
    given = None if identity else _first(_KEYS) or _first(_SIGNATURES)
    if given is None and (identity or _first(_IDENTITIES)):
        _identity()  # so that what is not installed is said now, not by the first request
        return default_identity
    return given


def _identity() -> Any:
    try:
        return import_module("azure.identity.aio")
    except ImportError as error:
        raise ImportError("credentials of this environment need azure-identity: pip install azure-identity") from error


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _url_of(account: str | None) -> str | None:
    return None if account is None else f"https://{account}.blob.core.windows.net"
