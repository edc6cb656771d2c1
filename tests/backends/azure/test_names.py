"""What the service can hold, and how metadata is spelled for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiofs.backends.azure.names import check_name, from_headers, to_headers


@pytest.mark.parametrize(
    "path",
    ["a" * 1025, "a/" * 254 + "a", "a\\b", "folder./file", "file.", "a\nb", "a\x85b", "a\uffffb", "\U0001f600" * 513],
)
def test_what_the_service_cannot_hold_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="Azure"):
        check_name(path)


@pytest.mark.parametrize("path", ["a" * 1024, ".hidden", "a b", "a%2Fb#?&+", "é\U0001f600", "CON", "a..b"])
def test_what_is_only_odd_is_not(path: str) -> None:
    check_name(path)


@given(st.dictionaries(st.text(), st.text()))
def test_metadata_survives_headers(metadata: dict[str, str]) -> None:
    headers = to_headers(metadata)
    assert len({key.lower() for key in headers}) == len(headers)
    assert all(key.isascii() and value.isascii() and value == value.strip() for key, value in headers.items())
    assert from_headers(headers) == metadata


def test_what_other_programs_wrote_is_read_as_it_is() -> None:
    foreign = {"Author": "me", "rate": "100%20", "aiofs_zz": "=x", "aiofs_61": "plain"}
    assert from_headers(foreign) == foreign
