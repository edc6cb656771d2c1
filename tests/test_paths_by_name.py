"""CPython's tests of paths (3.11 to 3.13) and anyio's tests of `Path`, gone through by their names.

For each subject of theirs, `SAME` says which test of ours is about it, or `DIFFERS` which words of docs/paths.md are.
"""

from __future__ import annotations

import os
import pathlib
import pickle
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

import aiofs

if TYPE_CHECKING:
    from pathlib import Path

HERE = pathlib.Path(__file__)
PAGE = (HERE.parents[1] / "docs" / "paths.md").read_text("utf-8")
OURS = "".join(
    path.read_text("utf-8")
    for path in (
        HERE,
        HERE.with_name("test_path.py"),
        HERE.parents[1] / "aiofs/testing/contract/objects.py",
        HERE.parent / "backends/osfiles/test_deep.py",
        HERE.parent / "backends/osfiles/test_links.py",
    )
)

SAME = {
    "bytes str fspath": "test_a_local_name_is_that_of_pathlib",
    "comparison hash eq": "test_paths_of_one_store_are_equal_also_after_pickling",
    "constructor constructor_nested parse_path": "test_what_a_path_is_made_of",
    "copy move": "test_298_unlink_and_rename",
    "div div_nested truediv rtruediv join join_nested joinpath": "test_names_are_joined_from_both_sides",
    "exists is_dir is_file": "test_297_kinds_of_paths",
    "full_match fullmatch": "test_full_match_is_that_of_pathlib",
    "glob rglob": "test_296_path_glob",
    "glob_above_recursion_limit walk_above_recursion_limit": "test_a_deep_file_is_found",
    "glob_long_symlink rglob_symlink_loop iterdir_symlink walk_follow_symlinks": "test_a_loop_of_links_ends",
    "iterdir iterdir_nodir": "test_295_iterdir",
    "is_relative_to relative_to": "test_relative_names_are_those_of_pathlib",
    "match match_empty": "test_names_are_read_as_by_pathlib",
    "name stem suffix suffixes parts parent": "test_names_are_read_as_by_pathlib",
    "name_empty stem_empty with_name_empty with_stem_empty with_suffix_empty": "test_the_root_has_no_name_to_change",
    "ordering": "test_300_order_of_paths",
    "parents": "test_parents_are_indexed_as_in_pathlib",
    "pickling": "test_paths_of_one_store_are_equal_also_after_pickling",
    "read_write_bytes": "test_290_path_of_a_name",
    "read_write_text read_text_with_newlines write_text_with_newlines": "test_text_has_the_newlines_of_pathlib",
    "rename replace unlink unlink_missing_ok": "test_298_unlink_and_rename",
    "repr repr_roundtrips": "test_a_local_path_is_what_its_repr_says",
    "rmdir mkdir mkdir_exist_ok mkdir_with_child_file touch touch_nochange": "test_299_folders_of_paths",
    "properties magic_methods": "test_every_name_of_pathlib_is_there_or_explained",
    "str_subclass": "test_a_str_of_its_own_class_becomes_a_plain_one",
    "walk walk_topdown": "test_301_walk_of_a_path",
    "walk_prune": "test_a_walk_is_pruned",
    "with_name with_stem with_suffix with_name_seps with_suffix_invalid": "test_names_are_changed_as_by_pathlib",
}
DIFFERS = {
    "absolute is_absolute is_reserved drive root anchor with_segments parser concrete_parser": "`is_absolute`",
    "as_posix as_bytes": "`as_posix`",
    "as_uri from_uri": "`from_uri`",
    "case_sensitive glob_case_sensitive glob_recurse_symlinks": "`glob(case_sensitive=",
    "chmod owner group is_mount is_fifo is_socket is_block_device is_char_device": "`chmod`",
    "copy_into move_into": "`copy_into`",
    "cwd home expanduser": "`expanduser`",
    "different_parsers_unequal different_parsers_unordered": '`P("a") == PurePosixPath("a")`',
    "drive_windows join_windows str_windows parse_windows_path": "`WindowsPath`",
    "empty_path": '`P("")`',
    "equivalences resolve_dot": '`P("a//b")`',
    "glob_dot glob_dotdot glob_empty_pattern": '`glob("..")`',
    "glob_inaccessible glob_permissions walk_bad_dir": "`walk(top_down=",
    "glob_pathlike rglob_pathlike": "`glob(PurePath(",
    "hardlink_to symlink_to readlink lstat is_symlink is_junction samefile resolve link_to": "`samefile`",
    "mkdir_parents mkdir_no_parents_file touch_mode": "`mkdir(mode=)`",
    "open open_mode open_unbuffered with": "`open(buffering=)`",
    "passing_kwargs_deprecated relative_to_several_args is_relative_to_several_args": '`relative_to("a", "b")`',
    "stat stat_no_follow_symlinks": "`os.stat_result`",
    "walk_bottom_up": "`walk(top_down=",
}


