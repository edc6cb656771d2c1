"""Every example of the README and the documentation runs, in the order of its page.

Blocks marked `python` are executed, `await` being allowed outside of functions; all blocks of a page share their names,
an event loop and an empty folder. Blocks marked `console` show commands after `$` and what they print: those of ours
are run there too, and must succeed. The servers that examples name stand ready: `PLACES` says where.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>python|console)\b[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
OURS = ("python -m aiofs ", "aiofs ")


@dataclass(frozen=True)
class Block:
    """One fenced block, its text as deep in lines as on its page."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """What `page` shows that can be run."""
    source = page.read_text("utf-8")
    return [
        Block(found["kind"], inspect.cleandoc("\n" + found["text"]) + "\n", source.count("\n", 0, found.start("text")))
        for found in BLOCK.finditer(source)
    ]


WITH_EXAMPLES = [page for page in PAGES if blocks(page)]


def stand_ready(text: str, request: pytest.FixtureRequest) -> str:
    """Start what `text` names, and return it with the places where that is instead of the usual ones."""
    for usual, (_, place) in PLACES.items():
        if usual in text:
            text = text.replace(usual, place(request))
    return text


def valkey(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("valkey_url")
    return url.removesuffix("/0")


def s3(request: pytest.FixtureRequest) -> S3Server:
    """A server, and its keys where AWS's own tools look for them."""
    server: S3Server = request.getfixturevalue("s3_server")
    environment = request.getfixturevalue("monkeypatch")
    environment.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    environment.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    environment.setenv("AWS_DEFAULT_REGION", server.region)
    return server


def azure(request: pytest.FixtureRequest) -> AzureAccount:
    account: AzureAccount = request.getfixturevalue("azurite")
    return account


PLACES: dict[str, tuple[str, Callable[[pytest.FixtureRequest], str]]] = {
    "redis://localhost:6379": ("redis", valkey),
    "http://localhost:9000": ("s3", lambda request: s3(request).endpoint_url),
    "my-bucket": ("s3", lambda request: s3(request).bucket),
    "UseDevelopmentStorage=true": ("azure", lambda request: azure(request).connection_string),
    "my-container": ("azure", lambda request: azure(request).container),
}
"""What examples name, the server that it means, and where that is in a test."""


def asking(page: Path) -> Any:
    """A page as a parameter, with the servers that its examples ask."""
    text = "".join(block.text for block in blocks(page))
    servers = {server for usual, (server, _) in PLACES.items() if usual in text}
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=pytest.mark.asks(*servers))


@pytest.mark.parametrize("page", [asking(page) for page in WITH_EXAMPLES])
def test_examples_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    with asyncio.Runner() as runner:
        for block in blocks(page):
            text = stand_ready(block.text, request)
            if block.kind == "python":
                execute(text, page, block.line, names, runner)
            else:
                for command in commands(text):
                    subprocess.run(command, check=True, capture_output=True)


def execute(text: str, page: Path, line: int, names: dict[str, Any], runner: asyncio.Runner) -> None:
    """Run one block; a failure points into its page."""
    source = "\n" * line + text
    code = compile(source, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(awaited(code, names))
    else:
        exec(code, names)


async def awaited(code: Any, names: dict[str, Any]) -> None:
    await eval(code, names)


def commands(text: str) -> list[list[str]]:
    """The commands of ours that a console shows, with this Python."""
    shown = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    return [
        [sys.executable, "-m", "aiofs", *shlex.split(line.removeprefix(ours))]
        for line in shown
        for ours in OURS
        if line.startswith(ours)
    ]


def test_the_front_pages_have_examples() -> None:
    assert {page.name for page in WITH_EXAMPLES} >= {"README.md", "index.md"}


def test_the_tests_are_run_as_the_readme_says() -> None:
    shown = [line.removeprefix("$ ") for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    assert (ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-1] in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]
