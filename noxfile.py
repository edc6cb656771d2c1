"""Every check of the project: `nox` runs those that a change must pass, `nox -l` names all, `nox -s NAME` runs one.

Everything that is installed or written goes to ignored folders of the checkout.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

import nox

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
PLACES = (  # where version managers keep a Python, up to its version
    ".pyenv/versions/",
    ".local/share/uv/python/cpython-",
    ".local/share/mise/installs/python/",
    ".asdf/installs/python/",
)
HERE = Path(__file__).parent
PROJECT = nox.project.load_toml(HERE / "pyproject.toml")


def runs(program: Path, version: str) -> bool:
    """Whether `program` really is that Python: a version manager's shim may stand on PATH for one it does not run."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([program, "-c", question], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return answer.stdout.strip() == version


def interpreter(version: str) -> Path | None:
    """Where that Python lies: on PATH, or among those of a version manager."""
    on_path = shutil.which(f"python{version}")
    found = [Path(on_path)] if on_path else []
    for place in PLACES:
        found += sorted(Path.home().glob(f"{place}{version}*/bin/python{version}"))
    return next((program for program in found if runs(program, version)), None)


INTERPRETERS = {version: path for version in SUPPORTED if (path := interpreter(version))}
if not INTERPRETERS:
    raise SystemExit(f"aiofs needs one of Python {', '.join(SUPPORTED)}: none was found")
PRESENT = list(INTERPRETERS)
OLDEST, NEWEST = PRESENT[0], PRESENT[-1]

# Whoever looks for a Python from here on, uv and nox included, finds the ones that run.
os.environ["PATH"] = os.pathsep.join([*(str(path.parent) for path in INTERPRETERS.values()), os.environ["PATH"]])
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
# A run starts hundreds of processes: each would compile all that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# uv and node bring certificates of their own; a machine may stand behind an authority that only its system knows.
os.environ["UV_SYSTEM_CERTS"] = "1"
os.environ["NODE_USE_SYSTEM_CA"] = "1"
os.environ["PYRIGHT_PYTHON_CACHE_DIR"] = str(HERE / ".cache" / "pyright")
os.environ["PYRIGHT_PYTHON_IGNORE_WARNINGS"] = "1"

FULL = bool(os.environ.get("AIOFS_TEST_FULL"))


def pytest(least: int) -> tuple[str, ...]:
    """Return the command that runs tests in so many processes or more; each of them imports and collects everything."""
    return ("pytest", "-n", str(max(least, os.cpu_count() or 1)), "--dist", "worksteal", "--durations", "10")


# With servers much of a test's time is waiting, for them and for leases that end; without, there is little to wait for.
PYTEST, PYTEST_QUICK = pytest(4), pytest(3)

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    *("lint", "types", "docs"),
    *(f"tests-{version}" for version in dict.fromkeys((OLDEST, NEWEST))),
    *(["floors"] if FULL else []),
]


def install(session: nox.Session, *groups: str) -> None:
    """Install aiofs with all extras, and what `groups` of pyproject.toml name."""
    session.install("-e", ".[all]", *nox.project.dependency_groups(PROJECT, *groups))


def sample(session: nox.Session) -> list[str]:
    """Return what a run that is not full asks the newest Python for: what may differ between Pythons."""
    second = session.python == NEWEST != OLDEST and not FULL
    return ["--servers", "sample"] if second else []


@nox.session(python=NEWEST)
def lint(session: nox.Session) -> None:
    """Check style, with every rule of ruff on, and formatting."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", "--output-format", "concise")
    session.run("ruff", "format", "--check")


@nox.session(python=NEWEST)
def types(session: nox.Session) -> None:
    """Check types, by two checkers, and that everything public has some."""
    install(session, "test", "types")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "aiofs", "--ignoreexternal")


@nox.session(python=NEWEST)
def docs(session: nox.Session) -> None:
    """Build the documentation, a warning being an error."""
    install(session, "docs")
    session.env["NO_MKDOCS_2_WARNING"] = "1"
    session.run("mkdocs", "build", "--strict", "--quiet", "--site-dir", str(HERE / ".cache" / "site"))


@nox.session(python=PRESENT)
def tests(session: nox.Session) -> None:
    """Run all tests, or those that the arguments name, against servers that the run starts itself.

    The oldest Python asks every server everything. The newest, if the run is not full, runs what may differ between
    Pythons: the tests that need no server, without variants, and of the suite of each server a few behaviours.
    """
    install(session, "test")
    session.run("python", "tests/servers/azurite/install.py", silent=True)
    session.run(*PYTEST, *(session.posargs or sample(session)))
    if session.python == NEWEST:
        # pytest has the last word. What nox would add when all went well is no news; a failure still is.
        logging.disable(logging.WARNING)


@nox.session(python=OLDEST)
def quick(session: nox.Session) -> None:
    """Run the tests that need no server, to be waited for while one works."""
    install(session, "test")
    session.run(*PYTEST_QUICK, "--servers", "none", *session.posargs)


@nox.session(python=OLDEST, venv_backend="uv")
def floors(session: nox.Session) -> None:
    """Run all tests with the oldest versions that pyproject.toml allows of what aiofs depends on.

    A full run has this in it, without all examples of the long tests: those were tried with the newest versions.
    """
    groups = nox.project.dependency_groups(PROJECT, "test")
    session.install("--resolution", "lowest-direct", "-e", ".[all]", *groups)
    session.run(*PYTEST, *session.posargs, env={"AIOFS_TEST_FULL": ""})


@nox.session(python=NEWEST)
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those that the arguments name, side by side with what else there is."""
    install(session, "test", "bench")
    benchmarks = session.posargs or sorted(str(path) for path in Path("tests/benchmarks").glob("bench_*.py"))
    for benchmark in benchmarks:
        session.run("python", benchmark, env={"PYTHONPATH": "tests"})
