"""What may be done on the loop with the files of a device, remembered per device."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

DISKS = {0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E}  # ext, xfs, btrfs, f2fs, zfs, bcachefs
MEMORY = {0x01021994, 0x858458F6}  # tmpfs, ramfs
STACKED = {0x794C7630, 0x73717368, 0xE0F5E1E2}  # overlay, squashfs, erofs
TRUST = 5.0
"""Seconds for which the number of a device without a disk is believed: such numbers are used again."""


@dataclass(slots=True)
class Device:
    """What one device allows. Whatever is not known to be safe is done in a thread."""

    nowait: bool
    """A read may be tried that fails rather than wait. Set to False by the first read that shows otherwise."""
    memory: bool = False
    """Reads cannot wait at all."""
    local: bool = False
    """Opening for reading, asking for the status and closing never wait for anybody else."""
    until: float = float("inf")

    @property
    def answers_at_once(self) -> bool:
        """Whether a file can be opened and read on the loop."""
        return self.local and (self.nowait or self.memory)


_known: dict[int, Device] = {}


def known_device(number: int) -> Device | None:
    """Return what was learned of the device `number`, if it was and still holds. Asks nothing of the device."""
    device = _known.get(number)
    return device if device is not None and device.until > monotonic() else None


def device_of(descriptor: int, number: int) -> Device:
    """Learn what the device `number` allows, from an open file of it. May wait: for a worker thread."""
    device = known_device(number)
    if device is None:
        device = _known[number] = _learn(descriptor, number)
    return device


def forget(number: int) -> None:
    """Learn the device `number` anew when it is met next."""
    _known.pop(number, None)


def _learn(descriptor: int, number: int) -> Device:
    kind = _kind(descriptor)
    device = Device(hasattr(os, "RWF_NOWAIT"), kind in MEMORY, kind in DISKS or kind in MEMORY or kind in STACKED)
    if not os.major(number):
        device.until = monotonic() + TRUST
    return device


def _kind(descriptor: int) -> int | None:
    """Return the type of the file system that `descriptor` is on, where it can be told."""
    if sys.platform == "linux":
        with suppress(ImportError, OSError, AttributeError):
            from aiofs.localio.linux import type_of_file_system  # noqa: PLC0415 - not everywhere is there what it imports

            return type_of_file_system(descriptor)
    return None
