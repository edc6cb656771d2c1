"""A transaction that is committed, and said so, while its journal could not be removed: others go on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiofs.errors import LeftBehind, Unfinished, Unreachable
from aiofs.names import is_reserved
from aiofs.stores import AzureFileSystem, MemoryFileSystem, RedisFileSystem, S3FileSystem
from aiofs.testing import Chaos
from aiofs.transactions.transaction import recover, transaction
from backends.fastdfs.systems import over
from servers.fastdfs.cluster import Cluster
from transaction.powerless import Powerless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.filesystem import FileSystem
    from aiofs.transactions.recovery import Recovered
    from servers.azurite.server import AzureAccount
    from servers.moto import S3Server

OLD = {"changed": b"old", "kept": b"old", "gone": b"old"}
NEW = {"changed": b"new", "kept": b"new", "made": b"new"}


class Traces:
    """Stores in which a committed transaction left its journal."""

    def __init__(self, data: FileSystem) -> None:
        self.data = data
        self.away = Chaos()
        self.journal = MemoryFileSystem().over(Powerless(), self.away)  # a file for each line

    async def commit(self) -> None:
        """Commit, while the journal cannot be removed."""
        self.away.fail("delete", Unreachable.of(None, "the journal is away"))
        with pytest.raises(LeftBehind, match="is committed, all of it is there"):
            await self.change()
        assert await self.files() == NEW

    async def change(self, data: FileSystem | None = None) -> None:
        """Make the new files of the old ones, in a transaction."""
        for path, content in OLD.items():
            await self.data.write_bytes(path, content)
        async with transaction({"data": data or self.data}, journal=self.journal) as tx:
            for path, content in NEW.items():
                await tx["data"].write_bytes(path, content)
            await tx["data"].rm("gone")

    async def recover(self, data: FileSystem | None = None) -> Recovered:
        return await recover({"data": data or self.data}, journal=self.journal)

    async def files(self) -> dict[str, bytes]:
        return {path: await self.data.read_bytes(path) for path in await self.data.ls()}

    async def left(self) -> list[str]:
        """Return what is left of the journal, and staged beside the data."""
        drivers = self.data.driver, self.journal.driver
        return [entry.path for driver in drivers async for entry in driver.list() if is_reserved(entry.path)]


@pytest.fixture
async def traces(valkey_url: str) -> AsyncIterator[Traces]:
    async with RedisFileSystem(valkey_url) as data:
        yield Traces(data)


async def test_what_others_changed_since_is_theirs_and_the_rest_stays_published(traces: Traces) -> None:
    await traces.commit()
    await traces.data.write_bytes("changed", b"since")
    await traces.data.write_bytes("gone", b"again")
    report = await traces.recover()
    assert (len(report.finished), report.undone, report.failed) == (1, [], [])
    assert {error.filename for error in report.overtaken if isinstance(error, OSError)} == {"changed", "gone"}
    assert await traces.files() == {**NEW, "changed": b"since", "gone": b"again"}
    assert await traces.left() == []


async def test_what_others_removed_since_stays_removed(traces: Traces) -> None:
    await traces.commit()
    await traces.data.rm("changed")
    report = await traces.recover()
    assert (len(report.finished), report.undone, report.failed) == (1, [], [])
    assert await traces.files() == {path: data for path, data in NEW.items() if path != "changed"}
    assert await traces.left() == []


async def test_a_store_that_is_away_is_waited_for(traces: Traces) -> None:
    await traces.commit()
    await traces.data.write_bytes("changed", b"since")
    away = Chaos()
    for nth in range(1, 20):
        away.fail("stat", Unreachable.of(None, "the store is away"), nth=nth)
    with pytest.raises(Unfinished):
        await traces.recover(traces.data.over(away))
    assert await traces.files() == {**NEW, "changed": b"since"}
    assert len((await traces.recover()).finished) == 1
    assert await traces.files() == {**NEW, "changed": b"since"}
    assert await traces.left() == []


async def test_the_next_transaction_of_the_process_removes_the_journal(traces: Traces) -> None:
    async with transaction({"data": traces.data}, journal=traces.journal):
        pass
    await traces.commit()
    assert await traces.left()
    async with transaction({"data": traces.data}, journal=traces.journal) as tx:
        assert await traces.left() == []
        await tx["data"].write_bytes("kept", b"newer")
    assert await traces.files() == {**NEW, "kept": b"newer"}


async def test_what_was_published_is_undone_where_the_rest_is_refused(traces: Traces) -> None:
    """Nobody was told that it is committed: it ended with one file published, when neither store could be reached."""
    away = Chaos()
    for nth in range(2, 20):
        away.fail("commit", Unreachable.of(None, "the store is away"), nth=nth)
    traces.away.fail("begin", Unreachable.of(None, "the journal is away"), nth=2)
    with pytest.raises(Unfinished):
        await traces.change(traces.data.over(away))
    assert (await traces.files())["changed"] == b"new"
    await traces.data.write_bytes("kept", b"since")
    report = await traces.recover()
    assert (report.finished, len(report.undone), report.failed) == ([], 1, [])
    assert await traces.files() == {**OLD, "kept": b"since"}
    assert await traces.left() == []


async def test_what_still_waits_is_not_published_where_the_rest_is_refused(traces: Traces) -> None:
    """It ended before anything was published; afterwards nobody could tell that a file had waited."""
    with pytest.raises(Unfinished):
        await give(traces, published=0)
    await traces.data.write_bytes("bob", b"since")
    report = await traces.recover()
    assert (report.finished, len(report.undone), report.failed) == ([], 1, [])
    assert await traces.files() == {"ann": b"100", "bob": b"since"}
    assert await traces.left() == []


async def test_what_a_store_that_holds_writes_published_does_not_wait(traces: Traces) -> None:
    """Somebody removed the file that was made there, and another went on from one in the store that does not hold."""
    memory = MemoryFileSystem()
    stores = {"data": traces.data, "memory": memory}
    for path in "ann", "bob":
        await traces.data.write_bytes(path, b"100")
    traces.away.fail("delete", Unreachable.of(None, "the journal is away"))
    with pytest.raises(LeftBehind):
        async with transaction(stores, journal=traces.journal) as tx:
            await tx["data"].write_bytes("ann", b"70")
            await tx["data"].write_bytes("bob", b"130")
            await tx["memory"].write_bytes("made", b"new")
    await traces.data.write_bytes("bob", b"since")
    await memory.rm("made")
    report = await recover(stores, journal=traces.journal)
    assert (len(report.finished), report.undone, report.failed) == (1, [], [])
    assert await traces.files() == {"ann": b"70", "bob": b"since"}
    assert await memory.ls() == []
    assert await traces.left() == []


async def test_the_next_transaction_of_the_process_does_not_overtake_an_unfinished_one(traces: Traces) -> None:
    async with transaction({"data": traces.data}, journal=traces.journal):
        pass
    with pytest.raises(Unfinished):
        await give(traces, published=1)
    assert await traces.files() == {"ann": b"70", "bob": b"100"}
    async with transaction({"data": traces.data}, journal=traces.journal) as tx:
        assert await traces.left() == []
        assert await tx["data"].read_bytes("bob") == b"130"
        await tx["data"].write_bytes("bob", b"120")
    assert await traces.files() == {"ann": b"70", "bob": b"120"}


async def test_a_large_file_that_somebody_removed_since_undoes_nothing_on_s3(s3_server: S3Server) -> None:
    async with S3FileSystem(
        s3_server.bucket,
        endpoint_url=s3_server.endpoint_url,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        region=s3_server.region,
    ) as data:
        await check_removal(Traces(data))


async def test_a_large_file_that_somebody_removed_since_undoes_nothing_on_azure(azurite: AzureAccount) -> None:
    async with AzureFileSystem(azurite.container, connection_string=azurite.connection_string) as data:
        await check_removal(Traces(data))


async def test_a_large_file_that_somebody_removed_since_undoes_nothing_on_fastdfs() -> None:
    async with Cluster() as cluster, over(cluster, MemoryFileSystem()) as data:
        await check_removal(Traces(data))


async def check_removal(traces: Traces) -> None:
    await traces.data.write_bytes("kept", b"old")
    traces.away.fail("delete", Unreachable.of(None, "the journal is away"))
    with pytest.raises(LeftBehind):
        async with transaction({"data": traces.data}, journal=traces.journal) as tx:
            await tx["data"].write_bytes("kept", b"new")
            await tx["data"].write_bytes("made", bytes(1 << 17))
    await traces.data.rm("made")
    report = await traces.recover()
    assert (len(report.finished), report.undone, report.failed) == (1, [], [])
    assert await traces.files() == {"kept": b"new"}
    assert await traces.left() == []


async def give(traces: Traces, *, published: int) -> None:
    """Have ann give 30 to bob, while the data goes away after some files were published, and the journal too."""
    away = Chaos()
    for path in "ann", "bob":
        await traces.data.write_bytes(path, b"100")
    for nth in range(published + 1, 20):
        away.fail("commit", Unreachable.of(None, "the store is away"), nth=nth)
    traces.away.fail("begin", Unreachable.of(None, "the journal is away"), nth=2)
    async with transaction({"data": traces.data.over(away)}, journal=traces.journal) as tx:
        await tx["data"].write_bytes("ann", b"70")
        await tx["data"].write_bytes("bob", b"130")
