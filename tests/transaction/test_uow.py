"""Units of work: a transaction declared as a class of typed repositories."""

from __future__ import annotations

import json
import struct
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import pytest

import aiofs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", 640, 480, 8, 2, 0, 0, 0)
GIF = b"GIF89a" + struct.pack("<HH", 3, 5) + b"\0\0\0"
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 7, 9) + b"\x01\x01\x11\x00"


class Note:
    """What a model of pydantic's does, in short."""

    def __init__(self, text: str) -> None:
        self.text = text

    def model_dump_json(self) -> str:
        return json.dumps({"text": self.text})

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Note:
        return cls(json.loads(json_data)["text"])


def declare(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> type[Any]:
    class Files(aiofs.UnitOfWork):
        journal = disk
        avatars = aiofs.repository(memory, at="avatars/{user}/{year:04d}", of=aiofs.Image())
        raw = aiofs.repository(memory)
        texts = aiofs.repository(disk, at="texts", of=aiofs.Text())
        data = aiofs.repository(disk, at="data", of=aiofs.Json(), allow={"put", "get"})
        notes = aiofs.repository(disk, at="notes", of=Note)

    return Files


@pytest.fixture
def disk(tmp_path: Path) -> aiofs.FileSystem:
    return aiofs.OSFileSystem(tmp_path)


@pytest.fixture
def memory() -> aiofs.FileSystem:
    return aiofs.MemoryFileSystem()


async def test_values_are_what_they_were(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    files = declare(disk, memory)
    async with files() as unit:
        await unit.avatars(user="ann", year=26).put("face", PNG)
        await unit.raw.put("bytes", bytearray(b"raw"))
        await unit.texts.put("a", "zwölf")
        await unit.data.put("b.json", {"zwölf": [1, None]})
        await unit.notes.put("c", Note("remember"))
        assert await unit.texts.get("a") == "zwölf"
        assert await disk.ls() == []
    assert await disk.ls() == ["data/b.json", "notes/c", "texts/a"]
    assert await memory.ls() == ["avatars/ann/0026/face", "bytes"]
    async with files() as unit:
        assert await unit.avatars(user="ann")(year=26).get("face") == aiofs.Picture(PNG, "image/png", 640, 480)
        assert await unit.raw.get("bytes") == b"raw"
        assert await unit.data.get("b.json") == {"zwölf": [1, None]}
        assert (await unit.notes.get("c")).text == "remember"
        assert unit.data.media_type("b.json") == "application/json"
        assert unit.texts.media_type("a") == "text/plain"
        assert unit.raw.media_type("bytes") == "application/octet-stream"


async def test_all_or_nothing_over_all_repositories(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    files = declare(disk, memory)
    with pytest.raises(ValueError, match="stop"):
        async with files() as unit:
            await unit.raw.put("a", b"a")
            await unit.texts.put("a", "a")
            raise ValueError("stop")
    async with files(auto_commit=False) as unit:
        await unit.texts.put("a", "a")
    assert await disk.ls() == await memory.ls() == []
    async with files(auto_commit=False) as unit:
        await unit.texts.put("a", "a")
        await unit.raw.put("a", b"a")
        await unit.commit()
    assert await disk.ls() == ["texts/a"]
    assert not (await files.recover()).ended


async def test_put_create_delete_list(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    files = declare(disk, memory)
    async with files() as unit:
        for name in ("a", "ab", "b/c"):
            await unit.texts.create(name, name)
        with pytest.raises(FileExistsError):
            await unit.texts.create("a", "again")
        assert await unit.texts.list() == ["a", "ab", "b/c"]
        assert await unit.texts.list("a") == ["a", "ab"]
        assert await unit.texts.list(after="a") == ["ab", "b/c"]
        await unit.texts.delete("a", "ab")
        with pytest.raises(FileNotFoundError):
            await unit.texts.delete("b/c", "a")
        await unit.texts.delete("a", missing_ok=True)
        with pytest.raises(FileNotFoundError):
            await unit.texts.get("a")
    assert await disk.ls() == ["texts/b/c"]


async def test_streams(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    files = declare(disk, memory)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    async with files() as unit:
        await unit.raw.put("stream", chunks())
        async with unit.raw.open("stream", "a") as file:
            await file.write(b"end")
        async with unit.raw.open("stream") as file:
            assert (await file.read())[-4:] == b"xend"
    assert (await memory.stat("stream")).size == 100_003


async def test_only_what_is_allowed(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    async with declare(disk, memory)() as unit:
        for refused in (unit.data.delete("a"), unit.data.list(), unit.data.create("a", 1), unit.data.url("a")):
            with pytest.raises(PermissionError):
                await refused
        with pytest.raises(PermissionError):
            unit.data.open("a", "x")
        with pytest.raises(OSError, match="no presigned URLs"):
            await unit.raw.url("a")
    with pytest.raises(ValueError, match="burn"):
        aiofs.repository(disk, allow={"burn"})  # type: ignore[arg-type]


async def test_values_of_another_kind(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    async with declare(disk, memory)() as unit:
        avatars = unit.avatars(user="ann", year=1)
        with pytest.raises(ValueError, match="no PNG"):
            await avatars.put("face", b"GIF, almost")
        with pytest.raises(TypeError, match="Text"):
            await unit.raw.put("a", "text")
        with pytest.raises(TypeError):
            await unit.texts.put("a", b"bytes")
        with pytest.raises(TypeError, match="Note"):
            await unit.notes.put("a", "text")
        await unit.raw.put("avatars/ann/0001/bad", b"no image")
        with pytest.raises(ValueError, match="no PNG"):
            await avatars.get("bad")


def test_images_tell_their_size() -> None:
    for data, kind, width, height in (
        (PNG, "image/png", 640, 480),
        (GIF, "image/gif", 3, 5),
        (JPEG, "image/jpeg", 9, 7),
    ):
        assert aiofs.Picture.of(data) == aiofs.Picture(data, kind, width, height)
        for size in range(len(data) - 4):
            with pytest.raises(ValueError, match="no PNG"):
                aiofs.Picture.of(data[: min(size, 20)] if data is PNG else data[: min(size, 6)])


async def test_folders_with_holes(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    async with declare(disk, memory)() as unit:
        with pytest.raises(ValueError, match="no value for"):
            await unit.avatars.put("face", PNG)
        with pytest.raises(ValueError, match="no hole named"):
            unit.avatars(user="ann", year=1, color="red")
        for user in ("", "..", "a/b", 7):
            with pytest.raises(ValueError, match="'user' is a text"):
                unit.avatars(user=user, year=1)
        with pytest.raises(ValueError, match="'year' is an integer"):
            unit.avatars(user="ann", year="1")
        assert unit.avatars.parse("avatars/ann/0026") == {"user": "ann", "year": 26}
        assert unit.avatars(user="ann", year=26).folder == "avatars/ann/0026"


def test_a_template_reads_what_it_renders() -> None:
    template = aiofs.PathTemplate("{user}/{year:d}/{month:02d}")
    assert template.render(user="a.b", year=2026, month=3) == "a.b/2026/03"
    assert template.match("a.b/2026/03") == {"user": "a.b", "year": 2026, "month": 3}
    for other in ("a/2026/3", "a/b/2026/03", "a/2026/03/x", "a/x/03", ""):
        assert template.match(other) is None
    for wrong in ("{}", "{0}", "{a}{a}", "{a:x}", "{a!r}"):
        with pytest.raises(ValueError, match="template"):
            aiofs.PathTemplate(wrong)


def test_a_unit_without_repositories() -> None:
    class Nothing(aiofs.UnitOfWork):
        pass

    with pytest.raises(TypeError, match="declares no repository"):
        Nothing()


async def test_names_can_be_pure_paths(disk: aiofs.FileSystem, memory: aiofs.FileSystem) -> None:
    files, name = declare(disk, memory), PurePosixPath("folder", "name")
    async with files() as unit:
        await unit.texts.create(name, "first")
        await unit.texts.put(name, "text")
        assert await unit.texts.get(name) == "text"
        async with unit.texts.open(name) as file:
            assert await file.read() == b"text"
        assert await unit.texts.list() == ["folder/name"]
        for bad in (PurePosixPath("/name"), PurePosixPath("../name"), PureWindowsPath("name")):
            with pytest.raises(ValueError, match="path"):
                await unit.texts.put(bad, "text")
        await unit.texts.delete(name)
