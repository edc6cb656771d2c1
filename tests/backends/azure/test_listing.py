"""From the service's order to that of UTF-8 bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiofs.backends.azure.listing import CodePointSorter
from aiofs.driver import Entry

NAMES = st.text(st.sampled_from("a\ud7ff\ue000\uffef\U00010000\U0001f600".replace("\ud7ff", "\u4e2d")), max_size=6)


@given(st.lists(NAMES, unique=True))
def test_sorted_as_utf8(names: list[str]) -> None:
    sorter = CodePointSorter()
    given_back: list[str] = []
    for name in sorted(names, key=lambda name: name.encode("utf-16-be")):
        given_back += [entry.path for entry in sorter.take(Entry(name))]
    given_back += [entry.path for entry in sorter.rest()]
    assert given_back == sorted(names, key=str.encode)


def test_only_what_has_such_characters_waits() -> None:
    sorter = CodePointSorter()
    assert [entry.path for entry in sorter.take(Entry("a"))] == ["a"]
    assert list(sorter.take(Entry("a\U0001f600"))) == []
    assert [entry.path for entry in sorter.take(Entry("a\ue000"))] == ["a\ue000"]
    assert [entry.path for entry in sorter.take(Entry("b"))] == ["a\U0001f600", "b"]
