"""What a behaviour needs of a store: a store is tested only for what it declares."""

from __future__ import annotations

import importlib.util
import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiofs.driver import Capabilities

Need = Literal[
    "writable",
    "read-only",
    "shared locks",
    "conditional",
    "resume",
    "rewrite",
    "metadata",
    "properties",
    "listed sizes",
    "history",
    "server",
    "credentials",
    "blockbuster",
]
T = TypeVar("T")

_REASONS: dict[str, tuple[str, Callable[[Capabilities], bool]]] = {
    "writable": ("is read-only", lambda can: can.writable),
    "read-only": ("can be written", lambda can: not can.writable),
    "shared locks": ("locks within one process only", lambda can: can.locks == "shared"),
    "conditional": ("does not check versions when it publishes", lambda can: can.conditional),
    "resume": ("cannot hand a prepared write to another process", lambda can: can.resume),
    "rewrite": ("cannot change parts that were handed over", lambda can: can.rewrite),
    "metadata": ("keeps no metadata", lambda can: can.metadata),
    "properties": ("keeps no properties such as a content type", lambda can: bool(can.properties)),
    "listed sizes": ("does not know sizes in listings", lambda can: can.listed_sizes),
}


def needs(*what: Need) -> Callable[[T], T]:
    """Mark a behaviour, or all behaviours of a class, as one that needs these capabilities."""

    def mark(target: T) -> T:
        for function in _functions_of(target):
            function.aiofs_needs = (*getattr(function, "aiofs_needs", ()), *what)
        return target

    return mark


def reason_against(function: object, suite: type) -> str | None:
    """Return why the behaviour `function` is left out for the store of `suite`, or `None` if it is tested."""
    number = number_of(getattr(function, "__name__", ""))
    lacks = getattr(suite, "lacks", {})
    if number in lacks:
        return str(lacks[number])
    for need in getattr(function, "aiofs_needs", ()):
        reason = _reason(need, suite)
        if reason is not None:
            return reason
    return None


def number_of(name: str) -> int | None:
    """Return the number in the name of a behaviour, `test_NN_name`."""
    head, _, rest = name.partition("_")
    digits = rest.partition("_")[0]
    return int(digits) if head == "test" and digits.isdecimal() else None


def _reason(need: str, suite: type) -> str | None:
    if need == "server":
        return None if getattr(suite, "server", False) else "there is no server that could be away"
    if need == "history":
        return None if getattr(suite, "history", False) else "keeps no old versions"
    if need == "credentials":
        return None if getattr(suite, "credentials", False) else "it takes no credentials that could be refused"
    if need == "blockbuster":
        return None if importlib.util.find_spec("blockbuster") else "blockbuster, which detects it, is not installed"
    words, holds = _REASONS[need]
    return None if holds(suite.declares) else words  # type: ignore[attr-defined]


def _functions_of(target: Any) -> list[Any]:
    if inspect.isclass(target):
        return [value for name, value in vars(target).items() if name.startswith("test_")]
    return [target]
