"""The page of the contract says what the suite tests."""

from __future__ import annotations

import re

from conformance.contract_page import CHAPTERS, ORDER, PAGE, page


def test_the_page_is_the_suite() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python tests/conformance/contract_page.py`"


def test_every_chapter_is_on_the_page() -> None:
    assert {path.stem for path in CHAPTERS.glob("*.py") if " def test_" in path.read_text("utf-8")} == set(ORDER)


def test_every_number_is_there() -> None:
    numbers = {int(found) for found in re.findall(r"^\| (\d+) \|", page(), re.MULTILINE)}
    assert set(range(1, 94)) <= numbers
