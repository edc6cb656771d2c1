"""A journal is input: whatever it holds, recovery stays in the file systems that it was given."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import aiofs
from aiofs.backends.memory import MemoryDriver
from aiofs.backends.osfiles import OSDriver
from aiofs.filesystem import FileSystem
from aiofs.layers import HashPrefix, Percent, Prefix
from aiofs.testing import Stepped, Steps
from aiofs.transactions import commit
from aiofs.transactions.journal import Journal, fetch
from aiofs.transactions.records import FOLDER, decode
from transaction.test_journal import crashed
from transaction.test_troubles import Plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiofs.driver import Driver
    from aiofs.transactions.transaction import FileTransaction

OUTSIDE = {"b/secret": b"of somebody else", "secret": b"of nobody in a", "ab": b"begins like a"}
INSIDE = {"old": b"old", "large": b"old" * 9, "gone": b"to be removed"}
LEADS_OUT = ["../b/secret", "..", "../../b/secret", "/b/secret", "x/../../b/secret", "./../b/secret", "b\0", "../b/new"]
ODD = [*LEADS_OUT, "", ".", "a//b", "old/", "\ud800", "x" * 300, f"{FOLDER}/x", ".aiofs-lock", "\r\nX-Evil: 1", "old"]
NOT_TEXT: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1 << 70,
    1.5,
    [],
    {},
    [[]],
    {"path": "../b/secret"},
    ["", "../b/secret", ""],
]


@dataclass
class House:
    """A store with the folders of several tenants, and all that is asked of it."""

    base: Driver
    plain: bool
    steps: Steps = field(default_factory=Steps)

    def tenant(self) -> FileSystem:
        """Return the folder of one of them, as a file system that nobody used yet."""
        watched = FileSystem(Stepped(self.steps).bind(self.base))
        return (watched.over(Plain(resume=False)) if self.plain else watched).at("a")

    async def furnish(self) -> None:
        everything = FileSystem(self.base)
        for path, data in OUTSIDE.items():
            await everything.write_bytes(path, data)
        for path, data in INSIDE.items():
            await everything.write_bytes(f"a/{path}", data)

    async def outside(self) -> dict[str, bytes]:
        """Return all that lies beside the tenant's folder, hidden files included."""
        names = [entry.path async for entry in self.base.list() if not entry.path.startswith("a/")]
        return {name: await fetch(self.base, name) for name in names}

    def check_calls(self) -> None:
        """Fail if a call was about something outside."""
        for step in self.steps.taken:
            verb, _, paths = step.partition(" ")
            assert paths.startswith("a/"), step
            assert "/../" not in paths, step
            assert verb


async def change(tx: FileTransaction) -> None:
    async with tx.open("old", "a") as file:
        await file.write(b", new")
    await tx.write_bytes("large", b"new" * 9)
    await tx.write_bytes("made/new", b"new")
    await tx.rm("gone")


class Died(BaseException):
    """The process is killed."""


async def leave_undecided(fs: FileSystem) -> None:
    """Leave a transaction as a process that dies before the decision does."""
    with pytest.MonkeyPatch.context() as patch:
        tx = aiofs.transaction(fs, auto_commit=False)
        await tx.__aenter__()
        await change(tx)
        held = list(tx._unit.drivers[""].leases.values())
        log = tx._unit._log
        assert log is not None

        async def die(*_: object) -> None:
            raise Died

        patch.setattr(tx._unit, "_decide", die)
        with pytest.raises(Died):
            await tx.commit()
    for lease in held:
        await lease.release()
    await log.release()


async def forge(fs: FileSystem, change: Callable[[list[dict[str, Any]]], list[bytes]]) -> None:
    """Rewrite the log of the only transaction, with checksums that fit."""
    driver = fs.driver
    (unit,) = await Journal(driver).units()
    names = [entry.path async for entry in driver.list(f"{FOLDER}/{unit}.") if "data" not in entry.path]
    records = [record for name in names for record in decode(await fetch(driver, name), name)[0]]
    whole = b"".join(map(line, change(records)))
    for name in names:
        await rewrite(driver, name, whole if name == names[0] else b"")


async def rewrite(driver: Driver, name: str, data: bytes) -> None:
    """Make `data` the bytes of a file of the journal."""
    lease = await driver.lock(name)
    session = await driver.begin(name, lease)
    await session.write(data)
    await session.commit()
    await lease.release()


