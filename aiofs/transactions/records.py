"""Records: the lines of a journal, how they become bytes, and how they are checked like the input of a user.

A line is the name of the format, a checksum, and JSON with the kind of line as `do`:

    aiofs-journal/2 CHECKSUM {"do": ...}

`2` is the version of the format. A version, or a kind of line, that this aiofs does not know is refused by name.
2.0.0a1 wrote version `1`, which is read in the same way: it knew no properties of files, and what stores had prepared
had no number of its own. CHECKSUM is the BLAKE2b (8 bytes, in hexadecimal digits) of the JSON.

Somebody who may write the folder of a journal may have written any line of it, with the right checksum. So every store
name, path, version and file name in a line is checked before anything is done. Recovery then reaches no file that a
user of the same file systems could not name, and no hidden files but those of the transaction itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiofs.errors import Damaged, Unsupported
from aiofs.kit import unknown_format
from aiofs.names import JOURNAL, check_path
from aiofs.properties import EXPIRES, MARK, NAMES, part
from aiofs.tokens import is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

VERSION = 2
FOLDER = JOURNAL
Record = dict[str, Any]

_MARK = f"aiofs-journal/{VERSION}"
_KNOWN = frozenset({_MARK, "aiofs-journal/1"})
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_MOST_DIGITS = 9


@dataclass(slots=True)
class Step:
    """What a transaction does to one path, as its decision says it."""

    store: str
    path: str
    base: str
    """The version that it replaces; `ABSENT` if there is none."""
    tag: str
    """The name of its before-image."""
    before: dict[str, Any] | None = None
    """The before-image itself, if it is small enough for the decision."""
    token: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON has it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def removes(self) -> bool:
        """Whether the file is removed."""
        return bool(self.token.get("removal"))

    @property
    def version(self) -> str | None:
        """What the version of the file will be, if the store knows that before."""
        return self.token.get("version")


def encode(record: Record) -> bytes:
    """Return the line. It begins with a line break, to end a line that a crash may have cut short before it."""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return b"\n%s %s %s\n" % (_MARK.encode(), _checksum(body), body)


def decode(data: bytes, name: str) -> tuple[list[Record], bool]:
    """Return the records of all lines, and whether the last line was cut short.

    :raises Damaged: if another line does not fit its checksum, or a line is no JSON object.
    :raises Unsupported: if a line has the format of a newer aiofs, which the error names.
    """
    records: list[Record] = []
    torn = False
    for line in data.split(b"\n"):
        if not line:
            continue
        record = _decode_line(line, name)
        if record is None:
            torn = True
        elif torn and not record.get("mends"):
            raise Damaged.of(name, "a line of this journal does not fit its checksum")
        else:
            torn = False
            records.append(record)
    return records, torn


def _decode_line(line: bytes, name: str) -> Record | None:
    mark, _, rest = line.partition(b" ")
    checksum, _, body = rest.partition(b" ")
    if _checksum(body) != checksum:
        return None
    version = mark.decode(errors="replace")
    if version not in _KNOWN:
        raise unknown_format(name, "this journal", repr(version), _MARK)
    try:
        record: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Damaged.of(name, "a line of this journal is not the JSON that a transaction writes") from error
    if not isinstance(record, dict):
        raise Damaged.of(name, "a line of this journal is not a JSON object")
    return record


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).hexdigest().encode()


def last(records: Sequence[Record], *kinds: str) -> Record | None:
    """Return the last line of one of these kinds."""
    return next((record for record in reversed(records) if record.get("do") in kinds), None)


class LineChecker:
    """Checks the lines of one log, each by its kind, and whether they fit together.

    :raises Damaged: if no transaction writes such lines.
    :raises Unsupported: if one is of a kind that only a newer aiofs knows.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._name = ""
        self._stores: set[str] | None = None
        self._begun = False
        self._steps: int | None = None
        self._undone = 0

    def check(self, records: Iterable[Record], name: str) -> None:
        """Check the next lines, which are in the file `name`."""
        self._name = name
        kinds: dict[str, Callable[[Record], None]] = {
            "open": self._open,
            "touch": self._touch,
            "held": self._held,
            "plan": self._plan,
            "commit": self._commit,
            "undo": self._undo,
        }
        for record in records:
            kind = record.get("do")
            if not isinstance(kind, str):
                raise self._wrong("it has no kind")
            if kind not in {*kinds, "abort", "end"}:
                raise Unsupported.of(
                    self._name,
                    f"a line of this journal is of a kind that this version of aiofs does not know, {kind!r}",
                )
            if kind in kinds:
                kinds[kind](record)

    def _open(self, record: Record) -> None:
        if self._stores is not None or self._begun:
            raise self._wrong("it begins twice, or late")
        stores = record.get("stores")
        if not isinstance(stores, dict) or not stores or not all(map(is_text, (*stores, *stores.values()))):
            raise self._wrong("'stores' does not map names to descriptions")
        for name in ("by", "at"):
            if not is_text(record.get(name, "")):
                raise self._wrong(f"{name!r} is no text")
        if not isinstance(record.get("locked", True), bool):
            raise self._wrong("'locked' is neither true nor false")
        self._stores = set(stores)

    def _touch(self, record: Record) -> None:
        self._place(record.get("store"), record.get("path"))

    def _held(self, record: Record) -> None:
        self._place(record.get("store"), record.get("path"))
        self._text("fence", record.get("fence"))

    def _plan(self, record: Record) -> None:
        held = record.get("held", [])
        if not isinstance(held, list):
            raise self._wrong("'held' is no list")
        for lock in held:
            if not isinstance(lock, list) or len(lock) != 3:  # noqa: PLR2004 -- store, path and fence
                raise self._wrong("'held' lists something that is no store, path and fence")
            self._place(lock[0], lock[1])
            self._text("fence", lock[2])

    def _commit(self, record: Record) -> None:
        steps = record.get("steps")
        if self._stores is None:
            raise self._wrong("a decision comes before the beginning")
        if not isinstance(steps, list):
            raise self._wrong("'steps' is no list")
        places, tags = set(), set()
        for step in steps:
            if not isinstance(step, dict) or set(step) != set(Step.__slots__):
                raise self._wrong("'steps' lists something that is no step")
            self._step(step)
            places.add((step["store"], step["path"]))
            tags.add(step["tag"])
        if len(places) < len(steps) or len(tags) < len(steps):
            raise self._wrong("two steps are about the same file")
        self._steps = len(steps)
        self._check_undone()

    def _undo(self, record: Record) -> None:
        published = record.get("published")
        if not isinstance(published, dict):
            raise self._wrong("'published' is no mapping")
        for number, version in published.items():
            if not _is_number(number):
                raise self._wrong(f"{number!r} is the number of no step")
            if version is not None:
                self._text("version", version)
            self._undone = max(self._undone, int(number) + 1)
        self._check_undone()

    def _check_undone(self) -> None:
        """Raise if a step is undone that was not decided. Both lines may be repeated, in any order."""
        if self._steps is not None and self._undone > self._steps:
            raise self._wrong("what it undoes is none of its steps")

    def _step(self, step: Record) -> None:
        self._place(step["store"], step["path"])
        self._text("base", step["base"])
        self._own_name("tag", step["tag"], f"{self._unit}-")
        if step["before"] is not None:
            self._token(step["before"], step["path"], only="bytes")
        self._token(step["token"], step["path"])

    def _token(self, token: Any, path: str, *, only: str | None = None) -> None:
        """Check how a step is kept. `Driver.resume` checks the part that the store made."""
        if not isinstance(token, dict):
            raise self._wrong("'token' is no mapping")
        by = token.get("by")
        if not isinstance(by, str):
            raise self._wrong("a step does not say how it is kept")
        if only not in {None, by}:
            raise self._wrong(f"a before-image is kept by {by!r}")
        if by == "store":
            self._prepared(token, path)
        elif by == "delete":
            if token.get("removal") is not True or token.get("version") != "":
                raise self._wrong("a removal does not say that it is one")
        elif by in {"bytes", "file"}:
            self._source(token)
        else:
            raise Unsupported.of(
                self._name, f"a step of this journal is kept in a way that this version of aiofs does not know, {by!r}"
            )

    def _prepared(self, token: Record, path: str) -> None:
        theirs = token.get("token")
        if not isinstance(theirs, dict) or theirs.get("path") != path:
            raise self._wrong("what a store prepared is not for the path of its step")
        if not isinstance(token.get("removal", False), bool):
            raise self._wrong("'removal' is neither true nor false")
        if token.get("version") is not None:
            self._text("version", token["version"])

    def _source(self, token: Record) -> None:
        if token.get("removal") or token.get("version") is not None:
            raise self._wrong("new bytes say that they are something else")
        metadata = {} if token.get("metadata") is None else token["metadata"]
        if not isinstance(metadata, dict) or not all(map(is_text, (*metadata, *metadata.values()))):
            raise self._wrong("'metadata' does not map texts to texts")
        for key, value in metadata.items():
            known = key == EXPIRES or key.removeprefix(MARK) in NAMES
            if key.startswith(MARK) and (not known or _CONTROLS.search(value)):
                raise self._wrong(f"{key!r} is no property of a file")
        try:
            part(metadata)
        except ValueError as error:
            raise self._wrong(f"a property of a file is wrong: {error}") from error
        if token.get("permissions") is not None:
            self._text("permissions", token["permissions"])
        if token["by"] == "file":
            self._own_name("file", token.get("file"), f"{FOLDER}/{self._unit}.data-")
            return
        try:
            base64.b64decode(token["bytes"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise self._wrong("'bytes' are no bytes") from error

    def _place(self, store: Any, path: Any) -> None:
        """Check a store and a path in it. A log in which no line names stores is being removed: any name passes."""
        self._begun = True
        if not isinstance(store, str) or (self._stores is not None and store not in self._stores):
            raise self._wrong(f"{store!r} is none of its stores")
        try:
            check_path(path)
        except (TypeError, ValueError) as error:
            raise self._wrong(str(error)) from error

    def _text(self, name: str, value: Any) -> None:
        if not is_text(value) or _CONTROLS.search(value):
            raise self._wrong(f"{name!r} is no text without control characters")

    def _own_name(self, name: str, value: Any, begin: str) -> None:
        """Check a name that follows from the number of the transaction."""
        if not isinstance(value, str) or not value.startswith(begin) or not _is_number(value.removeprefix(begin)):
            raise self._wrong(f"{name!r} is none of this transaction's names")

    def _wrong(self, why: str) -> Damaged:
        return Damaged.of(self._name, f"a line of this journal says what no transaction writes: {why}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
