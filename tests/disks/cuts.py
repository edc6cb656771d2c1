"""Power cuts: everything that may be left of a recorded program, at any moment of it, once more on a disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from disks.images import KINDS, Image, Kind, left, reported
from disks.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from disks.recorder import Event

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
SAMPLE = 40
"""So many moments an ordinary run takes."""


@dataclass
class Disk:
    """What a power cut left, made anew below `top`; the code has to be run with the recorder at work."""

    moment: int
    kind: Kind
    done: int
    """How often success had been reported."""
    top: Path
    recorder: Recorder
    image: Image

    def __str__(self) -> str:
        return f"{self.kind}, cut after {self.moment} events, of which {self.done} reported success"


@dataclass
class Cuts:
    """What was on a disk, and what was done to it then."""

    base: Image
    events: Sequence[Event]
    recorder: Recorder

    @classmethod
    def begin(cls, top: Path) -> Cuts:
        """Return those of a program that is about to be recorded."""
        recorder = Recorder(top)
        return cls(Image.of(recorder), recorder.events, recorder)

    def disks(self, folder: Path, *, at_most: int = SAMPLE) -> Iterator[Disk]:
        """Yield each disk that may be left, once for each number of successes; the last one is removed before."""
        known: set[tuple[int, str]] = set()
        moments = range(len(self.events) + 1) if FULL else self._some(at_most)
        for moment in moments:
            done = reported(self.events[:moment])
            for kind in KINDS:
                image = left(self.base, self.events[:moment], kind)
                if (done, repr(image)) in known:
                    continue
                known.add((done, repr(image)))
                top = folder / "disk"
                shutil.rmtree(top, ignore_errors=True)
                numbers = image.put(top)
                yield Disk(moment, kind, done, top, self.recorder.moved(top, numbers), image)

    def after(self, disk: Disk) -> Cuts:
        """Return those of what was done to a disk that was left: nothing was lost in it, or all that may be."""
        if disk.kind == "all of it":
            return Cuts(self.base, [*self.events[: disk.moment], *disk.recorder.events], disk.recorder)
        return Cuts(disk.image, disk.recorder.events, disk.recorder)

    def _some(self, at_most: int) -> list[int]:
        """Return some moments, those right after a success among them."""
        step = max(1, len(self.events) // at_most)
        successes = [moment + 1 for moment in range(len(self.events)) if reported(self.events[moment : moment + 1])]
        return sorted({*range(0, len(self.events) + 1, step), *successes})
