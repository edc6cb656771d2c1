"""The number of the format of locks and prepared sessions, for programs of another version of aiofs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "1"
"""Written as `format`. What has no number is of 2.0.0a1, and is read in the same way."""


def is_known(labels: Mapping[str, Any] | None) -> bool:
    """Whether this version of aiofs knows the format."""
    return bool((labels or {}).get("format", FORMAT) == FORMAT)


def check_format(path: str, what: str, labels: Mapping[str, Any] | None) -> None:
    """Raise `Unsupported` for a format that this version of aiofs does not know."""
    if not is_known(labels):
        number = (labels or {})["format"]
        raise Unsupported.of(
            path, f"{what} has format {number!r}, and this version of aiofs knows {FORMAT!r}: use the newer version"
        )
