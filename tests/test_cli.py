"""The command line."""

from __future__ import annotations

import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
import redis

from aiofs.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("child_processes")  # what starts the children that are killed outlives the test
def test_demo_shows_what_the_package_does(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    shown = capfd.readouterr().out
    for store in ("a local folder", "memory"):
        part = shown.partition(f"Files in {store}\n")[2]
        assert "others see it: False" in part
        assert "this file is being written" in part
        assert r"changed in place        b'first LINE\nsecond line\n'" in part
        assert r"the old bytes stayed: b'first LINE\nsecond line\n'" in part


def test_unknown_verb_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dance"])
    assert ended.value.code == 2
    assert "dance" in capfd.readouterr().err


def test_its_version_is_the_packages(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capfd.readouterr().out == f"aiofs {version('aiofs')}\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["redis://user:hunter2@host:port/0"], "Port could not be cast"),
        (["gopher://hunter2@host"], "scheme 'gopher' is unknown"),
        (["s3://key:hunter2@bucket"], "credentials belong in the environment"),
        (["file:///tmp", "--kills", "-1"], "'-1' is not a number of steps"),
        (["file:///tmp", "--kills", "0"], "'0' is not a number of steps"),
        (["file:///tmp", "--kills", "all"], "'all' is not a number of steps"),
        ([], "required: url"),
    ],
)
def test_torture_says_what_is_wrong_with_its_arguments(
    words: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a line, and without the password."""
    with pytest.raises(SystemExit) as ended:
        main(["torture", *words])
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert why in said
    assert "hunter2" not in said
    assert "Traceback" not in said


def test_torture_of_a_store_that_cannot_be_used(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["torture", f"redis://:hunter2@127.0.0.1:{port}/0"]) == 2
    said = capfd.readouterr()
    assert said.out.startswith("the store cannot be used: [Errno")
    assert "hunter2" not in said.out + said.err


@pytest.mark.usefixtures("child_processes")
def test_torture_takes_as_many_steps_as_it_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first and the last among them."""
    assert main(["torture", tmp_path.as_uri(), "--kills", "3"]) == 0
    shown = capfd.readouterr().out
    steps = int(shown.partition("A transaction of ")[2].partition(" ")[0])
    assert "it is killed at 3 of them" in shown
    killed = [
        int(line.split()[0]) for line in shown.splitlines() if line.endswith(("before", "after")) and "x" not in line
    ]
    assert killed == [1, 1 + (steps - 1) // 2, steps]
    assert not list(tmp_path.rglob("*"))


@pytest.mark.usefixtures("child_processes")
def test_torture_waits_for_the_locks_of_the_dead(valkey_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """On stores whose locks run out, the next transaction begins when the one before has none any more."""
    assert main(["torture", f"{valkey_url}?lease=5", "--kills", "3"]) == 0
    shown = capfd.readouterr().out
    assert "NEITHER" not in shown
    assert "ORPHANS" not in shown
    with redis.Redis.from_url(valkey_url) as client:
        assert not client.keys("*")
