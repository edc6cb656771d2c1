"""What a failed comparison says, where pytest does not cut its words short."""

from __future__ import annotations

import pytest


@pytest.mark.timeout(20)  # all that differs would take minutes
def test_large_bytes_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    read = bytearray(3_000_000)
    read[2_000_000] = 1
    with pytest.raises(AssertionError) as caught:
        assert bytes(read) == bytes(3_000_001)
    assert "3000000 bytes == 3000001 bytes" in str(caught.value)
    assert "differ from byte 2000000 on" in str(caught.value)


def test_what_is_not_large_is_explained_as_ever() -> None:
    read = b"read"
    with pytest.raises(AssertionError) as caught:
        assert read == b"written"
    assert "At index 0 diff" in str(caught.value)
