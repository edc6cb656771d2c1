"""Names: which paths are valid.

A path is relative and `/`-separated. It has no leading or trailing `/`, no empty, `.` or `..` segment, no NUL, and
nothing that UTF-8 cannot write. Everything else is allowed, however odd. Segments that begin with `.aiofs` are
reserved for the package's own staging, lock and journal files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import PurePath

AnyName: TypeAlias = "str | PurePath"
"""What file systems take as the name of a file or folder: `"a/b"`, or `PurePath("a", "b")`."""
RESERVED = ".aiofs"
JOURNAL = f"{RESERVED}-journal"
"""The folder of the journals of transactions."""
LOCKS = f"{RESERVED}-locks"
"""The folder of the paths that stand for locks with names (`FileSystem.lock`). No file has such a path."""
NOT_A_NAME = {"", ".", ".."}
"""The segments that no name has."""


def name_of(path: AnyName) -> str:
    """Return the name that `path` is: the one place that turns pure paths of pathlib into names.

    :raises TypeError: if it is neither a `str` nor a `PurePath`.
    :raises ValueError: for a path of Windows, whose separators and drives are not those of names.
    """
    if isinstance(path, str):
        return path
    from pathlib import PurePath, PureWindowsPath  # noqa: PLC0415 -- a program that uses it has loaded it

    if isinstance(path, PureWindowsPath):
        raise ValueError(f"path {path!r} is of Windows: give its as_posix()")  # noqa: TRY004 -- as of other names
    if isinstance(path, PurePath):
        return str(path) if path.parts else ""
    hint = ": call its own methods, or give its .path" if type(path).__module__ == "aiofs.path" else ""
    raise TypeError(f"a path is a str or a PurePath, not {type(path).__name__}: {path!r}{hint}")


def check_path(path: AnyName) -> str:
    """Return the name that `path` is, if it names a file.

    :raises TypeError: if it is neither a `str` nor a `PurePath`.
    :raises ValueError: if it breaks a rule of the module, saying which.
    """
    path = check_inside(path)
    if RESERVED in path and is_reserved(path):
        raise ValueError(f"path {path!r}: segments that begin with {RESERVED!r} are reserved")
    return path


def check_folder(path: AnyName) -> str:
    """Return the name of a folder: as `check_path`, and `""` is the whole store; one trailing `/` is dropped."""
    name = name_of(path)
    if name == "":
        return name
    return check_path(name[:-1] if name != "/" and name.endswith("/") else name)


def check_prefix(prefix: str) -> str:
    """Return `prefix` if a name could begin with it."""
    return _check_text(prefix)


def check_inside(path: AnyName) -> str:
    """Return the name that `path` is; reserved names are allowed, but no path that leads out of its folder.

    :raises TypeError: if it is neither a `str` nor a `PurePath`.
    :raises ValueError: if it breaks a rule of the module, saying which.
    """
    path = _check_text(path)
    segments = path.split("/")
    if not NOT_A_NAME.isdisjoint(segments):
        raise ValueError(_fault(path, segments))
    return path


def begins_a_name(prefix: str) -> bool:
    """Whether a name, a reserved one included, can begin with `prefix`: all of its segments but the last are right."""
    return NOT_A_NAME.isdisjoint(prefix.split("/")[:-1])


def is_reserved(path: str) -> bool:
    """Whether a segment of `path` is the package's own."""
    return path.startswith(RESERVED) or f"/{RESERVED}" in path


def is_in_journal(path: str) -> bool:
    """Whether `path` names something in a folder of journals."""
    return f"/{JOURNAL}/" in f"/{path}"


def path_of_lock(name: str) -> str:
    """Return the path that stands for the lock `name` where drivers and layers are asked to lock it."""
    return f"{LOCKS}/{name}"


def lock_of_path(path: str) -> str | None:
    """Return the name of the lock that `path` stands for; `None` if it is an ordinary path."""
    return path[len(LOCKS) + 1 :] if path.startswith(f"{LOCKS}/") else None


def under(folder: str) -> str:
    """Return the prefix that the names below `folder` share."""
    return f"{folder}/" if folder else ""


def _check_text(text: AnyName) -> str:
    if not isinstance(text, str):
        text = name_of(text)
    if "\0" in text:
        raise ValueError(f"path {text!r} has a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"path {text!r} has a lone surrogate, which UTF-8 cannot write") from None
    return text


def _fault(path: str, segments: list[str]) -> str:
    if not path:
        return "path '' is empty"
    if path.startswith("/"):
        return f"path {path!r} begins with '/': paths are relative to the file system"
    if path.endswith("/"):
        return f"path {path!r} ends with '/': that names a folder, not a file"
    if "" in segments:
        return f"path {path!r} has an empty segment"
    return f"path {path!r} has a segment '.' or '..'"
