"""Probing: what the store behind a URL really does. Servers do not say it, so it is tried. Nothing is left there."""

from __future__ import annotations

import asyncio
import errno
import os
import unicodedata
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from aiofs import clock
from aiofs.driver import ABSENT
from aiofs.errors import AccessDenied, AlreadyExists, IsAFolder, Locked, NotAFolder, Unsupported, one_of
from aiofs.filesystem import FileSystem
from aiofs.lifetimes import finish
from aiofs.powers import HasLocalPaths, Probes
from aiofs.system import FileLikeSystem
from aiofs.threads import hop
from aiofs.urls import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiofs.powers import ServerFacts

RACERS = 8
_NFC = unicodedata.normalize("NFC", "\N{LATIN SMALL LETTER E WITH ACUTE}")
_NFD = unicodedata.normalize("NFD", _NFC)
_EXCLUDED = {
    "shared": "all other writers, in all processes and on all machines",
    "host": "other writers on this machine",
    "process": "other writers in this process",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What `aiofs.probe` found out. `None` means that it could not be found out. `print` shows it as a table."""

    store: str
    """The store, without secrets."""
    writes: bool
    """Whether this user, with these settings, can write files."""
    removes: bool
    """Whether this user can remove files."""
    locks: Literal["process", "host", "shared"] | None = None
    """Which other writers of a file the lock of a writer keeps out: those in this process, on this machine, or all."""
    conditional: bool | None = None
    """Whether versions are compared in the step that publishes, so that `match=` and `update` work."""
    fences: bool = False
    """Whether locks with names have a fence, a number that grows with every holder."""
    durable: bool | None = None
    """Whether a file that was closed survives a power cut."""
    ordered: bool | None = None
    """Whether the server lists names in the order of their bytes. If not, aiofs sorts each listing."""
    keeps_versions: bool | None = None
    """Whether the store keeps the bytes that were replaced or removed, so that they go on using space."""
    exact_names: bool | None = None
    """Whether names that differ only in case, or in how an accent is composed, are different files."""
    file_and_folder: bool | None = None
    """Whether `a` and `a/b` can both be files."""
    metadata: bool = False
    """Whether metadata are kept with a file."""
    advice: tuple[str, ...] = ()
    """What to set, and what to beware of."""

    def __str__(self) -> str:
        lines = [self.store]
        for field in fields(self)[1:-1]:
            value = getattr(self, field.name)
            lines.append(f"  {_TITLES[field.name]:<34} {_worded(field.name, value)}")
        return "\n".join([*lines, *(f"  ! {advice}" for advice in self.advice)])


_TITLES = {
    "writes": "this user may write files",
    "removes": "this user may remove files",
    "locks": "a writer keeps out",
    "conditional": "match= and update",
    "fences": "locks with names have fences",
    "durable": "a closed file survives a power cut",
    "ordered": "the server lists in order",
    "keeps_versions": "old versions are kept",
    "exact_names": "'a' and 'A' can be two files",
    "file_and_folder": "'a' and 'a/b' can both be files",
    "metadata": "metadata are kept",
}


def _worded(name: str, value: object) -> str:
    if name == "locks":
        return _EXCLUDED.get(str(value), "not known")
    return "not known" if value is None else "yes" if value else "no"


async def probe(store: str | FileLikeSystem) -> ProbeReport:
    """Find out what the store behind a URL really does, and return a report: `print(await aiofs.probe(url))`.

    Locks, conditional writes, names and more are tried, with a few small files in a folder of their own, and with a
    second connection. Everything is removed again, also if the call is cancelled. If this user cannot remove files,
    nothing is written. A file system of yours is used as it is, and stays open.

    :raises ValueError: for a URL that means nothing.
    :raises OSError: if the store cannot be reached, is not there, or refuses the credentials.
    """
    async with _opened(store) as (fs, other):
        return await StoreProbe(fs, other).run()


@asynccontextmanager
async def _opened(store: str | FileLikeSystem) -> AsyncIterator[tuple[FileSystem, FileSystem]]:
    """Open the store twice. If a second connection would have other files, the same file system is given twice."""
    if not isinstance(store, str):
        if not isinstance(store, FileLikeSystem):
            raise TypeError(f"probe takes a URL or a file system, not {store!r}")
        yield (fs := store if isinstance(store, FileSystem) else store.over()), fs
        return
    async with connect(store) as fs, connect(store) as other:
        yield fs, other if other / "a" == fs / "a" else fs  # memory has no second connection


class StoreProbe:
    """One probe of one store."""

    def __init__(self, fs: FileSystem, other: FileSystem) -> None:
        self._fs = fs
        self._other = other
        self._folder = f"aiofs-probe-{clock.token(12)}"
        self._made: list[str] = []
        self._folders: list[str] = []
        self._advice: list[str] = []

    async def run(self) -> ProbeReport:
        """Try everything, and remove the files."""
        can, name = self._fs.driver.capabilities, str(self._fs.driver)
        await self._fs.ls(limit=1)  # raises if the store cannot be used at all
        local = self._fs.driver.offers(HasLocalPaths)
        if local is not None:
            self._folders = await hop(_missing_folders, os.path.dirname(local.local_path("file")))
        if not can.writable:
            self._advice.append("this file system is made for reading: nothing was written to find out more")
        removes = can.writable and await self._removes()
        if not removes:
            return ProbeReport(
                store=name, writes=False, removes=False, metadata=can.metadata, advice=self._unique_advice()
            )
        try:
            writes = await self._writes()
            if not writes:
                return ProbeReport(
                    store=name, writes=False, removes=True, metadata=can.metadata, advice=self._unique_advice()
                )
            locks = await self._locks()
            conditional = await self._conditional()
            exact, both = await self._exact_names(), await self._file_and_folder()
        finally:
            await finish(self._clean())
        facts = await finish(self._facts())
        self._advice += facts.get("advice", ())
        return ProbeReport(
            store=name,
            writes=True,
            removes=True,
            locks=locks,
            conditional=conditional,
            fences=can.fences,
            durable=facts.get("durable"),
            ordered=facts.get("ordered"),
            keeps_versions=facts.get("keeps_versions"),
            exact_names=exact,
            file_and_folder=both,
            metadata=can.metadata,
            advice=self._unique_advice(),
        )

    def _unique_advice(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._advice))

    def _name(self, name: str) -> str:
        """Return the path of a file that is about to be made."""
        path = f"{self._folder}/{name}"
        if path not in self._made:
            self._made.append(path)
        return path

    async def _removes(self) -> bool:
        """Return whether we may remove files. To find out, a file that is not there is removed."""
        try:
            await self._fs.rm(f"{self._folder}/none", missing_ok=True)
        except (AccessDenied, Unsupported) as error:
            self._advice.append(f"files cannot be removed ({_why(error)}), so nothing was written to find out more")
            return False
        return True

    async def _writes(self) -> bool:
        try:
            await self._fs.write_bytes(self._name("file"), b"1")
        except (AccessDenied, Unsupported) as error:  # Unsupported: no lock can be kept, and the error says what to do
            self._advice.append(f"files cannot be written: {_why(error)}")
            return False
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            self._advice.append(f"files cannot be written: {_why(error)}")
            return False
        return True

    async def _locks(self) -> Literal["process", "host", "shared"] | None:
        """Return which writers a writer keeps out, as the store declares it, unless a second one gets in."""
        declared = self._fs.driver.capabilities.locks
        file = await self._fs.open(self._name("file"), "a")
        try:
            await self._other.write_bytes(self._name("file"), b"2")
        except Locked:
            return declared
        finally:
            await file.abort()
        if declared != "process":
            self._advice.append("two writers of one file got in: give locks=, another file system that keeps the locks")
            return None
        return declared

    async def _conditional(self) -> bool:
        """Return whether a stale version is refused, and only one of several that make one file succeeds."""
        stale = (await self._fs.stat(self._name("file"))).version
        await self._other.write_bytes(self._name("file"), b"three")
        try:
            await self._fs.write_bytes(self._name("file"), b"4", match=stale or "0")
        except Unsupported:
            return False
        except BlockingIOError:
            pass
        else:
            self._advice.append("a write with match= replaced another version: do not rely on match= and update")
            return False
        path = self._name("race")
        won = sum(await asyncio.gather(*[self._made_first(path, number) for number in range(RACERS)]))
        if won != 1:
            self._advice.append(
                f"of {RACERS} writes of one file with match=ABSENT {won} succeeded: do not rely on match="
            )
        return won == 1

    async def _made_first(self, path: str, number: int) -> bool:
        fs = self._other if number % 2 else self._fs
        try:
            await fs.write_bytes(path, b"%d" % number, match=ABSENT)
        except (AlreadyExists, BlockingIOError):
            return False
        return True

    async def _exact_names(self) -> bool:
        exact = True
        for name, alike, difference in (
            ("case", "CASE", "only in case"),
            (_NFC, _NFD, "only in how an accent is composed"),
        ):
            await self._fs.write_bytes(self._name(name), b"")
            if await self._fs.exists(f"{self._folder}/{alike}"):
                self._advice.append(f"names that differ {difference} are one file here")
                exact = False
        return exact

    async def _file_and_folder(self) -> bool:
        try:
            await self._fs.write_bytes(self._name("file/below"), b"")
        except (IsAFolder, NotAFolder, AlreadyExists):
            self._made.remove(self._name("file/below"))
            return False
        return True

    async def _facts(self) -> ServerFacts:
        """Return what the verbs do not show. The store also removes old versions of the files of this probe."""
        probes = self._fs.driver.offers(Probes)
        return {} if probes is None else await probes.probe(self._made)

    async def _clean(self) -> None:
        """Remove all files that may be there; try all, and raise the first error."""
        failures: list[Exception] = []
        for path in reversed(self._made):
            try:
                await self._fs.rm(path, missing_ok=True)
            except OSError as error:
                failures.append(error)
        for folder in self._folders:
            with suppress(OSError):
                await hop(os.rmdir, folder)
        if failures:
            raise one_of(failures)


def _missing_folders(folder: str) -> list[str]:
    """Return the folders of a local path that are not there, the innermost first: the first file would make them."""
    missing: list[str] = []
    while folder and not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _why(error: OSError) -> str:
    return error.strerror or str(error)
