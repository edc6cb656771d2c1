"""Paths: their names are read as pathlib reads them, and say which store they are of. The verbs are in the contract."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, get_overloads

import pytest

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.layers import Base64, Gzip, HashPrefix, Limit, Matching
from aiofs.path import DiskPath

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = (
    "a",
    "a/b",
    "a/b/c.py",
    "a.tar.gz",
    ".rc",
    ".rc.d/x",
    "a b/ c",
    "...",
    "a.",
    "é/日本.txt",
    "C:",
    "c:/d",
    "~",
    "a\\b",
)
FACTS = ("name", "stem", "suffix", "suffixes", "parts")
CHANGES: list[tuple[str, Any]] = [
    *(("with_name", name) for name in ("x", "x.y", ".x", "", "a/b", "/", ".", "\\")),
    *(("with_stem", stem) for stem in ("x", "x.y", "", "a/b")),
    *(("with_suffix", suffix) for suffix in (".x", ".x.y", "", "x", ".", "./x", "/x")),
]
PATTERNS = ("*", "*.py", "a/*", "b/*.py", "a/b/*", "A", "[ab]", "**", "a/**", "?", "/a", "x/*", "*/c.py", ".*")


def outcome(call: Callable[[], object]) -> object:
    """What a call returns, as text, or the class of its error."""
    try:
        result = call()
    except (ValueError, TypeError) as error:
        return type(error)
    return result.path if isinstance(result, aiofs.Path) else str(result)


@pytest.fixture
def fs() -> aiofs.MemoryFileSystem:
    return aiofs.MemoryFileSystem()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_read_as_by_pathlib(fs: aiofs.MemoryFileSystem, name: str) -> None:
    path, pure = fs / name, PurePosixPath(name)
    assert path.path == str(pure)
    for fact in FACTS:
        assert getattr(path, fact) == getattr(pure, fact), fact
    assert [str(folder.path or ".") for folder in path.parents] == [str(folder) for folder in pure.parents]
    assert (path.parent.path or ".") == str(pure.parent)
    for pattern in PATTERNS:
        assert path.match(pattern) == pure.match(pattern), pattern


@pytest.mark.parametrize("name", NAMES)
def test_names_are_changed_as_by_pathlib(fs: aiofs.MemoryFileSystem, name: str) -> None:
    for change, argument in CHANGES:
        expected = outcome(lambda: getattr(PurePosixPath(name), change)(argument))  # noqa: B023 -- called at once
        got = outcome(lambda: getattr(fs / name, change)(argument))  # noqa: B023 -- called at once
        if expected in {".", ".."} or f"/{expected}".endswith(("/.", "/..")):
            expected = ValueError  # pathlib makes what is no name here
        assert got == expected, (change, argument)


@pytest.mark.parametrize("change", ["with_name", "with_stem", "with_suffix"])
def test_the_root_has_no_name_to_change(fs: aiofs.MemoryFileSystem, change: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        getattr(fs / "", change)(".x")


def test_the_root_is_its_own_parent(fs: aiofs.MemoryFileSystem) -> None:
    root = fs / ""
    assert (root.path, root.name, root.parts, root.parents) == ("", "", (), ())
    assert root.parent == root == (fs / "a").parent == fs / PurePosixPath(".")


@pytest.mark.parametrize(
    ("name", "other"),
    [("a/b", "a"), ("a/b", ""), ("a/b", "a/b"), ("a/b", "b"), ("a/b", "a/b/c"), ("ab", "a"), ("a", "A"), ("é/b", "é")],
)
def test_relative_names_are_those_of_pathlib(fs: aiofs.MemoryFileSystem, name: str, other: str) -> None:
    path, pure = fs / name, PurePosixPath(name)
    for folder in (other, PurePosixPath(other), fs / other):
        assert path.is_relative_to(folder) == pure.is_relative_to(other)
        assert outcome(lambda: path.relative_to(folder)) == outcome(lambda: pure.relative_to(other))  # noqa: B023


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        *(("a", "a", True), ("a", "A", False), ("a/b", "*", False), ("a/b", "**", True), ("a/b", "a/**", True)),
        *(("a", "a/**", False), ("b", "**/b", True), ("a/x/y/b", "a/**/b", True), ("a/b", "a/**/b", True)),
        *((".h", "*", True), ("a/b.py", "a/*.py", True), ("a/b.py", "*.py", False), ("a/b", "?/[ab]", True)),
        *(("a[1]", "a[1]", False), ("a[1]", "a[[]1]", True), ("a/b", "a/[!b]", False), ("a/b", "**/**", True)),
    ],
)
def test_full_match_is_that_of_pathlib(
    fs: aiofs.MemoryFileSystem, tmp_path: Path, name: str, pattern: str, matches: bool
) -> None:
    assert (fs / name).full_match(pattern) is matches
    local = aiofs.Path(tmp_path) / name
    assert local.full_match(f"{tmp_path.as_posix()}/{pattern}") is matches
    assert not local.full_match(pattern) or pattern == "**"
    full_match: Any = getattr(PurePosixPath(name), "full_match", None)  # of Python 3.13
    assert full_match is None or full_match(pattern) is matches


def test_names_are_joined_from_both_sides(fs: aiofs.MemoryFileSystem) -> None:
    path = fs / "b"
    assert (path / "c").path == path.joinpath("c").path == "b/c"
    assert path.joinpath("c", PurePosixPath("d/e"), "f/").path == "b/c/d/e/f"
    assert path.joinpath() is path / "" or path.joinpath() == path / ""
    assert ("a" / path).path == (PurePosixPath("a/x") / path).parent.parent.path + "/b" == "a/b"
    for wrong in (1, None, b"c", object(), path):
        name: Any = wrong
        with pytest.raises(TypeError):
            path / name
        if wrong is not path:
            with pytest.raises(TypeError):
                name / path


def test_a_str_of_its_own_class_becomes_a_plain_one(fs: aiofs.MemoryFileSystem) -> None:
    class Name(str):
        __slots__ = ()

    path = fs / Name("a") / Name("b")
    assert type(path.path) is str
    assert [type(part) for part in path.parts] == [str, str]


def test_what_a_path_is_made_of(fs: aiofs.MemoryFileSystem) -> None:
    path = fs / "a"
    assert aiofs.Path(fs) == fs / ""
    assert aiofs.Path(fs, "a", "b") == aiofs.Path(path, "b") == path / "b"
    assert aiofs.Path("s3://bucket", "a/b") == aiofs.S3FileSystem("bucket") / "a" / "b"
    assert aiofs.Path("redis://localhost/1/a/b") == aiofs.RedisFileSystem("redis://localhost/1") / "a" / "b"
    assert aiofs.Path("memory://a/b") == aiofs.Path("memory://", "a", "b")
    for wrong in ("nonsense://a", "s3://bucket/a//b", "s3://bucket/../a", "s3://bucket/a?nonsense=1", "unix:///a/b"):
        with pytest.raises(ValueError, match=r".+"):
            aiofs.Path(wrong)
    nothing: Any
    for nothing in (None, 1, b"a"):
        with pytest.raises(TypeError):
            aiofs.Path(nothing)


def test_paths_by_url_share_a_file_system() -> None:
    path = aiofs.Path("redis://localhost/1/a")
    assert path.system is aiofs.Path("redis://localhost/1/b").system is (path.parent / "c").system
    assert path.system is not aiofs.Path("redis://localhost/2/a").system


class Equal:
    """Which file systems have the same files."""

    same: ClassVar[list[Callable[[], aiofs.FileSystem]]] = [
        lambda: aiofs.OSFileSystem("data"),
        lambda: aiofs.OSFileSystem("data").at("a"),
        lambda: aiofs.S3FileSystem("bucket", endpoint_url="http://localhost:1"),
        lambda: aiofs.S3FileSystem("bucket", locks=aiofs.RedisFileSystem("redis://localhost")),
        lambda: aiofs.OSFileSystem("data", locks=aiofs.RedisFileSystem("redis://localhost")),
        lambda: aiofs.RedisFileSystem("redis://localhost/3", prefix="a"),
        lambda: aiofs.AzureFileSystem("container", account_url="https://account.blob.core.windows.net"),
        lambda: aiofs.FastDFSFileSystem("localhost", index=aiofs.RedisFileSystem("redis://localhost")),
        lambda: aiofs.S3FileSystem("bucket").over(Gzip(), HashPrefix(2), Matching(r".+"), Limit(1000)),
        lambda: aiofs.TransactionalFileSystem(aiofs.OSFileSystem("data")),
    ]


@pytest.mark.parametrize("made", Equal.same)
def test_paths_of_one_store_are_equal_also_after_pickling(made: Callable[[], aiofs.FileSystem]) -> None:
    path = made() / "a" / "b"
    for other in (made() / "a/b", pickle.loads(pickle.dumps(path)), copy.copy(path), copy.deepcopy(path)):
        assert other == path
        assert hash(other) == hash(path)
        assert not other < path <= other
        assert type(other) is type(path)
        assert {other: 1}[path] == 1


def test_stores_differ() -> None:
    systems = [*(made() for made in Equal.same), *(made() for made in Equal.same[:1])]
    systems[-1] = aiofs.OSFileSystem("elsewhere")
    systems += [aiofs.S3FileSystem("bucket"), aiofs.S3FileSystem("bucket", prefix="p"), aiofs.MemoryFileSystem()]
    systems += [aiofs.S3FileSystem("bucket").over(Gzip()), aiofs.S3FileSystem("bucket").over(Base64())]
    systems += [aiofs.S3FileSystem("bucket").over(Gzip(level=9)), aiofs.RedisFileSystem("redis://localhost/4")]
    paths = [system / "a" for system in systems if not isinstance(system, aiofs.TransactionalFileSystem)]
    assert len(set(paths)) == len(paths)
    for path in paths[1:]:
        assert not paths[0] == path  # noqa: SIM201 -- the operator
    with pytest.raises(TypeError):
        assert paths[2] < paths[3]
    with pytest.raises(TypeError):
        assert paths[2] < "a"  # type: ignore[operator]


def test_memory_is_its_instance(fs: aiofs.MemoryFileSystem) -> None:
    path = fs / "a"
    assert path == fs.over() / "a" == copy.deepcopy(path)
    assert path != aiofs.MemoryFileSystem() / "a"
    assert pickle.loads(pickle.dumps(path)) != path
    one, two = pickle.loads(pickle.dumps([path, fs / "a"]))
    assert one == two


async def test_a_path_in_a_transaction_is_of_the_transaction(fs: aiofs.MemoryFileSystem) -> None:
    async with aiofs.transaction(fs) as tx:
        path = tx / "a"
        await path.write_text("new")
        assert await path.exists()
        assert path != fs / "a"
        assert not await (fs / "a").exists()
        with pytest.raises(aiofs.Unsupported, match="in a transaction"):
            await path.copy(fs / "b")
    assert await (fs / "a").read_text() == "new"


async def test_other_stores_are_targets_and_folders_are_none(fs: aiofs.MemoryFileSystem) -> None:
    path, other = fs / "a", aiofs.MemoryFileSystem()
    await path.write_text("text")
    for verb in (path.copy, path.move, path.rename, path.replace):
        for target in (fs / "", "", other / ""):
            with pytest.raises(IsADirectoryError):
                await verb(target)
    assert await path.copy(other / "b") == other / "b"
    assert await path.move(other / "c") == other / "c"
    assert await (other / "c").rename(fs / "d") == fs / "d"
    assert await (fs / "d").replace(fs / "d") == fs / "d"
    assert [*await fs.ls(), *await other.ls()] == ["d", "b"]


def test_what_was_a_method_of_the_folder_says_where_it_is(fs: aiofs.MemoryFileSystem) -> None:
    folder: Any = fs / "folder"
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        folder.nonsense  # noqa: B018 -- the access is what is tested
    with pytest.raises(TypeError, match=r"give its \.path"):
        fs.stat(folder).send(None)


def test_what_paths_show() -> None:
    assert repr(aiofs.S3FileSystem("bucket") / "a") == "<Path 'a' in s3://bucket/>"
    assert str(aiofs.MemoryFileSystem() / "a") == "<MemoryDriver>/a"
    secret = aiofs.RedisFileSystem("redis://:hunter2@localhost/1") / "a"
    assert "hunter2" not in f"{secret!r} {secret}"


# Local files


def test_a_local_name_is_that_of_pathlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (tmp_path / "a" / "b", f"file://{tmp_path}/a/b", "~/a/b", f"{tmp_path}//a/./b/"):
        path = aiofs.Path(name)
        assert isinstance(path, aiofs.LocalPath)
        assert os.fspath(path) == str(path) == str(tmp_path / "a" / "b")
        assert repr(path) == f"aiofs.Path({str(path)!r})"
        assert path == aiofs.OSFileSystem(tmp_path) / "a" / "b"
    for text in ("a/b", "./a/b/", "../a", "..", ".", "/", "/a", str(tmp_path)):
        path, pure = aiofs.Path(text), PurePosixPath(text)
        assert (str(path), path.name, path.parts) == (str(pure), pure.name, pure.parts)
        assert list(map(str, path.parents)) == list(map(str, pure.parents))
        assert [path, path / "x"] == [aiofs.OSFileSystem(text) / name for name in ("", "x")]
        assert pickle.loads(pickle.dumps(path)) == path
        assert path.is_relative_to(tmp_path) == pure.is_relative_to(tmp_path)
    for wrong in ("", "a\0b"):
        with pytest.raises(ValueError, match="path"):
            aiofs.Path(wrong)
    for wrong in ("..", "/b", "b/./c"):
        with pytest.raises(ValueError, match="path"):
            aiofs.Path("a") / wrong


async def test_relative_paths_are_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = aiofs.Path("folder"), aiofs.Path("folder/file")
    assert str(file) == "folder/file"
    monkeypatch.chdir(tmp_path)
    await file.write_text("text")
    assert (tmp_path / "folder" / "file").read_text() == "text"
    assert await folder.iterdir() == [file]
    assert await (folder / "file").read_text() == "text"
    assert await aiofs.Path(".").rglob("*") == [file]
    assert await aiofs.Path("folder/..").rglob("*") == [aiofs.Path("folder/../folder/file")]
    moved = await file.rename(tmp_path / "moved")
    copied = await moved.copy("copied")
    assert copied == aiofs.Path("copied")
    assert await aiofs.Path(tmp_path).iterdir() == [aiofs.Path(tmp_path, "copied"), moved]
    assert await aiofs.Path("..", tmp_path.name).is_dir()
    await aiofs.OSFileSystem(".").rm("copied", "moved")


async def test_local_paths_do_what_pathlib_does(tmp_path: Path) -> None:
    path = aiofs.LocalPath(tmp_path) / "a" / "b.txt"
    await path.write_text("text")
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    with open(path) as file:
        assert file.read() == "text"
    moved = await path.rename(tmp_path / "c" / "d.txt")
    assert moved == aiofs.Path(tmp_path / "c" / "d.txt")
    copied = await moved.copy(aiofs.OSFileSystem(tmp_path) / "e")
    assert [path.name for path in await aiofs.Path(tmp_path).iterdir()] == ["c", "e"]
    assert await aiofs.Path(tmp_path).parent.joinpath(tmp_path.name).rglob("*.txt") == [moved]
    assert await moved.parent.at().ls() == ["d.txt"]
    assert "x" / moved == moved
    assert "x" / aiofs.Path("y") == aiofs.Path("x/y")
    await moved.unlink()
    await copied.unlink()
    assert (tmp_path / "c").is_dir()  # the folder that the path was in


def test_only_local_files_are_for_other_programs(tmp_path: Path, fs: aiofs.MemoryFileSystem) -> None:
    local = aiofs.OSFileSystem(tmp_path)
    for system, name in ((local, "a/b"), (local.at("a"), "b"), (aiofs.TransactionalFileSystem(local), "a/b")):
        assert os.fspath(system / name) == str(tmp_path / "a" / "b")  # type: ignore[call-overload]
    for other in (fs, local.over(Gzip()), aiofs.transaction(local), aiofs.S3FileSystem("bucket")):
        assert not isinstance(other / "a", os.PathLike)
        with pytest.raises(TypeError, match="is not the path of a local file"):
            aiofs.LocalPath(other, "a")


def test_settings_of_a_url_stay_with_its_paths(tmp_path: Path) -> None:
    path = aiofs.Path(f"file://{tmp_path}/a/b?durable=false")
    assert isinstance(path, DiskPath)
    for other in (path, path.parent / "c", pickle.loads(pickle.dumps(path))):
        driver: Any = other.system.driver
        assert not driver._durable


# Words


FORWARDED = (
    "open",
    "read_bytes",
    "read_text",
    "write_bytes",
    "append_bytes",
    "write_text",
    "read_json",
    "write_json",
    "update",
    "download",
    "local",
    "stat",
    "url",
    "history",
    "restore",
)


@pytest.mark.parametrize("verb", FORWARDED)
def test_verbs_take_the_words_of_file_systems(verb: str) -> None:
    def words(of: object) -> dict[str, object]:
        signatures = [inspect.signature(each) for each in overloads_of(of)]
        return {name: part.kind for each in signatures for name, part in each.parameters.items() if name != "path"}

    assert words(getattr(aiofs.Path, verb)) == words(getattr(aiofs.FileSystem, verb))


def overloads_of(function: Any) -> list[Any]:
    return [*get_overloads(function)] or [function]


async def test_metadata_go_through(fs: aiofs.MemoryFileSystem) -> None:
    assert MemoryDriver.capabilities.metadata
    await (fs / "a").write_bytes(b"", metadata={"k": "v"}, content_type="text/x")
    async with (fs / "b").open("w", metadata={"k": "w"}):
        pass
    assert [(entry.metadata, entry.content_type) async for entry in fs.scan()] == [
        ({"k": "v"}, "text/x"),
        ({"k": "w"}, None),
    ]


@pytest.mark.parametrize("place", [None, 3, b"notes.txt"])
def test_what_is_no_path_is_told_what_a_path_is(place: object) -> None:
    with pytest.raises(TypeError, match="a path is a str or a PurePath"):
        aiofs.Path(place)  # type: ignore[arg-type]
