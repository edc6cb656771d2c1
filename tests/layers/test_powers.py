"""Every power through every layer: passed on, said in the layer's words, or refused, and always on purpose."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import aiofs
from aiofs.driver import ABSENT, Layer, WriteSession, amounts_to, powers, verbs_of
from aiofs.layers import (
    Allow,
    Base64,
    Checked,
    Gzip,
    HashPrefix,
    Limit,
    Log,
    Matching,
    Notify,
    Percent,
    Prefix,
    ReadOnly,
    SignedUrls,
    Timeout,
    WriteOnly,
)
from aiofs.powers import (
    Appends,
    ChecksRemoval,
    ChecksUrls,
    Copies,
    CopiesFrom,
    CopiesPermissions,
    HasAddress,
    HasLocalPaths,
    HasOrigin,
    HasOwners,
    Joins,
    KeepsHistory,
    KeepsPartial,
    Moves,
    Notes,
    Parks,
    Presigns,
    Probes,
    ReadsReplicas,
    Removes,
    Snapshots,
    Sweeps,
    Walks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiofs.driver import Lease


class Everything(aiofs.Driver):
    """A store that has every power there is."""

    capabilities: ClassVar[aiofs.Capabilities] = aiofs.Capabilities()  # type: ignore[misc]
    most_locks = 5

    def offers(self, power: type[Any]) -> Any:
        return self

    async def _no(self, *given: Any, **more: Any) -> Any:
        raise NotImplementedError

    def list(self, *given: Any, **more: Any) -> Any:
        raise NotImplementedError

    stat = read = begin = delete = lock = _no


class WriteOnce(Layer):
    """Files stay as they were written first."""

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return await super().begin(path, lease, match=ABSENT, metadata=metadata)


async def ignore(_: Any) -> None:
    pass


SIGNED = {ChecksUrls, Presigns}
ADDRESSES = {HasAddress, HasLocalPaths, Probes}
"""They lead to the store past the layer, so a layer that changes or refuses anything does not pass them on."""
OTHERS = {
    ChecksRemoval,
    *SIGNED,
    Copies,
    CopiesFrom,
    HasOrigin,
    Joins,
    Moves,
    KeepsHistory,
    KeepsPartial,
    ReadsReplicas,
    Sweeps,
    Walks,
    Removes,
    Snapshots,
    Appends,
    Parks,
    Notes,
    CopiesPermissions,
    HasOwners,
}
ALL = OTHERS | ADDRESSES
OFFERED: list[tuple[Layer, set[type]]] = [
    (Layer(), ALL),
    (Prefix("folder/"), ALL),
    (Prefix("begins so"), ALL - {Walks}),
    # Their names sort otherwise than the store's, or are in many of its folders.
    (Percent(), OTHERS - {Walks}),
    (HashPrefix(), OTHERS - {Walks}),
    # What the store signs for, copies from elsewhere or adds to a journal would not be encoded, and a replica's bytes,
    # or what other stores copy, not decoded.
    (Gzip(), OTHERS - {*SIGNED, CopiesFrom, HasOrigin, KeepsPartial, ReadsReplicas, Walks, Appends, Notes}),
    (Base64(), OTHERS - {*SIGNED, CopiesFrom, HasOrigin, KeepsPartial, ReadsReplicas, Walks, Appends, Notes}),
    (Checked(), OTHERS - {*SIGNED, CopiesFrom, HasOrigin, KeepsPartial, ReadsReplicas, Walks, Appends, Notes}),
    # They hear of what is read and listed.
    (Notify(ignore), OTHERS - {CopiesFrom, HasOrigin, ReadsReplicas, Walks}),
    (Log(), OTHERS - {CopiesFrom, HasOrigin, ReadsReplicas, Walks}),
    # The calls of powers take as long as the others.
    (Timeout(5), OTHERS),
    (Matching("[a-z]+"), OTHERS - {Walks}),
    # A copy, an upload by URL and a line of a journal are bytes that must be counted.
    (Limit(10), OTHERS - {*SIGNED, Copies, CopiesFrom, KeepsPartial, Appends, Notes}),
    (SignedUrls("http://localhost/", "a key that is long enough"), ALL - {HasAddress}),
    # Everything that replaces a file goes through `begin`.
    (
        WriteOnce(),
        {ChecksRemoval, HasOrigin, Joins, ReadsReplicas, Sweeps, Walks, Removes, Parks, CopiesPermissions, HasOwners},
    ),
    (
        ReadOnly(),
        {
            ChecksUrls,
            HasOrigin,
            Joins,
            Presigns,
            KeepsHistory,
            ReadsReplicas,
            Walks,
            Parks,
            CopiesPermissions,
            HasOwners,
        },
    ),
    (
        WriteOnly(),
        {
            ChecksUrls,
            CopiesFrom,
            Joins,
            Presigns,
            KeepsHistory,
            KeepsPartial,
            Appends,
            Parks,
            CopiesPermissions,
            HasOwners,
        },
    ),
    (Allow("read", "write"), OTHERS - {ChecksRemoval, Moves, Sweeps, Walks, Removes, Notes}),
    (Allow("read", "list", "write", "remove"), ALL),
]


def test_no_power_is_forgotten() -> None:
    assert set(powers()) == ALL


@pytest.mark.parametrize(("layer", "offered"), OFFERED, ids=lambda value: type(value).__name__)
def test_every_power_through_every_layer(layer: Layer, offered: set[type]) -> None:
    bound = layer.bind(Everything())
    assert {power for power in powers() if bound.offers(power) is not None} == offered


@pytest.mark.parametrize("layer", [layer for layer, _ in OFFERED], ids=str)
def test_no_layer_has_a_power_that_its_store_has_not(layer: Layer) -> None:
    class Nothing(Everything):
        def offers(self, power: type[Any]) -> Any:
            return None

    bound = layer.bind(Nothing())
    made = {ChecksUrls, Presigns} if isinstance(layer, SignedUrls) else set()
    assert {power for power in powers() if bound.offers(power) is not None} == made


@pytest.mark.parametrize(
    "fs",
    [aiofs.S3FileSystem("bucket"), aiofs.AzureFileSystem("container", account_url="https://a.blob.core.windows.net")],
)
def test_a_store_that_copies_and_removes_does_not_rename(fs: aiofs.FileSystem) -> None:
    """An index of FastDFS that is renamed in two steps would have two names for one file, between the two."""
    assert fs.driver.offers(Moves) is None
    assert fs.driver.offers(ChecksRemoval) is not None


def test_a_power_that_says_no_verbs_is_an_error() -> None:
    class Shouts:
        pass

    with pytest.raises(TypeError, match="Shouts does not say which verbs it amounts to"):
        Layer().bind(Everything()).offers(Shouts)
    with pytest.raises(TypeError, match="amounts_to"):
        verbs_of(amounts_to)  # type: ignore[arg-type]


MANY = 80
DESCRIPTORS = 72
FULL = bool(os.environ.get("AIOFS_TEST_FULL"))
ONE_OF_EACH_KIND = ("Prefix", "Gzip", "Log")
LAYERS: dict[str, Layer] = {
    "Prefix": Prefix("folder/"),
    "Percent": Percent(),
    "HashPrefix": HashPrefix(),
    "Gzip": Gzip(),
    "Base64": Base64(),
    "Checked": Checked(),
    "Log": Log(),
    "Notify": Notify(ignore),
    "Timeout": Timeout(60),
    "Limit": Limit(1 << 20),
    "Matching": Matching(".*"),
    "Allow": Allow("read", "list", "write", "remove"),
}


async def write_many(folder: str, layer: Layer) -> None:
    async with aiofs.OSFileSystem(folder).over(layer) as fs:
        async with aiofs.transaction(fs) as tx:
            for number in range(MANY):
                await tx.write_bytes(f"{number}", b"new")
        assert len(await fs.ls()) == MANY


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the open files of a process")
def test_a_transaction_has_more_files_than_the_process_may_open(tmp_path: Path) -> None:
    """Through a layer of each kind, in a full run through all, in one process that may open few files at a time."""
    code = f"from layers.test_powers import limited; limited({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == list(LAYERS if FULL else ONE_OF_EACH_KIND), done.stderr


def limited(folder: str) -> None:
    """Write many files in one transaction through each of the layers, and print its name when that went well."""
    import resource  # noqa: PLC0415 -- not on Windows

    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    for name in LAYERS if FULL else ONE_OF_EACH_KIND:
        os.mkdir(f"{folder}/{name}")
        asyncio.run(write_many(f"{folder}/{name}", LAYERS[name]))
        print(name)  # noqa: T201