def line(body: bytes, mark: bytes = b"aiofs-journal/2") -> bytes:
    checksum = hashlib.blake2b(body, digest_size=8).hexdigest().encode()
    return b"\n%s %s %s\n" % (mark, checksum, body)


def bodies(records: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(record).encode() for record in records]


async def everything_that_recovers(fs: Callable[[], FileSystem]) -> None:
    """Recover in all ways that there are; whatever is raised is an error of the package."""
    for act in (_recover, _check, _begin, _fix):
        with contextlib.suppress(aiofs.AiofsError):
            await act(fs())


async def _recover(fs: FileSystem) -> None:
    await aiofs.recover(fs)


async def _check(fs: FileSystem) -> None:
    await aiofs.fsck(fs)


async def _begin(fs: FileSystem) -> None:
    async with aiofs.transaction(fs) as tx:
        await tx.write_bytes("another", b"new")


async def _fix(fs: FileSystem) -> None:
    await aiofs.fsck(fs, fix=True)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where all values within a value are."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def value_at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


Seed = tuple[int, int, int]
Forgery = Callable[[list[dict[str, Any]]], list[bytes]]


def mutate_by(seeds: list[Seed]) -> Forgery:
    """Return what makes other lines of the lines of a real journal."""

    def mutate(records: list[dict[str, Any]]) -> list[bytes]:
        for where, what, pick in seeds:
            found = list(places(records))
            if found:
                *outer, key = found[where % len(found)]
                other = value_at(records, found[pick % len(found)])
                change_at(value_at(records, tuple(outer)), key, what, [*ODD, *NOT_TEXT, other], pick)
        return bodies(records)

    return mutate


def change_at(inside: Any, key: Any, what: int, pool: list[Any], pick: int) -> None:
    if what == 0:
        del inside[key]
    elif what == 1 and isinstance(inside, dict):
        inside[ODD[pick % len(ODD)]] = inside.pop(key)
    elif what == 2 and isinstance(inside, list):
        inside.insert(key, json.loads(json.dumps(inside[key])))
    elif what == 3 and isinstance(inside[key], str):
        inside[key] = ODD[pick % len(ODD)]
    else:
        inside[key] = json.loads(json.dumps(pool[pick % len(pool)]))


def houses(root: Path) -> Iterator[House]:
    yield House(MemoryDriver(), plain=False)
    yield House(MemoryDriver(), plain=True)
    yield House(OSDriver(root, durable=False), plain=False)


async def survive(house: House, forgery: Callable[[list[dict[str, Any]]], list[bytes]], *, decided: bool) -> None:
    await house.furnish()
    outside = await house.outside()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "SMALL", 10)  # the larger files are kept beside the journal
        if decided:
            await crashed(house.tenant(), change, patch)
        else:
            await leave_undecided(house.tenant())
    await forge(house.tenant(), forgery)
    await everything_that_recovers(house.tenant)
    assert await house.outside() == outside
    house.check_calls()


KINDS = ["memory", "plain", "local"]
SEEDS = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 4), st.integers(0, 99)), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decided", [True, False], ids=["decided", "undecided"])
def test_whatever_a_journal_holds_nothing_outside_is_touched(
    kind: str, decided: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=15 if kind == "local" else 40, phases=[Phase.explicit, Phase.generate])
    @given(SEEDS)
    def check(seeds: list[Seed]) -> None:
        house = list(houses(tmp_path_factory.mktemp("house")))[KINDS.index(kind)]
        asyncio.run(survive(house, mutate_by(seeds), decided=decided))

    check()


def with_paths(path: str, *, instead_of: str = "old") -> Forgery:
    """Return what has all lines say `path` for one of the paths."""

    def change(records: list[dict[str, Any]]) -> list[bytes]:
        old, new = (json.dumps(name).encode() for name in (instead_of, path))
        return [body.replace(old, new) for body in bodies(records)]

    return change


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "undecided"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", LEADS_OUT)
async def test_no_path_leads_out(path: str, kind: str, decided: bool, tmp_path: Path) -> None:
    await survive(list(houses(tmp_path))[KINDS.index(kind)], with_paths(path), decided=decided)


