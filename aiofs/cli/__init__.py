"""The command line: one verb a module, `python -m aiofs VERB`."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "demo": "show writing, reading, a refused second writer and an aborted write, on this machine alone",
    "probe": "find out what the store behind a URL really does: locks, conditional writes, order, names",
    "torture": "kill a transaction at every step, recover it, and tell what is there then",
}


class Verb(Protocol):
    """What the module of a verb has."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Say which arguments the verb takes."""

    @staticmethod
    def run(arguments: argparse.Namespace) -> int:
        """Do it, and return the exit status."""
        ...


def main(words: Sequence[str] | None = None) -> int:
    """Run the verb that the words name, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiofs", description="Files wherever they live, from asyncio.")
    parser.add_argument("--version", action="version", version=f"aiofs {version('aiofs')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    modules = {}
    for name, purpose in VERBS.items():
        modules[name] = cast("Verb", import_module(f"aiofs.cli.{name}"))
        modules[name].add_arguments(verbs.add_parser(name, help=purpose, description=purpose))
    arguments = parser.parse_args(words)
    return modules[arguments.verb].run(arguments)
