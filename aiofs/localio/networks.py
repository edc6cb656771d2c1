"""Which folders lie on file systems that other machines may write too, where flock holds on one machine at best."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

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
"""How the system calls a FUSE file system on a disk of this machine, such as NTFS."""
_MOUNTS = "/proc/self/mountinfo"


def network_of(path: str) -> str | None:
    """Return what the file system at `path` (or what is there of the way to it) is called, if others may share it.

    `None` where it is this machine's alone, overlays and memory included, or that cannot be told. It may wait for a
    server.
    """
    if sys.platform != "linux":
        return None
    kind = None
    with suppress(ImportError, OSError, AttributeError):
        from aiofs.localio.linux import type_at  # noqa: PLC0415 -- not everywhere is there what it imports

        while (kind := type_at(os.fsencode(path))) is None and path != os.path.dirname(path):
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
