"""Labels: a file's name and metadata, kept with the file too, so that the index can be made again when it is lost."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiofs.backends.fastdfs.formats import FORMAT, check_format

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = "aiofs"
_ROOM = 256


@dataclass(frozen=True, slots=True)
class Label:
    """What is written on a file."""

    index: str
    """The identity of the index that knows the file."""
    path: str
    metadata: Mapping[str, str]
    written: int
    """When, in nanoseconds since 1970: of two files with the same name the later one counts."""


def label(index: str, path: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of the protocol's kind that say which file this is, in pieces that fit."""
    fields = {"index": index, "path": path, "metadata": dict(metadata), "written": time.time_ns()}
    text = json.dumps({"format": FORMAT, **fields})
    return {f"{_KEY}{at // _ROOM:04}": text[at : at + _ROOM] for at in range(0, len(text), _ROOM)}


def read_label(metadata: Mapping[str, str]) -> Label | None:
    """Return what the metadata of a file say; `None` if it was not written under a name.

    :raises Unsupported: if a newer version of aiofs wrote it, in another format.
    """
    text = "".join(metadata[key] for key in sorted(metadata) if key.startswith(_KEY))
    try:
        fields = dict(json.loads(text))
        check_format(None, "the label of a file", fields)
        return Label(str(fields["index"]), str(fields["path"]), dict(fields["metadata"]), int(fields["written"]))
    except (ValueError, KeyError, TypeError):
        return None
