"""Where large bytes begin to differ: all that does takes pytest minutes to say, where it does not cut that short."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

LARGE = 10_000
Lines = list[str]


class _Explained(Exception):
    """It has been said."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines


class Explains:
    """Says it first, and keeps the others from saying theirs: of this hook pytest calls all that there are."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> None:
        """Say where large bytes begin to differ."""
        if op == "==" and isinstance(left, bytes) and isinstance(right, bytes) and len(left) + len(right) >= LARGE:
            raise _Explained(_difference(left, right))


class Listens:
    """Takes what was said for the answer."""

    @pytest.hookimpl(wrapper=True)
    def pytest_assertrepr_compare(self) -> Generator[None, list[Lines], list[Lines]]:
        """Return it alone."""
        try:
            return (yield)
        except _Explained as explained:
            return [explained.lines]


def _difference(left: bytes, right: bytes) -> Lines:
    at = next((at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), None)
    at = min(len(left), len(right)) if at is None else at
    return [
        f"{len(left)} bytes == {len(right)} bytes",
        f"they differ from byte {at} on: {left[at : at + 20]!r} != {right[at : at + 20]!r}",
    ]
