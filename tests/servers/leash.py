"""Run a command for as long as standard input stays open, so that no server outlives the tests, however they end.

`python leash.py COMMAND...`: the parent keeps the other end of standard input. When it closes it, or dies in whatever
way, the command is asked to end, and killed where it does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

PATIENCE = 5


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask `process` to end; kill it where it does not."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()


def watch(process: subprocess.Popen[bytes]) -> None:
    """Wait until nobody holds the other end of standard input, then end `process`."""
    while os.read(0, 1):
        pass
    end(process)


def main() -> int:
    """Run the command of the arguments on the leash and return its exit code."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=watch, args=(process,), daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
