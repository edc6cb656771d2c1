"""The names that users and documentation rely on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aiofs
from aiofs.driver import powers

if TYPE_CHECKING:
    from types import ModuleType

PUBLIC = [
    module
    for info in pkgutil.walk_packages(aiofs.__path__, "aiofs.")
    if not any(part.startswith("_") for part in info.name.split("."))
    and hasattr(module := importlib.import_module(info.name), "__all__")
]
MODULES = [aiofs, *PUBLIC]
REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"


def named(module: ModuleType) -> str:
    return module.__name__


def shown(module: ModuleType) -> set[str]:
    """The classes and functions of this package that a reader of `module` finds without an underscore."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isroutine(value))
        if value.__module__.startswith("aiofs")
    }


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_every_name_exists(module: ModuleType) -> None:
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_no_name_is_there_twice(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)


def test_the_face_is_sorted() -> None:
    assert sorted(aiofs.__all__, key=in_order) == aiofs.__all__


def in_order(name: str) -> tuple[int, str]:
    """Constants first, then classes, then functions, as the linter has them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_every_name_of_ours_says_what_it_is(module: ModuleType) -> None:
    silent = [name for name in set(module.__all__) & shown(module) if not inspect.getdoc(getattr(module, name))]
    assert not silent


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_every_method_of_ours_says_what_it_does(module: ModuleType) -> None:
    """By itself, or by the base class or the power that it comes from."""
    by_powers = {name for power in powers() for name in vars(power)}
    classes = [value for name in set(module.__all__) & shown(module) if inspect.isclass(value := getattr(module, name))]
    silent = [
        f"{kind.__name__}.{name}"
        for kind in classes
        for name, value in vars(kind).items()
        if not name.startswith("_") and inspect.isroutine(value)
        if name not in by_powers and not inspect.getdoc(getattr(kind, name))
    ]
    assert not silent


def test_the_face_names_all_it_shows() -> None:
    assert shown(aiofs) <= set(aiofs.__all__)
    assert set(dir(aiofs)) >= set(aiofs.__all__)


def test_every_error_is_public() -> None:
    family = {
        name
        for name, value in vars(importlib.import_module("aiofs.errors")).items()
        if isinstance(value, type) and issubclass(value, aiofs.AiofsError)
    }
    assert family <= set(aiofs.__all__)


def test_every_file_system_is_public() -> None:
    systems = {name for name in shown(importlib.import_module("aiofs.stores")) if name.endswith("FileSystem")}
    assert systems <= set(aiofs.__all__)


@pytest.mark.parametrize("module", [aiofs, importlib.import_module("aiofs.layers")], ids=named)
def test_the_reference_has_every_name(module: ModuleType) -> None:
    """By itself or with its whole module; what is aiofiles' own has a page of its own."""
    entries = set(re.findall(r"^::: (\S+)$", REFERENCE.read_text("utf-8"), re.MULTILINE))
    missing = [
        name
        for name in set(module.__all__) & shown(module)
        if f"{module.__name__}.{name}" not in entries
        and not entries & {getattr(module, name).__module__}
        and not getattr(module, name).__module__.startswith("aiofs.aiofiles")
    ]
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        aiofs.nonsense  # noqa: B018  (the access is what is tested)


def test_rooms_are_there_without_an_import_of_their_own() -> None:
    program = "import aiofs; print(aiofs.aiofiles.open is aiofs.open, aiofs.layers.Gzip(), aiofs.testing.Contract)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("True ")


def test_modules_of_aiofiles_are_imported_from_here_too() -> None:
    program = "import aiofs.os, aiofs.tempfile; print(aiofs.os.path.exists, aiofs.tempfile.TemporaryFile)"
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert aiofs.os is importlib.import_module("aiofs.os") is importlib.import_module("aiofs.aiofiles.os")
    assert aiofs.tempfile is importlib.import_module("aiofs.tempfile") is aiofs.aiofiles.tempfile


def test_the_version_is_that_of_the_distribution() -> None:
    assert aiofs.__version__ == version("aiofs")


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (aiofs.layers.Gzip(level=9), "Gzip(level=9)"),
        (aiofs.layers.Allow("read", "list"), "Allow('list', 'read')"),
        (aiofs.layers.ReadOnly(), "ReadOnly()"),
        (aiofs.layers.Limit(1000), "Limit(size=1000)"),
    ],
)
def test_a_layer_shows_what_it_is(layer: aiofs.Layer, shown: str) -> None:
    assert repr(layer) == shown
