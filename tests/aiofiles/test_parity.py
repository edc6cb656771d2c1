"""Every public name, signature and attribute of the installed aiofiles is there, and means the same kind of thing."""

from __future__ import annotations

import importlib
import inspect
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import aiofiles as theirs
from aiofs import aiofiles as ours

MODULES = (
    *("", "base", "os", "ospath", "tempfile", "tempfile.temptypes"),
    *("threadpool", "threadpool.binary", "threadpool.text", "threadpool.utils"),
)
CLASSES = {
    "base": ("AsyncBase", "AsyncIndirectBase", "AiofilesContextManager"),
    "tempfile.temptypes": ("AsyncSpooledTemporaryFile", "AsyncTemporaryDirectory"),
    "threadpool.binary": (
        *("AsyncBufferedIOBase", "AsyncBufferedReader", "AsyncFileIO"),
        *("AsyncIndirectBufferedIOBase", "AsyncIndirectBufferedReader", "AsyncIndirectFileIO"),
    ),
    "threadpool.text": ("AsyncTextIOWrapper", "AsyncTextIndirectIOWrapper"),
}


def both(module: str) -> tuple[Any, Any]:
    suffix = f".{module}" if module else ""
    return importlib.import_module("aiofiles" + suffix), importlib.import_module("aiofs.aiofiles" + suffix)


def own_names(module: Any) -> set[str]:
    """What a module offers: what `__all__` says, and what was made in it."""
    made = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    return made | set(getattr(module, "__all__", ()))


@pytest.mark.parametrize("module", MODULES)
def test_names(module: str) -> None:
    their_module, our_module = both(module)
    missing = {name for name in own_names(their_module) if not hasattr(our_module, name)}
    assert missing - {"AiofilesContextManagerTempDir"} == set()
    assert set(getattr(their_module, "__all__", ())) <= set(getattr(our_module, "__all__", our_module.__dict__))


@pytest.mark.parametrize("module", MODULES)
def test_functions(module: str) -> None:
    their_module, our_module = both(module)
    for name in own_names(their_module):
        function = getattr(their_module, name)
        if not inspect.isfunction(function) or name == "AiofilesContextManagerTempDir":
            continue
        expected = dict(inspect.signature(function).parameters)
        found = dict(inspect.signature(getattr(our_module, name)).parameters)
        if name == "scandir":  # theirs takes anything, as all that it wraps
            assert {"path", "loop", "executor"} == set(found)
            continue
        for parameter in expected.values():
            assert found[parameter.name].kind == parameter.kind, name
            assert found[parameter.name].default == parameter.default, name
        added = [found[extra] for extra in set(found) - set(expected)]
        assert all(extra.kind is extra.KEYWORD_ONLY and extra.default is not extra.empty for extra in added), name


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CLASSES.items() for name in names])
def test_classes(module: str, name: str) -> None:
    their_class, our_class = (getattr(part, name) for part in both(module))
    assert issubclass(our_class, their_class)
    assert list(inspect.signature(our_class).parameters) == list(inspect.signature(their_class).parameters)
    for attribute in dir(their_class):
        if attribute.startswith("__") and attribute not in {"__aiter__", "__anext__", "__aenter__", "__aexit__"}:
            continue
        their_own = inspect.getattr_static(their_class, attribute)
        our_own = inspect.getattr_static(our_class, attribute)
        assert inspect.iscoroutinefunction(our_own) == inspect.iscoroutinefunction(their_own), attribute
        assert isinstance(our_own, property) == isinstance(their_own, property), attribute
        assert callable(our_own) == callable(their_own), attribute


async def test_a_class_of_a_program_s_own() -> None:
    from aiofs.aiofiles.threadpool.utils import delegate_to_executor  # noqa: PLC0415

    from aiofs.aiofiles.base import AsyncBase  # noqa: PLC0415 - as such a program has it

    @delegate_to_executor("readline")
    class Own(AsyncBase[str]):
        pass

    own = Own(io.StringIO("1\n2\n"), loop=None, executor=None)
    assert [line async for line in own] == ["1\n", "2\n"]


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "stdin_bytes", "stdout_bytes", "stderr_bytes"])
def test_standard_streams(name: str) -> None:
    assert getattr(ours, name) is getattr(theirs, name)


@pytest.mark.parametrize("mode", ["r", "w", "rb", "wb", "r+b", "w+", "ab"])
@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.may_block
async def test_handles(tmp_path: Any, mode: str, buffering: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text\n")
    if not buffering and "b" not in mode:
        buffering = 1
    async with theirs.open(path, mode, buffering) as their_file, ours.open(path, mode, buffering) as our_file:
        assert isinstance(our_file, type(their_file))
        for name in ("name", "mode", "closed", "encoding", "errors", "newlines", "line_buffering"):
            assert getattr(our_file, name, "none") == getattr(their_file, name, "none")
        for name in ("seekable", "writable", "isatty"):
            assert await getattr(our_file, name)() == await getattr(their_file, name)()
        their_answer, our_answer = their_file.readable(), our_file.readable()
        if inspect.isawaitable(their_answer):
            their_answer, our_answer = await their_answer, await our_answer
        assert our_answer == their_answer
        assert (our_file._loop, our_file._executor) == (their_file._loop, their_file._executor)
        assert isinstance(our_file._file, type(their_file._file))
        assert repr(our_file).endswith(repr(our_file._file))
    assert our_file.closed


@pytest.mark.parametrize("own_executor", [False, True])
async def test_tests_may_replace_what_opens(own_executor: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def sync_open(*arguments: Any, **options: Any) -> io.StringIO:
        asked.append((*arguments, options["mode"], options["encoding"]))
        return io.StringIO("not from a disk")

    monkeypatch.setattr("aiofs.aiofiles.threadpool.sync_open", sync_open)
    with ThreadPoolExecutor(1) as executor:
        options: dict[str, Any] = {"executor": executor} if own_executor else {}
        async with ours.open("no such file", "r", encoding="utf-8", **options) as file:
            assert await file.read() == "not from a disk"
    assert asked == [("no such file", "r", "utf-8")]
