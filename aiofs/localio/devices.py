"""Which device a file is on, what may be done with it on the loop, and whether other machines may write there."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from aiofs.localio import linux

DISKS = {0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E}  # ext, xfs, btrfs, f2fs, zfs, bcachefs
MEMORY = {0x01021994, 0x858458F6}  # tmpfs, ramfs
STACKED = {0x794C7630, 0x73717368, 0xE0F5E1E2}  # overlay, squashfs, erofs
TRUST = 5.0
"""Seconds for which the number of a device without a disk is believed: the kernel uses such numbers again."""
NETWORKS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB",
    0xFF534D42: "CIFS",
    0x01021997: "9p",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x19830326: "BeeGFS",
    0x786F4256: "a shared folder of VirtualBox",
    0xBACBACBC: "a shared folder of VMware",
    0x7C7C6673: "a shared folder of Parallels",
}
FUSE = 0x65735546
FUSE_OF_A_DISK = "fuseblk"
"""What the system calls a FUSE file system on a disk of this machine, such as NTFS."""
_MOUNTS = "/proc/self/mountinfo"


@dataclass(slots=True)
class Device:
    """What may be done on the loop with files of one device. What is not known to be safe is done in a thread."""

    nowait: bool
    """A read may be tried that fails rather than wait. The first read that shows otherwise sets this to False."""
    memory: bool = False
    """Reads cannot wait at all."""
    local: bool = False
    """Opening for reading, asking for the status and closing never wait for another machine."""
    until: float = float("inf")

    @property
    def answers_at_once(self) -> bool:
        """Whether a file can be opened and read on the loop."""
        return self.local and (self.nowait or self.memory)


_known: dict[int, Device] = {}


def known_device(number: int) -> Device | None:
    """Return what was learned about the device `number`, if it still holds. This asks nothing of the device."""
    device = _known.get(number)
    return device if device is not None and device.until > monotonic() else None


def device_of(descriptor: int, number: int) -> Device:
    """Learn what the device `number` allows, from an open file on it. May wait, so call it in a worker thread."""
    device = known_device(number)
    if device is None:
        device = _known[number] = _learn(descriptor, number)
    return device


def forget(number: int) -> None:
    """Learn about the device `number` again when a file on it is next opened."""
    _known.pop(number, None)


def _learn(descriptor: int, number: int) -> Device:
    kind = None
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            kind = linux.type_of_file_system(descriptor)
    device = Device(hasattr(os, "RWF_NOWAIT"), kind in MEMORY, kind in DISKS or kind in MEMORY or kind in STACKED)
    if not os.major(number):
        device.until = monotonic() + TRUST
    return device


def network_of(path: str) -> str | None:
    """Return what the file system at `path` is called, if other machines may write there: flock is no lock for them.

    `None` if it belongs to this machine alone, as overlays and memory do, or if the system does not tell. If there is
    no file at `path` yet, this asks about the nearest folder above. It may wait for a server.
    """
    if sys.platform != "linux":
        return None
    kind = None
    with suppress(OSError, AttributeError):
        while (kind := linux.type_at(os.fsencode(path))) is None and path != os.path.dirname(path):
            path = os.path.dirname(path) or os.curdir
    if kind == FUSE:
        return _fuse_of(path)
    return None if kind is None else NETWORKS.get(kind)


def _fuse_of(path: str) -> str | None:
    """Return what a FUSE file system is called; `None` if it is on a disk of this machine."""
    with suppress(OSError):
        number = os.stat(path).st_dev
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                device, _, kind = line.partition(" - ")
                if device.split()[2] == f"{os.major(number)}:{os.minor(number)}":
                    name = kind.split()[0]
                    return None if name == FUSE_OF_A_DISK else name
    return "FUSE"