@pytest.mark.may_block
@pytest.mark.parametrize("path", ["folder/new", "file"])
async def test_no_link_leads_out(path: str, tmp_path: Path) -> None:
    """Who can forge a journal in a folder can make links in it, too."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "folder").symlink_to("../b")
    (tmp_path / "a" / "file").symlink_to("../b/new")
    house = House(OSDriver(tmp_path, durable=False), plain=True)
    await survive(house, with_paths(path, instead_of="made/new"), decided=True)


async def test_a_file_beside_the_journal_is_the_transactions_own() -> None:
    """Another file would be published, and removed at the end."""
    house = House(MemoryDriver(), plain=True)

    def name_another(records: list[dict[str, Any]]) -> list[bytes]:
        for step in records[-1]["steps"]:
            if step["token"]["by"] == "file":
                step["token"]["file"] = "old"
        return bodies(records)

    await survive(house, name_another, decided=True)
    with pytest.raises(aiofs.Damaged, match="none of this transaction's names"):
        await aiofs.recover(house.tenant())
    assert await house.tenant().read_bytes("old") == b"old"


UNREADABLE = [
    b"[" * 100_000,
    b'{"do":' * 50_000,
    b"7" * 5000,
    b'{"do": "undo", "published": {"%s": null}}' % (b"7" * 5000),
    b'{"do": NaN}',
    b"\xff\xfe",
    b'"text"',
    b"null",
    b"{}",
    b'{"do": ["commit"]}',
    b'{"do": "commit"}',
    b'{"do": "commit", "steps": {"0": 1}}',
    b'{"do": "commit", "steps": [{}]}',
    b'{"do": "dance"}',
    b'{"do": "open", "stores": {"": "x"}}',
]


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: body[:20].decode("ascii", "replace"))
async def test_what_cannot_be_read_is_an_error_of_the_package(body: bytes) -> None:
    house = House(MemoryDriver(), plain=False)
    await survive(house, lambda records: [*bodies(records), body], decided=True)
    (unit,) = await Journal(house.tenant().driver).units()
    with pytest.raises((aiofs.Damaged, aiofs.Unsupported)) as caught:
        await aiofs.recover(house.tenant())
    assert unit in str(caught.value.filename)
    (finding,) = [one for one in await aiofs.fsck(house.tenant()) if one.store == "journal"]
    assert finding.kind == "damaged journal"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (":permissions", "rwx"),
        (":permissions", "4777"),
        (":ttl", "-1"),
        (":ttl", "nan"),
        (":expires", "soon"),
        (":x", ""),
    ],
)
async def test_properties_that_no_file_has(key: str, value: str) -> None:
    house = House(MemoryDriver(), plain=True)

    def describe(records: list[dict[str, Any]]) -> list[bytes]:
        tokens = [step["token"] for step in records[-1]["steps"]]
        for token in tokens:
            if token["by"] in {"bytes", "file"}:
                token["metadata"] = {key: value}
        return bodies(records)

    await survive(house, describe, decided=True)
    with pytest.raises(aiofs.Damaged, match="propert"):
        await aiofs.recover(house.tenant())


@pytest.mark.parametrize("layer", [Prefix("a/"), Percent(), HashPrefix()], ids=str)
@pytest.mark.parametrize("path", ["..", "../b/secret", "x/../../b/secret", "/b", "", "x//y", "x/", "b\0"])
async def test_layers_that_change_names_refuse_what_is_none(layer: Prefix | Percent | HashPrefix, path: str) -> None:
    steps = Steps()
    bound = layer.bind(Stepped(steps).bind(MemoryDriver()))
    with pytest.raises(ValueError, match="path"):
        await bound.stat(path)
    with pytest.raises(aiofs.Damaged, match="path"):
        await bound.resume({"path": path})
    assert [entry async for entry in bound.list(f"../{path}")] == []
    assert steps.taken == []
    if isinstance(layer, Prefix):
        with pytest.raises(ValueError, match="path"):
            layer.inward(path)


async def test_local_files_refuse_to_go_up(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    driver = OSDriver(tmp_path / "root")
    for act in (driver.stat("../secret"), driver.lock("../secret"), driver.delete(["../secret"])):
        with pytest.raises(ValueError, match=r"'\.\.'"):
            await act
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
