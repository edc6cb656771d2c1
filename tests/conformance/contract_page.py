"""docs/contract.md, made of the suite: `python tests/conformance/contract_page.py` writes it anew."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contract.md"
CHAPTERS = ROOT / "aiofs" / "testing" / "contract"
ORDER = [
    "writing",
    "reading",
    "commit",
    "cancel",
    "writers",
    "waiting",
    "sessions",
    "locking",
    "matching",
    "updating",
    "handles",
    "partial",
    "names",
    "objects",
    "between",
    "listing",
    "removing",
    "wholes",
    "lasting",
    "signing",
    "life",
    "isolation",
    "transactions",
    "blocking",
]
HEAD = """# The contract

What every store and every layer of aiofs does, in numbered behaviours. Each one is a test in `aiofs.testing` with the
same number. Authors of [backends](write-a-backend.md) and [layers](layers.md) run these tests too. A store is tested
for what it declares; the end of a run lists the behaviours that were left out, with the reason.

This page is made from the docstrings of the suite.
"""


def page() -> str:
    """The page as it must be."""
    return "\n".join([HEAD, *(chapter(CHAPTERS / f"{name}.py") for name in ORDER)])


def chapter(path: Path) -> str:
    """One file of the suite: its title, and its behaviours by number."""
    tree = ast.parse(path.read_text("utf-8"))
    title = re.sub(r"^Behaviours? [^:]*\d[^:]*: ", "", first_line(tree))
    lines = [f"## {title[0].upper()}{title[1:].removesuffix('.')}", "", "| | behaviour | |", "|---|---|---|"]
    found = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)]
    named = [(re.match(r"test_(\d+)_(\w+)", node.name), node) for node in found]
    for match, node in sorted(((match, node) for match, node in named if match), key=lambda pair: int(pair[0][1])):
        words = first_line(node).replace("|", "\\|")
        lines.append(f"| {int(match[1])} | {words} | `{match[2]}` |")
    return "\n".join([*lines, ""])


def first_line(node: ast.Module | ast.AsyncFunctionDef | ast.FunctionDef) -> str:
    """What a docstring begins with."""
    return (ast.get_docstring(node) or "").partition("\n")[0]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
