"""What awaits has a twin that waits: a verb that an asynchronous class gets is missing here until it is given one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

import aiofs
from aiofs import blocking
from aiofs.blocking.files import BlockingFile
from aiofs.blocking.systems import FileOptions
from aiofs.locks import HeldLock
from aiofs.transactions.transaction import Savepoint

if TYPE_CHECKING:
    from collections.abc import Callable

TWINS = [
    (aiofs.FileSystem, blocking.BlockingFileSystem),
    (aiofs.TransactionalFileSystem, blocking.BlockingTransactionalFileSystem),
    (aiofs.FileTransaction, blocking.BlockingFileTransaction),
    (aiofs.Transaction, blocking.BlockingTransaction),
    (Savepoint, blocking.BlockingSavepoint),
    (HeldLock, blocking.BlockingHeldLock),
    (aiofs.FileLike, blocking.BlockingReader),
    (aiofs.FileLike, blocking.BlockingWriter),
    (aiofs.FileLike, blocking.BlockingEditor),
]
OTHERWISE = {
    "aclose": "close",
    "blocking": "system",
    "cp": "copy",  # what aiofs 1 called it
    "mv": "move",
}
"""What is called otherwise without asyncio."""
OF_SYSTEMS = {"conflict", "end_early", "is_held", "release"}
"""What a file system calls on a lock that it gave."""
OVERLOADED = {"open", "update"}
"""What is written by hand, as overloads do not go through a `ParamSpec`; types are in tests/typing."""
OF_READERS = {"peek", "readall"}
"""What files of `io` have only where they can be read; a writer's would only refuse."""
OF_WRITERS = {"checkpoint", "leave"}
"""What only a write that can go on has."""
FORMAT = {"self", "path", "mode", "encoding", "errors", "newline"}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("asynchronous", "twin"), TWINS, ids=lambda kind: kind.__name__)
def test_every_verb_has_a_twin(asynchronous: type, twin: type) -> None:
    wanted = {OTHERWISE.get(name, name) for name in public(asynchronous) - OF_SYSTEMS}
    if issubclass(twin, BlockingFile):
        if twin is not blocking.BlockingWriter:
            wanted -= OF_WRITERS
        wanted -= OF_READERS | {"name", "mode"}  # `io` sets the last two on instances
    assert not wanted - public(twin)


@pytest.mark.parametrize(("asynchronous", "twin"), TWINS[:6], ids=lambda kind: kind.__name__)
def test_a_twin_takes_the_same_arguments(asynchronous: type, twin: type) -> None:
    for name in public(asynchronous) & public(twin) - OVERLOADED:
        verb, other = getattr(asynchronous, name), getattr(twin, name)
        if inspect.isfunction(verb):
            assert inspect.isfunction(other)
            assert not inspect.iscoroutinefunction(other)
            assert list(inspect.signature(other).parameters.values()) == list(
                inspect.signature(verb).parameters.values()
            )


def test_open_takes_the_same_options() -> None:
    parameters = inspect.signature(aiofs.FileSystem.open).parameters
    options = {name: str(each.annotation) for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
    taken = {
        name: hint.__forward_arg__
        for name, hint in FileOptions.__annotations__.items()
        if name not in aiofs.Properties.__annotations__
    }
    assert taken == {name: kind for name, kind in options.items() if name not in FORMAT}
    assert FORMAT - {"self"} <= set(inspect.signature(blocking.BlockingFileSystem.open).parameters)


def test_every_function_of_the_face_that_awaits_has_a_twin() -> None:
    functions = {name for name in aiofs.__all__ if inspect.iscoroutinefunction(getattr(aiofs, name))}
    assert functions >= {"recover", "fsck"}
    assert not functions - set(blocking.__all__)
    for name in functions | {"transaction", "connect"}:
        verb, twin = (inspect.signature(getattr(module, name)).parameters for module in (aiofs, blocking))
        assert list(twin) == list(verb)
        assert [each.default for each in twin.values()] == [each.default for each in verb.values()]


@pytest.mark.parametrize("kind", [twin for _, twin in TWINS], ids=lambda kind: kind.__name__)
def test_words_of_a_twin_do_not_await(kind: type) -> None:
    ours: list[Callable[..., Any]] = [
        verb
        for name in public(kind)
        if inspect.isfunction(verb := getattr(kind, name)) and verb.__module__.startswith("aiofs")
    ]
    assert ours
    assert not [
        verb.__name__ for verb in ours if not verb.__doc__ or "await " in verb.__doc__ or "async " in verb.__doc__
    ]
