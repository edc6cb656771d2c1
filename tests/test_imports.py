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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "aiofs"
EDGES = frozenset({"__main__", "cli"})

# What a room may know, as docs/design.md has it. A room that is not named here may know only the standard library.
BASIC = frozenset({"clock", "errors", "modes", "names", "properties"})
WAIST = BASIC | {"driver", "powers"}
SHARED = WAIST | {"kit", "lifetimes", "locks", "partials", "sources", "threads", "tokens", "waiting"}
SYSTEMS = frozenset({"bare", "browsing", "copying", "filesystem", "listing", "system", "wholes"})
OVER_SYSTEMS = frozenset(
    {"between", "path", "pathcontent", "pathnames", "probing", "stores", "transactions", "urls", "work"}
)
ALL = SHARED | SYSTEMS | OVER_SYSTEMS | {"backends", "files", "layers"}

KNOWS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("clock", "errors", "lifetimes", "modes", "names"), frozenset()),
    "threads": frozenset({"lifetimes"}),
    "properties": frozenset({"errors"}),
    "driver": BASIC,
    "powers": frozenset({"driver"}),
    "partials": frozenset({"clock", "errors"}),
    "tokens": frozenset({"errors", "names"}),
    "locks": WAIST | {"lifetimes", "waiting"},
    "kit": WAIST | {"lifetimes", "locks", "threads"},
    "localio": frozenset({"lifetimes", "threads"}),
    "layers": SHARED,
    "backends": SHARED | {"localio"},
    "files": SHARED,
    "waiting": WAIST | {"lifetimes"},
    "sources": BASIC | {"lifetimes", "threads"},
    "wholes": WAIST | {"files", "kit", "lifetimes", "sources", "threads", "waiting"},
    "listing": WAIST,
    "system": WAIST | {"files", "listing", "locks", "sources", "waiting", "wholes"},
    "bare": SHARED | {"system"},
    "browsing": WAIST | {"lifetimes", "listing", "system"},
    "copying": SHARED | {"browsing"},
    "updating": SHARED | {"files"},
    "filesystem": SHARED | {"updating", "copying", "files", "layers", "listing", "system"},
    "stores": SHARED | {"backends", "filesystem", "layers", "system"},
    "pathnames": SHARED | SYSTEMS,
    "pathcontent": SHARED | SYSTEMS | {"files", "pathnames"},
    "path": SHARED
    | {"copying", "files", "filesystem", "listing", "pathcontent", "pathnames", "stores", "system", "urls"},
    "probing": SHARED | {"filesystem", "system", "urls"},
    "urls": SHARED | {"files", "filesystem", "stores"},
    "between": SHARED | {"copying", "filesystem", "path", "urls"},
    "transactions": SHARED | SYSTEMS | {"files"},
    "work": SHARED | SYSTEMS | {"files", "transactions"},
    "aiofiles": SHARED | {"localio", "stores", "urls"},
    "blocking": SHARED | SYSTEMS | {"between", "files", "path", "probing", "transactions", "urls"},
    **dict.fromkeys(("os", "tempfile"), frozenset({"aiofiles"})),
    "testing": ALL | {"blocking"},
    "__init__": ALL | {"aiofiles", "blocking", "os", "tempfile"},
    **dict.fromkeys(EDGES, ALL | EDGES | {"__init__", "testing"}),
}
# What a room looks up only when it is used, as it stands above it: `over`, `at`, `/` and `blocking` of a system, and
# `blocking` of a transaction. No other import, in a function or for types, may lead upwards.
LATER: dict[str, frozenset[str]] = {
    "path": frozenset({"between"}),
    "system": frozenset({"bare", "blocking", "filesystem", "path"}),
    "transactions": frozenset({"blocking"}),
}

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
        return f"{self.importer} imports {self.imported}{' in a function or for types' if self.later else ''}"


def module_of(path: Path) -> str:
    """The dotted name of a file, relative to the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, read once for all tests of a process."""
    return ast.parse(path.read_text("utf-8"))


def statements(path: Path) -> Iterator[tuple[ast.AST, bool]]:
    """All statements of a file, and whether each is in a function or for types."""
    todo: list[tuple[ast.AST, bool]] = [(tree_of(path), False)]
    while todo:
        node, later = todo.pop()
        yield node, later
        later = later or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or for_types(node)
        todo += [(child, later) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]


def imports_of(path: Path) -> list[Import]:
    """What a file imports of this package, for types included."""
    importer = module_of(path)
    return [
        Import(importer, imported, later)
        for node, later in statements(path)
        for imported in names_in(node)
        if imported != importer
    ]


