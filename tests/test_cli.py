"""The command line."""

from __future__ import annotations

import pytest

from aiofs.cli import main


@pytest.mark.usefixtures("nursery")  # what starts the children that are killed outlives the test
def test_demo_shows_what_the_package_does(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    shown = capfd.readouterr().out
    for store in ("a local folder", "memory"):
        part = shown.partition(f"Files in {store}\n")[2]
        assert "anybody else sees it: False" in part
        assert "another writer has this file open" in part
        assert r"changed in place        b'first LINE\nsecond line\n'" in part
        assert r"the old bytes stayed: b'first LINE\nsecond line\n'" in part


def test_unknown_verb_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    assert "dance" in capfd.readouterr().err
