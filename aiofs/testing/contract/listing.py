"""Behaviours 59 to 67: listings."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from aiofs.names import is_reserved
from aiofs.testing.harness import needs, until

if TYPE_CHECKING:
    from aiofs.testing.harness import Harness

ORDER = ("T", "t", "t-", "t-/x", "t.", "t/x", "t/x y", "t0", "t0/x", "tx", "é", "ﬀ", "\N{GRINNING FACE}")


class Listings:
    """What is listed, and in which order."""

    async def test_59_ls_empty(self, store: Harness) -> None:
        """The listing of an empty store, of an empty folder or of a missing name is empty."""
        assert await store.names() == []
        assert await store.fs.ls() == []
        assert await store.fs.ls("no/such/folder") == []
        assert await store.fs.ls(prefix="no such") == []
        await store.put("folder/file")
        assert await store.fs.ls("folde") == []
        assert await store.fs.ls("folder/file") == []
        assert await store.fs.ls("folder/missing", recursive=False) == []

    async def test_60_ls_order(self, store: Harness) -> None:
        """Names are in the order of their UTF-8 bytes, also if the store has real folders."""
        names = [name for name in ORDER if not store.cannot_hold(name)]
        if not store.can.file_and_folder:
            names = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
        for name in random.Random(7).sample(names, len(names)):  # noqa: S311 -- any order but the right one
            await store.put(name, b"x")
        expected = sorted(names, key=str.encode)
        assert await store.names() == expected
        assert [entry.path async for entry in store.fs.scan()] == expected
        for after in expected:
            assert await store.fs.ls(after=after) == [name for name in expected if name.encode() > after.encode()]
        level = sorted({name[: name.find("/") + 1] or name for name in names}, key=str.encode)
        assert await store.fs.ls(recursive=False) == level

    async def test_61_ls_pages(self, store: Harness) -> None:
        """A listing of several pages is complete, for every size of a page."""
        names = sorted(f"many/{number:03}" for number in range(2 * store.page + 1))
        for name in names:
            await store.put(name)
        await store.put("zz/last")
        assert await store.names() == [*names, "zz/last"]
        assert await store.fs.ls("many") == names
        assert await store.fs.ls(recursive=False) == ["many/", "zz/"]
        if store.paged is not None:
            for size in {1, 2, 3, store.page - 1, store.page, store.page + 1, len(names), len(names) + 1} - {0}:
                paged = store.dressed(store.paged(size))
                assert await paged.ls() == [*names, "zz/last"]
                assert await paged.ls("many", after=names[3]) == names[4:]
                assert await paged.ls(recursive=False) == ["many/", "zz/"]

    async def test_62_ls_path(self, store: Harness) -> None:
        """`ls(path)` lists below a whole folder name; `prefix=` may end within a name."""
        names = ["run1/a", "run1/b/c", "run10/x", "run1x"]
        for name in names:
            await store.put(name)
        assert await store.fs.ls("run1") == ["run1/a", "run1/b/c"]
        assert await store.fs.ls("run1/") == ["run1/a", "run1/b/c"]
        assert await store.fs.ls("run1/b") == ["run1/b/c"]
        assert await store.fs.ls("run") == []
        assert await store.fs.ls(prefix="run1") == sorted(names)
        assert await store.fs.ls(prefix="run1/") == ["run1/a", "run1/b/c"]
        assert await store.fs.ls(prefix="run10") == ["run10/x"]
        assert await store.fs.ls("run1", prefix="b") == ["run1/b/c"]

    async def test_63_ls_after(self, store: Harness) -> None:
        """`after=` continues a listing after any name, also one without a file."""
        names = [f"folder/{letter}" for letter in "abcdef"]
        for name in names:
            await store.put(name)
        assert await store.fs.ls(after="folder/c") == names[3:]
        assert await store.fs.ls("folder", after="folder/c") == names[3:]
        assert await store.fs.ls(after="folder/cc") == names[3:]
        assert await store.fs.ls(after="e") == names
        assert await store.fs.ls(after="folder/f") == []
        assert await store.fs.ls(after="z") == []
        got: list[str] = []
        while page := [name async for name in store.fs.ls(after=got[-1] if got else "")][:2]:
            got += page
        assert got == names

    async def test_64_ls_equals_stat(self, store: Harness) -> None:
        """The entry of a file in a listing agrees with `stat`."""
        for number, name in enumerate(("a", "b/c", "b/d e", "f")):
            await store.put(name, b"x" * number)
        listed = [entry async for entry in store.fs.scan()]
        assert [entry.path for entry in listed] == ["a", "b/c", "b/d e", "f"]
        for number, entry in enumerate(listed):
            known = await store.fs.stat(entry.path)
            assert entry.size in {known.size, None}
            assert known.size in {number, None}
            assert entry.version in {known.version, None}
            assert entry.modified is None or known.modified is None or entry.modified == known.modified
            assert known.modified is None or known.modified.tzinfo is not None

    @needs("listed sizes")
    async def test_64_listed_sizes(self, store: Harness) -> None:
        """If the store declares that listings know sizes, they do."""
        for number in range(5):
            await store.put(f"file {number}", b"x" * number * 1000)
        assert [entry.size async for entry in store.fs.scan()] == [0, 1000, 2000, 3000, 4000]

    async def test_65_ls_while_changing(self, store: Harness) -> None:
        """Files that do not change are listed once each while files between them are written and removed."""
        count = min(2 * store.page + 1, 60)
        steady = [f"{number:03}" for number in range(count)]
        for name in steady:
            await store.put(name)
            await store.put(f"{name}-gone")
        seen: list[str] = []
        async for name in store.fs.ls():
            seen.append(name)
            number = len(seen)
            if number < count:
                await store.writer.rm(f"{steady[-number]}-gone", missing_ok=True)
                await store.put(f"{steady[number]}-new")
                await store.put(f"!{number}")
        assert [name for name in seen if name in set(steady)] == steady
        assert len(seen) == len(set(seen))
        assert seen == sorted(seen)

    async def test_66_ls_break_early(self, store: Harness) -> None:
        """A listing that is left early, or cancelled, is closed."""
        for number in range(2 * store.page + 1):
            await store.put(f"{number:03}")
        fs, chaos = store.troubled()
        async for name in fs.ls():
            assert name == "000"
            break
        await until(lambda: chaos.open["lists"] == 0)

        inside = asyncio.Event()

        async def work() -> None:
            async for _ in fs.ls():
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: chaos.open["lists"] == 0)
        assert len(await fs.ls()) == 2 * store.page + 1

    @needs("writable")
    async def test_67_ls_hides(self, store: Harness) -> None:
        """Staging files, lock files and parts are never listed."""
        await store.put("folder/old", b"old")
        async with store.fs.open("folder/old", "r+") as old, store.fs.open("folder/new", "w") as new:
            await old.write(b"n" * (store.part_size + 1))
            await new.write(b"n" * (store.part_size + 1))
            await new.flush()
            for listing in (store.fs.ls(), store.fs.ls("folder"), store.fresh().ls(), store.fs.ls(prefix="f")):
                assert await listing == ["folder/old"]
            assert await store.fs.ls(recursive=False) == ["folder/"]
            assert await store.fs.ls("folder", recursive=False) == ["folder/old"]
            assert await store.fs.ls("folder", glob="*") == ["folder/old"]
        assert await store.names() == ["folder/new", "folder/old"]
        with pytest.raises(ValueError, match="reserved"):
            await store.fs.read_bytes(".aiofs")
        assert not [entry.path async for entry in store.fs.scan() if is_reserved(entry.path)]

    async def test_111_ls_levels(self, store: Harness) -> None:
        """A listing of one level shows its files, and each folder once with a `/` at its end."""
        for name in ("a", "b/c", "b/d/e", "b/d/f", "b-", "g/h"):
            await store.put(name)
        assert await store.fs.ls(recursive=False) == ["a", "b-", "b/", "g/"]
        assert await store.fs.ls("b", recursive=False) == ["b/c", "b/d/"]
        assert await store.fs.ls(recursive=False, after="b/") == ["g/"]
        levels = [level async for level in store.fs.walk()]
        assert [folder for folder, _, _ in levels] == ["", "b", "b/d", "g"]
        assert levels[1] == ("b", ["d"], ["c"])

    async def test_112_glob(self, store: Harness) -> None:
        """Patterns match whole names: `*`, `?` and `[abc]` within a segment, `**` across segments."""
        for name in ("a.txt", "b.csv", "d/a.txt", "d/e/a.txt", "d/e/b.csv", "[1].txt"):
            await store.put(name)
        assert await store.fs.glob("*.txt") == ["[1].txt", "a.txt"]
        assert await store.fs.glob("d/*") == ["d/a.txt"]
        assert await store.fs.glob("d/**/*.txt") == ["d/a.txt", "d/e/a.txt"]
        assert await store.fs.glob("**/b.csv") == ["b.csv", "d/e/b.csv"]
        assert await store.fs.ls("d", glob="e/?.csv") == ["d/e/b.csv"]
        assert await store.fs.glob("no/such/*") == []

    async def test_112_walk(self, store: Harness) -> None:
        """`walk` goes through the folders level by level, and yields nothing for a missing folder."""
        for name in ("a.txt", "d/a.txt", "d/e/b.csv"):
            await store.put(name)
        below = [("d", ["e"], ["a.txt"]), ("d/e", [], ["b.csv"])]
        assert [level async for level in store.fs.walk()] == [("", ["d"], ["a.txt"]), *below]
        assert [level async for level in store.fs.walk("d")] == below
        assert [level async for level in store.fs.walk("no/such")] == []
