"""Who may know whom: the rooms of the package, read from their imports.

A backend, or a layer, can be read with only `driver.py` open; that holds because nothing else is known to it.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aiofs"
EDGES = frozenset({"__main__", "cli"})

STDLIB_ONLY = frozenset({"calls", "errors", "loops", "modes", "paths", "patterns", "shield", "textformat"})
BELOW_A_STORE = STDLIB_ONLY | frozenset(
    {"driver", "localio", "locks", "powers", "properties", "sessions", "spool", "threads", "tokens"}
)
HANDLES = frozenset({"editing", "file", "handles", "reading", "text", "textahead", "writing"})
SYSTEM = frozenset({"adapter", "copying", "filesystem", "listing", "opening", "system"})
OVER_SYSTEMS = frozenset({"stores", "transactions", "urls"})

# What a room may know. Rooms that are not named here know nothing but the standard library: a new one needs its line.
KNOWS: dict[str, frozenset[str]] = {
    **dict.fromkeys(STDLIB_ONLY, frozenset()),
    "threads": STDLIB_ONLY,
    "localio": STDLIB_ONLY | {"threads"},
    "properties": STDLIB_ONLY,
    "driver": STDLIB_ONLY | {"properties"},
    "powers": STDLIB_ONLY | {"driver"},
    "tokens": STDLIB_ONLY,
    "spool": STDLIB_ONLY | {"driver", "threads"},
    "locks": STDLIB_ONLY | {"driver"},
    "sessions": STDLIB_ONLY | {"driver"},
    "layers": STDLIB_ONLY | {"driver", "powers", "spool", "threads", "tokens"},
    "backends": BELOW_A_STORE,
    **dict.fromkeys(HANDLES, STDLIB_ONLY | {"driver", "spool", "threads"} | HANDLES),
    **dict.fromkeys(SYSTEM, BELOW_A_STORE | HANDLES | SYSTEM),
    **dict.fromkeys(OVER_SYSTEMS, BELOW_A_STORE | HANDLES | SYSTEM | OVER_SYSTEMS | {"backends", "layers"}),
    "aiofiles": BELOW_A_STORE | HANDLES | {"urls"},
    **dict.fromkeys(("os", "tempfile"), frozenset({"aiofiles"})),
    "testing": BELOW_A_STORE | HANDLES | SYSTEM | OVER_SYSTEMS | {"backends", "layers"},
    "__init__": BELOW_A_STORE | HANDLES | SYSTEM | OVER_SYSTEMS | {"aiofiles", "backends", "layers", "os", "tempfile"},
    **dict.fromkeys(
        EDGES, BELOW_A_STORE | HANDLES | SYSTEM | OVER_SYSTEMS | EDGES | {"__init__", "backends", "layers"}
    ),
}
# What a room may know only while it runs, so that importing it does not bring the other one along.
LATER: dict[str, frozenset[str]] = {"aiofiles": frozenset({"stores"}), "filesystem": frozenset({"layers"})}

SDKS = {"aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "hiredis", "redis", "starlette", "yaml"}
SLOW_STDLIB = {
    "email",
    "http",
    "multiprocessing",
    "sqlite3",
    "ssl",
    "tempfile",
    "unittest",
    "urllib.request",
    "zipfile",
}


@dataclass(frozen=True)
class Import:
    """One import of a module of this package, and how it is made."""

    importer: str
    imported: str
    later: bool

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}{' in a function' if self.later else ''}"


def module_of(path: Path) -> str:
    """The dotted name of a file, relative to the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> list[Import]:
    """What a file imports of this package, for types included."""
    importer = module_of(path)
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    return [
        Import(importer, imported, id(node) in inside)
        for node in ast.walk(tree)
        for imported in names_in(node)
        if imported != importer
    ]


def names_in(node: ast.AST) -> list[str]:
    """The modules of this package that an import statement names; `__init__` for the package itself."""
    if isinstance(node, ast.Import):
        return [alias.name.removeprefix("aiofs.") for alias in node.names if alias.name.startswith("aiofs.")]
    if isinstance(node, ast.ImportFrom) and node.module == "aiofs":
        return [alias.name if is_module(alias.name) else "__init__" for alias in node.names]
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiofs."):
        return [str(node.module).removeprefix("aiofs.")]
    return []


def is_module(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


def room(module: str) -> str:
    return module.partition(".")[0]


def backend(module: str) -> str:
    return module.split(".")[1] if module.startswith("backends.") else ""


FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def imports() -> list[Import]:
    """What all files import; read when a test first asks, as each worker of a run loads this module."""
    return [found for path in FILES for found in imports_of(path)]


def test_every_room_has_its_place() -> None:
    assert {room(module_of(path)) for path in FILES} == set(KNOWS)


def test_rooms_know_only_whom_they_may() -> None:
    forbidden = [
        found
        for found in imports()
        if room(found.imported) not in {room(found.importer)} | KNOWS[room(found.importer)]
        and not (found.later and room(found.imported) in LATER.get(room(found.importer), ()))
    ]
    assert not forbidden, "\n".join(map(str, forbidden))


def test_backends_do_not_know_each_other() -> None:
    forbidden = [
        found
        for found in imports()
        if backend(found.importer) and backend(found.imported) and backend(found.imported) != backend(found.importer)
    ]
    assert not forbidden, "\n".join(map(str, forbidden))


def test_imports_are_absolute() -> None:
    relative = [
        module_of(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


MODULES = [f"aiofs.{module_of(path)}" for path in FILES if module_of(path) not in {"__init__", "__main__"}]


def run(program: str) -> list[str]:
    """What a bare interpreter prints for `program`, as a list."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    answer: list[str] = json.loads(result.stdout)
    return answer


LOADS = "import sys; bare = set(sys.modules); import aiofs, json\n{use}\nprint(json.dumps([*set(sys.modules) - bare]))"


def test_importing_the_package_is_cheap() -> None:
    loaded = set(run(LOADS.format(use="")))
    assert "aiofs" in loaded
    assert not loaded & SLOW_STDLIB
    assert not {name for name in loaded if name.partition(".")[0] in SDKS}


def test_naming_a_file_system_loads_no_sdk() -> None:
    loaded = set(run(LOADS.format(use="[getattr(aiofs, name) for name in aiofs.__all__]")))
    assert not {name for name in loaded if name.partition(".")[0] in SDKS}
    assert not {name for name in loaded if name.startswith("aiofs.") and room(name.removeprefix("aiofs.")) in EDGES}


WITHOUT_SDK = """
import importlib, json, sys
sys.modules[{sdk!r}] = None
silent = []
for module in {modules}:
    try:
        importlib.import_module(module)
    except ImportError as error:
        if {hint!r} not in str(error):
            silent.append(f"{{module}}: {{error}}")
print(json.dumps(silent))
"""


@pytest.mark.parametrize(
    ("extra", "sdk"),
    [
        ("redis", "redis"),
        ("s3", "aiobotocore"),
        ("azure", "azure"),
        ("testing", "pytest"),
        ("yaml", "yaml"),
        ("web", "starlette"),
    ],
)
def test_no_module_needs_an_extra_that_is_not_its_own(extra: str, sdk: str) -> None:
    """Without its SDK a backend's modules may fail, with the hint what to install; all others import."""
    program = WITHOUT_SDK.format(sdk=sdk, hint=f"pip install aiofs[{extra}]", modules=MODULES)
    assert not run(program)
