"""Tokens: what a prepared session gave to a journal, read back from there.

Any user who may write the folder of a journal may have changed a token. So `Driver.resume` reads it like input of a
user: it checks the type and the form of each field, and a path like every other path. A driver makes the names of
hidden files from the path again, or compares them with it; it does not trust those in a token.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeGuard

from aiofs.errors import Damaged
from aiofs.names import check_path

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = (1 << 63) - 1
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


class Token:
    """A token of `WriteSession.prepare`, read field by field.

    :raises Damaged: from each method, if no session can have given such a field.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    @property
    def path(self) -> str:
        """The path that the session writes."""
        path: Any = self._fields.get("path")
        try:
            return check_path(path)
        except (TypeError, ValueError) as error:
            raise self.wrong("path", str(error)) from error

    def has(self, name: str) -> bool:
        """Whether the token has this field, and something in it."""
        return self._fields.get(name) is not None

    def text(self, name: str, form: str | None = None) -> str:
        """Return a text without control characters, that matches the regular expression `form` as a whole."""
        value = self._fields.get(name)
        if not is_text(value) or _CONTROLS.search(value):
            raise self.wrong(name, "it is not a text without control characters")
        if form is not None and not re.fullmatch(form, value):
            raise self.wrong(name, f"{value!r} does not have the form of one")
        return value

    def text_or_none(self, name: str, form: str | None = None) -> str | None:
        """Return a text, or `None` if there is none."""
        return self.text(name, form) if self.has(name) else None

    def number(self, name: str, least: int = 0, most: int = LARGEST) -> int:
        """Return an integer from `least` to `most`."""
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(name, f"it is not an integer from {least} to {most}")
        return value

    def truth(self, name: str) -> bool:
        """Return `True` or `False`; `False` if there is neither."""
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "it is neither true nor false")
        return value

    def texts(self, name: str) -> dict[str, str]:
        """Return a mapping of texts to texts; an empty one if there is none."""
        value = self._fields.get(name) or {}
        if not isinstance(value, dict) or not all(map(is_text, (*value, *value.values()))):
            raise self.wrong(name, "it does not map texts to texts")
        return value

    def rows(self, name: str) -> list[Any]:
        """Return a list. The caller checks what is in it."""
        value = self._fields.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "it is not a list")
        return value

    def wrong(self, name: str, why: str) -> Damaged:
        """Return the error that says why a field is wrong."""
        path = self._fields.get("path")
        reason = f"the journal does not say how this file was prepared: {name!r} is wrong, {why}"
        return Damaged.of(path if isinstance(path, str) else None, reason)


def is_text(value: object) -> TypeGuard[str]:
    """Whether this is a text that can be written in UTF-8."""
    return isinstance(value, str) and not _SURROGATES.search(value)