def for_types(node: ast.AST) -> bool:
    """Whether this is a block that only type checkers read."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def names_in(node: ast.AST) -> list[str]:
    """The modules of this package that an import statement names; `__init__` for the package itself."""
    if isinstance(node, ast.Import):
        return [alias.name.removeprefix("aiofs.") for alias in node.names if alias.name.startswith("aiofs.")]
    if isinstance(node, ast.ImportFrom) and node.module == "aiofs":
        return [alias.name if is_module(alias.name) else "__init__" for alias in node.names]
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiofs."):
        return [f"{str(node.module).removeprefix('aiofs.')}.{alias.name}" for alias in node.names]
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


def test_the_client_of_fastdfs_knows_no_driver() -> None:
    client = "backends.fastdfs.client"
    others = {found.imported for found in imports() if found.importer.startswith(client)}
    assert {room(name) for name in others if not name.startswith(client)} == {"clock", "errors", "lifetimes"}


def test_no_circles() -> None:
    """Modules import each other in one direction, in functions and for types too, except `LATER` and packages."""
    arrows: dict[str, set[str]] = {}
    for found in imports():
        importer, imported = found.importer, module_named(found.imported)
        seam = found.later and room(imported) in LATER.get(room(importer), ())
        face = importer == "__init__" or importer.startswith(f"{imported}.") or imported.startswith(f"{importer}.")
        if not seam and not face:
            arrows.setdefault(importer, set()).add(imported)
    circle = a_circle(arrows)
    assert not circle, " -> ".join(circle)


def test_circles_are_found() -> None:
    assert a_circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert not a_circle({"a": {"b", "c"}, "b": {"c"}})


def module_named(name: str) -> str:
    """The module that a dotted name lies in."""
    while not (
        PACKAGE.joinpath(*name.split(".")).is_dir() or PACKAGE.joinpath(*name.split(".")).with_suffix(".py").exists()
    ):
        name = name.rpartition(".")[0]
    return name


def a_circle(arrows: dict[str, set[str]]) -> list[str]:
    """One way that leads from a module back to itself; empty if there is none."""
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(arrows.get(module, ())):
            circle = visit(imported, [*way, module])
            if circle:
                return circle
        done.add(module)
        return []

    return next((circle for module in sorted(arrows) if (circle := visit(module, []))), [])


SOURCES = {"random", "secrets", "time", "uuid"}
OF_THEIR_OWN = ("aiofiles", "cli", "clock", "localio", "testing")
"""Rooms that may take time and randomness themselves: the drop-in and its engine, and what no program runs on."""


def test_time_and_randomness_come_from_the_clock() -> None:
    """So that a simulated event loop can run the package; `uuid` may still give a token its form."""
    by_themselves = []
    for path in FILES:
        if room(module_of(path)) in OF_THEIR_OWN:
            continue
        for node in ast.walk(tree_of(path)):
            plain = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if not plain and not isinstance(node, ast.ImportFrom):
                continue
            named = ast.unparse(node)
            source = node.module if isinstance(node, ast.ImportFrom) else named.partition(".")[0]
            if named in {"os.urandom", "datetime.now"} or (source in SOURCES and named != "uuid.UUID"):
                by_themselves.append(f"{module_of(path)}: {named}")
    assert not by_themselves


def test_no_class_name_is_there_twice() -> None:
    homes: dict[str, list[str]] = {}
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(module_of(path))
    twice = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert not twice


def test_imports_are_absolute() -> None:
    relative = [
        module_of(path)
        for path in FILES
        for node, _ in statements(path)
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

def failures(modules, sdks):
    hidden = {{name: module for name, module in sys.modules.items() if name.partition(".")[0] in sdks}}
    sys.modules.update(dict.fromkeys([*sdks, *hidden]))
    failed = {{}}
    for module in modules:
        sys.modules.pop(module, None)
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            failed[module] = str(error)
    for sdk in sdks:
        del sys.modules[sdk]
    sys.modules.update(hidden)
    return failed

needing = failures({modules}, {extras}.values())
silent = [
    f"without {{sdk}}, {{module}}: {{error}}"
    for extra, sdk in {extras}.items()
    for module, error in failures(needing, [sdk]).items()
    if f"pip install aiofs[{{extra}}]" not in error
]
print(json.dumps(silent))
"""
EXTRAS = {
    "redis": "redis",
    "s3": "aiobotocore",
    "azure": "azure",
    "testing": "pytest",
    "yaml": "yaml",
    "web": "starlette",
}


def test_no_module_needs_an_extra_that_is_not_its_own() -> None:
    """Without its SDK a backend's modules may fail, with the hint what to install; all others import.

    One process asks for all extras: what imports without any of them is not asked again.
    """
    assert not run(WITHOUT_SDK.format(extras=EXTRAS, modules=MODULES))
