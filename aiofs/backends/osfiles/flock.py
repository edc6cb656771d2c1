"""Locks on open files that die with their process: flock where there is one, msvcrt elsewhere."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from aiofs.errors import Unsupported

if sys.platform == "win32":
    import msvcrt

    def try_lock(fd: int) -> bool:
        """Lock the open file; return whether nobody else had it."""
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(fd: int) -> bool:
        """Lock the open file; return whether nobody else had it.

        :raises Unsupported: if the file system keeps no locks.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            reason = (
                f"the file system keeps no locks (flock: {error.strerror}): give locks=, another file system that "
                "keeps them (a RedisFileSystem, say)"
            )
            raise Unsupported(error.errno, reason) from error
        return True


def holder_of(fd: int) -> str | None:
    """Return which process locks the open file, where the system tells."""
    status = os.fstat(fd)
    with suppress(OSError), open("/proc/locks", encoding="utf-8") as table:
        for line in table:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].endswith(f":{status.st_ino}"):  # noqa: PLR2004
                return f"process {words[4]}"
    return None
