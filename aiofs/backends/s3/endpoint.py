"""Where the store is: as it was given, or as the SDK finds it in the environment and in AWS's own files.

A store that was found there is as little AWS as one that was given, so what it promises has to be tried as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""What is looked at in the environment, in this order, before the profile is."""


def check_endpoint(url: str, name: str) -> str:
    """Return the URL that a setting or a variable called `name` holds.

    :raises ValueError: if it is none, or holds credentials, which would be seen in messages.
    """
    where = urlsplit(url)
    if "@" in where.netloc:
        raise ValueError(f"{name} must hold no credentials; pass access_key= and secret_key=")
    if where.scheme not in {"http", "https"} or not where.hostname:
        raise ValueError(f"{name} {url!r}: give http://host:port or https://host")
    return url


def configured_endpoint(session: Any) -> str | None:
    """Return the endpoint that a session of the SDK takes where none is given; `None` for AWS's own.

    It is found by the rules of all of AWS's tools: the environment first, then the section of services that the
    profile names, then the profile itself; and nowhere, if `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` says so.
    """
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    for name in VARIABLES:
        if url := os.environ.get(name):
            return check_endpoint(url, name)
    profile: Mapping[str, Any] = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    for section, name in ((services.get("s3", {}), "endpoint_url of s3 in the profile's services"), (profile, "")):
        if url := section.get("endpoint_url"):
            return check_endpoint(url, name or "endpoint_url of the profile")
    return None


def endpoint_of(client: Any) -> str | None:
    """Return where a client of the SDK that was lent sends its requests; `None` for AWS."""
    url: str = client.meta.endpoint_url
    host = urlsplit(url).hostname or ""
    return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else url
