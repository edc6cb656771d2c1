"""One server for all processes of a run: the first that asks starts it, the others find it, and it ends with the run.

The leash of each server reads from a pipe that the process which began the run holds open, and nobody else: all servers
end when that process closes the pipe, or ends in whatever way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servers.process import ATTEMPTS, PATIENCE, ServerFailedError, answers, free_port, leashed, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FOLDER = pytest.StashKey[Path]()
"""The folder of the run, which all its processes know."""
PREFIX = "aiofs-servers-"
PIPE = "pipe"
NOTE = "started.json"
LITTER = "litter.txt"
"""In the folder of a server: the names of files that it leaves elsewhere."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder and the pipe of the run; in a process of it, take what it was given."""
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[FOLDER] = Path(given["servers"])
    elif sys.platform != "win32":
        sweep()
        config.stash[FOLDER] = folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        closed = folder / f"{PIPE}.closed"
        os.mkfifo(closed)
        held = os.open(closed, os.O_RDWR)
        closed.rename(folder / PIPE)  # from here on, a run that ended is known by a pipe that nobody holds
        config.add_cleanup(partial(end, folder, held))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Session) -> None:
    """Give the folder to a process that joins the run."""
    node.workerinput["servers"] = str(node.config.stash[FOLDER])  # type: ignore[attr-defined]  # xdist's node


def shared(
    config: pytest.Config,
    name: str,
    command: Callable[[int], Sequence[str]],
    *,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[int], object] = lambda _port: None,
) -> tuple[int, object]:
    """Return the port of a server of the run, and what `prepare` returned to the process that started it, in JSON."""
    folder = folder_of(config, name)
    note = folder / NOTE
    with alone(folder):
        if not note.exists():
            port = start(name, command, folder, environment)
            draft = folder / f"{NOTE}.draft"
            draft.write_text(json.dumps([port, prepare(port)]))
            draft.rename(note)  # a process that is killed leaves a whole note or none
    port, said = json.loads(note.read_text())
    return port, said


def start(
    name: str, command: Callable[[int], Sequence[str]], folder: Path, environment: Mapping[str, str] | None
) -> int:
    """Start a server that nobody waits for, and return its port once it answers."""
    for _ in range(ATTEMPTS):
        port = free_port()
        log = folder / f"{name}-{port}.log"
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(folder.parent / PIPE), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        line = leashed(command(port))
        process = os.posix_spawn(
            line[0], line, {**os.environ, **(environment or {})}, file_actions=actions, setsid=True
        )
        lives = partial(_lives, process)
        with contextlib.suppress(TimeoutError):
            wait_until(partial(answers, port), name, alive=lives)
            return port
        if lives():
            os.killpg(process, signal.SIGKILL)  # its session is its own
            os.waitpid(process, 0)
    message = f"{name} did not start:\n{log.read_text(errors='replace')}"
    raise ServerFailedError(message)


def _lives(process: int) -> bool:
    """Return whether a child process runs, also when its end was seen before."""
    try:
        return os.waitpid(process, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def folder_of(config: pytest.Config, name: str) -> Path:
    """Return the folder that all processes of the run have for `name`."""
    folder = config.stash[FOLDER] / name
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other process of the run into the block."""
    import fcntl  # noqa: PLC0415 -- not on every platform

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end(folder: Path, held: int) -> None:
    """Close the pipe, wait for the servers to end, and remove what they leave."""
    os.close(held)
    deadline = time.monotonic() + PATIENCE
    while is_held(folder) and time.monotonic() < deadline:
        time.sleep(0.02)  # the pipe stays closed for so long: the leashes see its end
    remove(folder)


def is_held(folder: Path) -> bool:
    """Return whether the run of that folder, or a server of it, still holds the pipe."""
    try:
        os.close(os.open(folder / PIPE, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno != errno.ENXIO
    return True


def remove(folder: Path) -> None:
    """Remove the folder of a run, and the files that its servers left elsewhere."""
    for litter in folder.glob(f"*/{LITTER}"):
        for name in litter.read_text().splitlines():
            Path(name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove what runs of this user left that were killed, and whose servers have ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and not is_held(folder):
                remove(folder)
