"""The number of the format of index records, labels and prepared sessions, for programs of other versions of aiofs.

Locks are those of the index's store, which numbers them itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiofs.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "1"
"""Written as `format`. What has no number is of 2.0.0a1, and is read in the same way, as 2.0.0a1 reads what has it."""


def check_format(path: str | None, what: str, fields: Mapping[str, Any]) -> None:
    """Raise `Unsupported` for a format that this version of aiofs does not know."""
    number = fields.get("format", FORMAT)
    if number != FORMAT:
        raise Unsupported.of(
            path, f"{what} has format {number!r}, and this version of aiofs knows {FORMAT!r}: use the newer version"
        )
