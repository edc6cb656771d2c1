"""`python -m aiofs probe URL`: what the store behind a URL really does."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from aiofs.probing import probe

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the URL."""
    parser.add_argument("url", help="the store, as aiofs.connect takes it: s3://bucket, redis://host/0, ./folder ...")


def run(arguments: argparse.Namespace) -> int:
    """Print what was found out, or the error, and return 0 if there is nothing to beware of."""
    try:
        report = asyncio.run(probe(arguments.url))
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write(f"{report}\n")
    return 1 if report.advice else 0
