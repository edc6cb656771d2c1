"""What bench_local.py has measured, as tables and a plot in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PLOT = DOCS / "benchmarks.md", DOCS / "benchmarks-local.svg"
BEGIN, END = "<!-- local files: written by tests/benchmarks/bench_local.py -->", "<!-- end of local files -->"
CONTENDERS = ("blocking", "aiofiles", "aiofile", "anyio", "aiofs")
SHADES = {"aiofile": "#b9b9b9", "anyio": "#8a8a8a", "aiofs": "#3b6ea5"}

TEXT = """\
## Local files

{system}, ext4, all in the page cache, one process on {processors}. Microseconds of the processor's time per operation,
so that other programs do not count: the median of the rounds, in which the contenders take turns, in any order. What
they write is a new file each time, and its removal is not counted. The last two columns are ratios of those medians,
with the goal. Microseconds are this machine's; ratios travel.

{pinned}

![How many times faster than aiofiles]({plot})

One task that reads lines keeps the others waiting for {hold:.2f} ms of work at most (the goal: 1 ms).

### Where reads cannot be tried without waiting

The same disk, taken for one whose file system does not know `RWF_NOWAIT` (overlay, for example): every read from it
needs a thread.

{without_nowait}

### On uvloop

{uvloop}

### Goals that were missed in this run

{misses}

On a machine that others use the ratios move by a tenth from run to run, so that what is near its goal may meet it in
one run and miss it in the next. Lines of text are nearest (3.0 to 3.4 × blocking): a line costs one `await`, one `str`
and its share of two decodings, one by Python's text layer and one beside it, of which many lines are split at a time.
Writes of 1 MiB are the system's work: what aiofiles, anyio and aiofs differ by there is chance.

### Again, elsewhere

`nox -s bench -- tests/benchmarks/bench_local.py` measures and rewrites this section. Pinned to one processor
(`taskset -c 1 nox ...`) is the floor: with more, libraries that hop to a thread for every call get slower still.
"""


@dataclass
class Row:
    """A workload, its goals (at least × aiofiles, at most × blocking), and the median seconds of each contender."""

    name: str
    unit: str
    times_aiofiles: float | None
    times_blocking: float | None
    seconds: dict[str, float]

    @property
    def faster(self) -> float:
        return self.seconds["aiofiles"] / self.seconds["aiofs"]

    @property
    def slower(self) -> float:
        return self.seconds["aiofs"] / self.seconds["blocking"]

    @property
    def missed(self) -> list[str]:
        found = []
        if self.times_aiofiles is not None and round(self.faster, 2) < self.times_aiofiles:
            found.append(f"{self.faster:.2f} × aiofiles, not {self.times_aiofiles:g}")
        if self.times_blocking is not None and round(self.slower, 2) > self.times_blocking:
            found.append(f"{self.slower:.2f} × blocking, not {self.times_blocking:g}")
        return found

    def cells(self) -> list[str]:
        goals = [
            *([f"≥ {self.times_aiofiles:g} ×"] if self.times_aiofiles is not None else ["–"]),
            *([f"≤ {self.times_blocking:g} ×"] if self.times_blocking is not None else ["–"]),
        ]
        figures = [microseconds(self.seconds[name]) for name in CONTENDERS]
        ratios = [f"**{self.faster:.1f}** ({goals[0]})", f"**{self.slower:.2f}** ({goals[1]})"]
        return [self.unit, *figures, *ratios]

    def __str__(self) -> str:
        figures = " ".join(f"{name} {microseconds(self.seconds[name]):>9}" for name in CONTENDERS)
        verdict = "; ".join(self.missed) or "goals met"
        return f"{self.name:12} {figures}  × aiofiles {self.faster:6.1f}  × blocking {self.slower:5.2f}  {verdict}"


@dataclass
class Report:
    """Everything that one run has measured."""

    pinned: list[Row]
    without_nowait: list[Row]
    uvloop: list[Row]
    hold: float

    def write(self) -> None:
        """Write the tables between their marks in the page, and the plot beside it."""
        page = PAGE.read_text() if PAGE.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
        if BEGIN not in page:
            page = f"{page.rstrip()}\n\n{BEGIN}\n{END}\n"
        before, rest = page.split(BEGIN, 1)
        after = rest.split(END, 1)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{self.text()}\n{END}{after}")
        plot(self.pinned)

    def text(self) -> str:
        """Return the section of the page."""
        return TEXT.format(
            system=f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}",
            processors=processors(),
            pinned=table(self.pinned),
            plot=PLOT.name,
            hold=self.hold * 1000,
            without_nowait=table(self.without_nowait),
            uvloop=table(self.uvloop),
            misses=self.misses(),
        )

    def misses(self) -> str:
        """Say which goals were missed, and by how much."""
        tables = {"": self.pinned, "without `RWF_NOWAIT`: ": self.without_nowait, "uvloop: ": self.uvloop}
        found = [
            f"- {where}{row.unit}: {miss}" for where, rows in tables.items() for row in rows for miss in row.missed
        ]
        return "\n".join(found) or "None."


def processors() -> str:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "one processor" if count == 1 else f"{count} processors"


def microseconds(seconds: float) -> str:
    value = seconds * 1e6
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def table(rows: list[Row]) -> str:
    head = ["", *CONTENDERS, "× aiofiles", "× blocking"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row.cells())} |" for row in rows])


def plot(rows: list[Row]) -> None:
    """Draw how many times faster than aiofiles each contender is."""
    import matplotlib as mpl  # noqa: PLC0415 - needed for this alone

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "aiofs"
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(9, 0.55 * len(rows) + 1))
    height = 0.8 / len(SHADES)
    for place, (name, shade) in enumerate(SHADES.items()):
        ratios = [row.seconds["aiofiles"] / row.seconds[name] for row in rows]
        positions = [number - (place - 1) * height for number in range(len(rows), 0, -1)]
        axes.barh(positions, ratios, height, label=name, color=shade)
    axes.set_yticks(range(len(rows), 0, -1), [row.unit for row in rows])
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than aiofiles")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})