def test_every_subject_has_its_place() -> None:
    assert not [test for test in SAME.values() if not re.search(rf"def {test}\w*\(", OURS)]
    assert not [words for words in DIFFERS.values() if words not in PAGE]
    subjects = [subject for subjects in (*SAME, *DIFFERS) for subject in subjects.split()]
    assert len(set(subjects)) == len(subjects)


def test_every_name_of_pathlib_is_there_or_explained() -> None:
    names = [name for name in dir(pathlib.Path) if not name.startswith("_")]
    left_out = [name for name in names if name not in dir(aiofs.Path)]
    assert not [name for name in left_out if not re.search(rf"`(\w+`, `)*{name}\b", PAGE)]
    assert "resolve" in left_out


@pytest.mark.parametrize("name", ["a/b/c", "a", ""])
def test_parents_are_indexed_as_in_pathlib(name: str) -> None:
    ours, theirs = (aiofs.MemoryFileSystem() / name).parents, PurePosixPath(name).parents
    assert len(ours) == len(theirs)
    for index in range(-len(theirs), len(theirs)):
        assert (ours[index].path or ".") == str(theirs[index])
    for part in (slice(1, None), slice(None, None, -1), slice(0, -1), slice(5, 9)):
        assert [each.path or "." for each in ours[part]] == [str(each) for each in theirs[part]]
    with pytest.raises(IndexError):
        ours[len(theirs)]


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
async def test_text_has_the_newlines_of_pathlib(newline: str | None, tmp_path: Path) -> None:
    text = "one\r\ntwo\nthree\rfour"
    ours, theirs = aiofs.LocalPath(tmp_path) / "ours", tmp_path / "theirs"
    await ours.write_text(text, newline=newline)
    theirs.write_text(text, newline=newline)
    assert await ours.read_bytes() == theirs.read_bytes()
    with theirs.open(newline=newline) as file:
        assert await ours.read_text(newline=newline) == file.read()
    with pytest.raises(TypeError):
        await ours.write_text(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await ours.write_bytes("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a/b", "/a/b", "..", ".", "a'b", 'a"b', "a\\b"])
def test_a_local_path_is_what_its_repr_says(text: str) -> None:
    path = aiofs.LocalPath(text)
    assert eval(repr(path), {"aiofs": aiofs}) == path == pickle.loads(pickle.dumps(path))
    assert os.fspath(path) == os.fspath(pathlib.Path(text))


async def test_a_walk_is_pruned(tmp_path: Path) -> None:
    top = aiofs.LocalPath(tmp_path)
    for name in ("a/x/1", "a/y/2", "b/3"):
        await (top / name).touch()
    seen = []
    async for folder, folders, files in top.walk():
        if "x" in folders:
            folders.remove("x")
        seen.append((folder.relative_to(top).as_posix(), files))
    assert seen == [(".", []), ("a", []), ("a/y", ["2"]), ("b", ["3"])]


@pytest.mark.may_block
async def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    top = aiofs.LocalPath(tmp_path)
    await (top / "folder" / "file").touch()
    (tmp_path / "folder" / "loop").symlink_to("..")
    assert [path.name for path in await top.rglob("fi*")] == ["file"]
    assert [files async for _, _, files in top.walk()] == [[], ["file"]]
    assert [path.name for path in await (top / "folder").iterdir()] == ["file"]


async def test_below_a_file_there_is_nothing(tmp_path: Path) -> None:
    for top in (aiofs.LocalPath(tmp_path), aiofs.MemoryFileSystem() / ""):
        await (top / "file").touch()
        below: Any = top / "file" / "below"
        assert [await below.exists(), await below.is_file(), await below.is_dir()] == [False, False, False]
        with pytest.raises(OSError, match="below"):
            await below.read_bytes()


def test_patterns_are_text() -> None:
    path: Any = aiofs.MemoryFileSystem() / "a"
    for verb in (path.glob, path.rglob, path.full_match):
        with pytest.raises(TypeError, match="a pattern is a str"):
            verb(PurePosixPath("*.txt"))
    for verb in (path.glob, path.rglob, path.full_match, path.match):
        with pytest.raises(ValueError, match=r".+"):
            verb("")
    with pytest.raises(TypeError):
        path.relative_to("a", "b")
    with pytest.raises(TypeError):
        aiofs.Path("a", extra=1)  # type: ignore[call-arg]
