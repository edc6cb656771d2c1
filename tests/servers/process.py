"""Start a server, wait until it answers, and end it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

LEASH = Path(__file__).with_name("leash.py")
HOST = "127.0.0.1"
NOBODY = 1
"""A port where nobody listens: servers of tests get none below 1024, while one that is free may soon be somebody's."""
PATIENCE = 60
ATTEMPTS = 3


class ServerFailedError(Exception):
    """A server did not start; the message holds what it printed."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody listens on `port`."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(ready: Callable[[], bool], what: str, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until `ready()`; raise TimeoutError naming `what` when it takes too long or `alive()` no longer holds."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if not alive() or time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


def leashed(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` for as long as its standard input stays open."""
    return [sys.executable, "-S", "-E", str(LEASH), *command]


@contextlib.contextmanager
def running(
    name: str,
    command: Callable[[int], Sequence[str]],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run the server that `command(port)` starts, its output in `folder`, and give its port once it answers.

    Another process may take the free port first: a server that ends at once is given another one.
    """
    for attempt in range(ATTEMPTS):
        port = free_port()
        log = folder / f"{name}-{port}.log"
        with _process(command(port), log, environment) as process:
            try:
                wait_until(partial(answers, port), name, alive=lambda: process.poll() is None)
            except TimeoutError as error:
                if attempt + 1 == ATTEMPTS:
                    message = f"{name} did not start:\n{log.read_text(errors='replace')}"
                    raise ServerFailedError(message) from error
                continue
            yield port
            return


@contextlib.contextmanager
def _process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            leashed(command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            # A session of its own: whoever kills the whole group of the tests leaves the leash, to end the server.
            start_new_session=True,
        ) as process,
    ):
        yield process
        # Leaving closes our end of its standard input: the leash ends the server, then itself.
