"""What `import aiofs` costs over a bare interpreter. The goal: less than 60 ms."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 20
PROGRAMS = {
    "bare Python": "",
    "import asyncio": "import asyncio",
    "import aiofs": "import aiofs",
    "... and a file system": "import aiofs; aiofs.OSFileSystem('data')",
}


def milliseconds(program: str) -> float:
    """How long an interpreter takes for `program`, start and end included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Interleave the programs, and print the median of each."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            taken[name].append(milliseconds(program))
    bare = statistics.median(taken["bare Python"])
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:24} {median:7.1f} ms  {median - bare:+7.1f}")


if __name__ == "__main__":
    main()
