"""The fixtures for users' tests, in processes of their own, with the plugins that run coroutines."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent

import pytest

ENTRY = "aiofs.testing.fixtures"
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function", "-o")
VERBS = """
import pytest

async def test_verbs(aiofs_fs):
    await aiofs_fs.write_bytes("a/b", b"1")
    async with aiofs_fs.open("a/b", "a") as file:
        await file.write(b"2")
    assert await aiofs_fs.read_bytes("a/b") == b"12"
    assert await aiofs_fs.ls() == ["a/b"]
"""


def run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one file of tests, with pytest's own plugins and those that `options` name."""
    (folder / "test_it.py").write_text(dedent(test))
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", ENTRY, *options, str(folder)]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_pytest_finds_them() -> None:
    assert f'[project.entry-points.pytest11]\naiofs = "{ENTRY}"' in PROJECT.read_text("utf-8")
    found = [entry for entry in entry_points(group="pytest11") if entry.name == "aiofs"]
    assert [entry.value for entry in found] in ([ENTRY], [])  # the last, if the package was installed before


@pytest.mark.parametrize(
    ("options", "marks"),
    [
        ((*ASYNCIO, "asyncio_mode=auto"), ""),
        ((*ASYNCIO, "asyncio_mode=strict"), "pytestmark = pytest.mark.asyncio\n"),
        (
            ("-p", "anyio.pytest_plugin"),
            "pytestmark = pytest.mark.anyio\nanyio_backend = pytest.fixture(lambda: 'asyncio')\n",
        ),
    ],
    ids=["auto", "strict", "anyio"],
)
def test_every_plugin_runs_them(tmp_path: Path, options: tuple[str, ...], marks: str) -> None:
    result = run(tmp_path, VERBS + marks, *options)
    assert "3 passed" in result.stdout, result.stdout


def test_they_are_empty_and_need_no_asyncio(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        import pytest

        def test_blocking(aiofs_memory, aiofs_folder, aiofs_redis, tmp_path):
            for fs in (aiofs_memory, aiofs_folder, aiofs_redis):
                fs.blocking.write_text("file", "text")
                assert list(fs.blocking.ls()) == ["file"]
            assert (tmp_path / "file").read_text() == "text"

        def test_empty(aiofs_fs):
            assert list(aiofs_fs.blocking.ls()) == []

        @pytest.mark.parametrize("aiofs_fs", ["memory"], indirect=True)
        def test_some(aiofs_fs):
            assert type(aiofs_fs).__name__ == "MemoryFileSystem"

        @pytest.mark.parametrize("aiofs_fs", ["disk"], indirect=True)
        def test_wrong(aiofs_fs):
            pass
        """,
    )
    assert "5 passed, 1 error" in result.stdout, result.stdout
    assert "aiofs_fs is 'memory', 'folder' or 'redis', not 'disk'" in result.stdout


def test_they_cost_nothing_unused(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        import sys

        def test_nothing():
            loaded = {name for name in sys.modules if name.startswith("aiofs")}
            assert loaded == {"aiofs", "aiofs.testing", "aiofs.testing.fixtures"}
            assert "redis" not in sys.modules

        def test_memory(aiofs_memory):
            assert "aiofs.backends.redis" not in sys.modules
        """,
    )
    assert "2 passed" in result.stdout, result.stdout


def test_without_fakeredis_one_is_left_out(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        import sys

        sys.modules["fakeredis"] = None

        def test_any(aiofs_fs):
            pass

        def test_redis(aiofs_redis):
            pass
        """,
        "-rs",
    )
    assert "2 passed, 1 skipped, 1 error" in result.stdout, result.stdout
    assert result.stdout.count("pip install 'aiofs[redis]' 'fakeredis[lua]'") == 2
