"""The package imports where POSIX is missing: nothing at import time asks for what Windows lacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "aiofs"
MODULES = [
    ".".join(("aiofs", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__main__.py"
]
# What other packages import, they import on Windows in their own way; it is loaded before POSIX goes.
BEFORE = """
import asyncio, concurrent.futures.thread, ctypes.util, http.client, importlib.metadata, json, logging.config
import multiprocessing, os, signal, socket, sqlite3, ssl, subprocess, sys, tempfile, types, zipfile
import aiobotocore.session, aiofiles, aiohttp, azure.storage.blob.aio, fsspec, hypothesis.stateful, pytest
import redis.asyncio, starlette.requests, starlette.responses, yaml
"""
WITHOUT_POSIX = """
for name in ("fcntl", "grp", "posix", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in {missing}:
    if hasattr(os, name):
        delattr(os, name)
del signal.SIGKILL, socket.AF_UNIX
def no_library(*args, **options):
    raise OSError("there is no such library")
ctypes.CDLL = no_library
sys.modules["msvcrt"] = types.SimpleNamespace(locking=None, LK_NBLCK=2, LK_UNLCK=0, get_osfhandle=None)
sys.platform, os.name = "win32", "nt"
failed = []
for module in {modules}:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed.append(f"{{module}}: {{type(error).__name__}}: {{error}}")
print(json.dumps(failed))
"""
MISSING = [
    "O_CLOEXEC",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_NONBLOCK",
    "O_PATH",
    "O_SYNC",
    "O_TMPFILE",
    "RWF_NOWAIT",
    "chown",
    "copy_file_range",
    "eventfd",
    "fchmod",
    "fork",
    "getegid",
    "geteuid",
    "getgid",
    "getuid",
    "mkfifo",
    "posix_fadvise",
    "posix_fallocate",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "register_at_fork",
    "sched_getaffinity",
    "sendfile",
    "splice",
    "statvfs",
    "sysconf",
    "uname",
    "waitid",
]


def test_every_module_imports_without_posix() -> None:
    program = BEFORE + WITHOUT_POSIX.format(missing=MISSING, modules=MODULES)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []
