"""Kinds of values: what a repository holds, and how a value becomes bytes.

The name of a file is never changed, and its media type is only advice. Bytes are looked at only to check images.
"""

from __future__ import annotations

import json
import mimetypes
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from aiofs.sources import is_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
M = TypeVar("M", bound="ModelClass")


class Content(ABC, Generic[T]):
    """A kind of values. A subclass with the methods `dump` and `load` is a new kind."""

    media_type: str = "application/octet-stream"
    """The media type of such a file, if its name has no known extension."""

    @abstractmethod
    def dump(self, value: T) -> bytes:
        """Return the bytes of a value.

        :raises TypeError: or `ValueError`, if the value is not of this kind.
        """

    @abstractmethod
    def load(self, data: bytes) -> T:
        """Return the value of the bytes.

        :raises ValueError: if they are no value of this kind.
        """

    def is_source(self, value: object) -> bool:
        """Whether `value` is a stream of bytes that are stored as they are, and not a value for `dump`."""
        return is_stream(value)

    def media_type_of(self, name: str) -> str:
        """Return the media type of a file of this name."""
        extension = name[name.rfind(".") :].lower() if "." in name else ""
        return mimetypes.types_map.get(extension, self.media_type)


class Binary(Content[bytes]):
    """Bytes as they are."""

    def dump(self, value: bytes) -> bytes:
        """Return the bytes."""
        if isinstance(value, str):
            raise TypeError("a Binary is bytes, not str: declare the repository with of=Text()")
        return bytes(value)

    def is_source(self, value: object) -> bool:
        """Whether it is not a `str`: whatever has bytes is stored as it is."""
        return not isinstance(value, str) and type(self).dump is Binary.dump

    def load(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data


class Text(Content[str]):
    """Text. Line ends stay as they are."""

    media_type = "text/plain"

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = encoding

    def dump(self, value: str) -> bytes:
        """Encode it."""
        if not isinstance(value, str):
            raise TypeError(f"a Text is str, not {type(value).__name__}")
        return value.encode(self._encoding)

    def load(self, data: bytes) -> str:
        """Decode it."""
        return data.decode(self._encoding)


class Json(Content[Any]):
    """Values that JSON can hold."""

    media_type = "application/json"

    def __init__(self, *, indent: int | None = None) -> None:
        self._indent = indent

    def dump(self, value: Any) -> bytes:
        """Write it as JSON."""
        return json.dumps(value, indent=self._indent, ensure_ascii=False).encode()

    def load(self, data: bytes) -> Any:
        """Read it."""
        return json.loads(data)


class ModelClass(Protocol):
    """The methods that a class of models must have, as those of pydantic do."""

    def model_dump_json(self) -> str:
        """Return the model as JSON."""
        ...

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Self:
        """Return the model that the JSON describes."""
        ...


class ModelJson(Content[M]):
    """Models of one class, as JSON."""

    media_type = "application/json"

    def __init__(self, model: type[M]) -> None:
        self._model = model

    def dump(self, value: M) -> bytes:
        """Write it as JSON."""
        if not isinstance(value, self._model):
            raise TypeError(f"this repository holds {self._model.__name__}, not {type(value).__name__}")
        return value.model_dump_json().encode()

    def is_source(self, value: object) -> bool:
        """Whether it is a stream; a model is none, whatever methods it has."""
        return not isinstance(value, self._model) and is_stream(value)

    def load(self, data: bytes) -> M:
        """Read and validate it."""
        return self._model.model_validate_json(data)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image: its bytes, its media type and its size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int

    @classmethod
    def of(cls, data: bytes) -> Picture:
        """Return the picture of these bytes, with the type and size that they say.

        :raises ValueError: if they are no PNG, GIF or JPEG.
        """
        for read in (_png, _gif, _jpeg):
            found = read(data)
            if found is not None:
                return cls(data, *found)
        raise ValueError("these bytes are no PNG, GIF or JPEG image")


class Image(Content[Picture]):
    """Images: PNG, GIF and JPEG, given as a `Picture` or as bytes, which are checked."""

    media_type = "image/*"

    def dump(self, value: Picture | bytes) -> bytes:
        """Return the bytes of the image."""
        return value.data if isinstance(value, Picture) else Picture.of(bytes(value)).data

    def load(self, data: bytes) -> Picture:
        """Return the image."""
        return Picture.of(data)


_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
Found = tuple[str, int, int] | None


def _png(data: bytes) -> Found:
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 24:  # noqa: PLR2004 -- of the format
        return None
    return ("image/png", *struct.unpack(">II", data[16:24]))


def _gif(data: bytes) -> Found:
    if data[:6] not in {b"GIF87a", b"GIF89a"} or len(data) < 10:  # noqa: PLR2004 -- of the format
        return None
    return ("image/gif", *struct.unpack("<HH", data[6:10]))


def _jpeg(data: bytes) -> Found:
    if data[:2] != b"\xff\xd8":
        return None
    for marker, start in _jpeg_segments(data):
        if marker in _JPEG_FRAMES and start + 7 <= len(data):
            height, width = struct.unpack(">HH", data[start + 3 : start + 7])
            return "image/jpeg", width, height
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment, and the position of its length."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:  # noqa: PLR2004 -- begins every marker
        yield data[at + 1], at + 2
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
