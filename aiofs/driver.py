"""The waist: the small contract between the portable side above, and backends and layers below.

A backend is a `Driver`: six verbs over one store. Paths arrive validated; failures leave as `OSError`, best as the
classes of `aiofs.errors`. What a store can do beyond the six verbs it offers as a *power* of `aiofs.powers`: a tiny
protocol that the portable side asks for with `Driver.offers`, and works without if it is missing.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    Self,
    TypeGuard,
    TypeVar,
    cast,
)

from aiofs.errors import Unsupported
from aiofs.properties import EXPIRES, expiry_of, join, part

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
    from datetime import datetime

    from aiofs.properties import Properties

VerbName = Literal["stat", "read", "begin", "delete", "list", "lock"]
MIB = 1 << 20
FURTHEST = (1 << 63) - 1
"""The largest size of a file on any system."""

Power = TypeVar("Power")
Part = bytes | bytearray | memoryview
"""Bytes that were handed over: the receiver may keep them, and nobody changes them any more."""


class MatchWord(str):
    """What may stand in the place of a version as `match`: `ABSENT`, or `ANY`, which is the default.

    Both are text, as versions are, so that `match` has one type; no store has a version that is equal to them.
    """

    __slots__ = ("_name",)
    _name: str

    def __new__(cls, text: str, name: str) -> Self:
        """Make a word that is equal to `text`."""
        word = super().__new__(cls, text)
        word._name = name
        return word

    def __reduce__(self) -> str:
        """Copy and pickle as the same object."""
        return self._name

    def __repr__(self) -> str:
        return f"aiofs.{self._name}"


ABSENT: Final[str] = MatchWord("", "ABSENT")
"""As `match`: there must be no file of this name."""
ANY: Final[str] = MatchWord("any", "ANY")
"""As `match` of a file system: any version, or no file. Drivers are given `None` for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store knows of one version of a file. `None` where it does not know without another request.

    A folder, which only listings by level yield, has a path that ends with `/`.
    """

    path: str
    size: int | None = None
    modified: datetime | None = None
    version: str | None = None
    metadata: Mapping[str, str] | None = None
    content_type: str | None = None
    digest: str | None = None
    """What the bytes hash to, with the algorithm: `md5:` and hexadecimal digits, for example."""
    properties: Properties | None = None
    """Other headers that the store keeps of the file: `cache_control`, `storage_class` ..."""
    expires: datetime | None = None
    """When the store removes the file by itself. `None` in listings, and of files that stay."""
    version_id: str | None = None
    """How a store that keeps old versions (`FileSystem.history`) finds this one."""

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder in a listing by level."""
        return self.path.endswith("/")

    def is_same_write(self, other: Entry) -> bool:
        """Whether both are of one write, as far as is known: files with the same bytes may have the same version."""
        return all(
            mine == theirs or mine is None or theirs is None
            for mine, theirs in (
                (self.version, other.version),
                (self.modified, other.modified),
                (self.version_id, other.version_id),
            )
        )

    def described(self, metadata: Mapping[str, str] | None) -> Entry:
        """Return this entry with the metadata and properties that are in the `metadata` of `Driver.begin`."""
        own, properties = part(metadata)
        content_type = properties.pop("content_type", None)
        expires = (metadata or {}).get(EXPIRES)
        return replace(
            self,
            metadata=own,
            content_type=content_type,
            properties=properties or None,
            expires=None if expires is None else expiry_of(expires),
        )

    def kept(self, capabilities: Capabilities) -> Mapping[str, str] | None:
        """Return the `metadata` for `Driver.begin` of a new version that keeps what this one had, if the store can."""
        properties = dict(self.properties or {})
        if self.content_type is not None:
            properties["content_type"] = self.content_type
        known = {name: value for name, value in properties.items() if name in capabilities.properties}
        own = self.metadata if capabilities.metadata else None
        kept = join(own, cast("Properties", known)) if known else own
        if self.expires is not None and "ttl" in capabilities.properties:
            kept = {**(kept or {}), EXPIRES: self.expires.isoformat()}
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the conformance suite must know of a store, because the contract leaves it open."""

    locks: Literal["process", "host", "shared"] = "process"
    """Whether locks exclude writers in this process only, on this machine, or everywhere."""
    fences: bool = False
    """Locks with names have a `Lease.number`, which grows with every holder."""
    conditional: bool = True
    """`match` is checked in the same atomic step that publishes."""
    resume: bool = False
    """Prepared sessions can be finished by another process."""
    holds: bool = False
    """A prepared session keeps all writers out until it ends, whatever becomes of its process. To abort one whose
    token is not known, `path` and the `fence` of its lease are enough."""
    pinned: bool = False
    """A reader keeps its version to the end while others overwrite it (elsewhere it gets a `Conflict`)."""
    rewrite: bool = False
    """`w` may seek back into parts that were already handed over."""
    metadata: bool = False
    """Entries carry the metadata that was written."""
    partial: bool = False
    """A write can be kept unfinished, and continued by another process."""
    properties: frozenset[str] = frozenset()
    """The names of the properties (`aiofs.properties.Properties`) that are kept with a file."""
    listed_sizes: bool = True
    """Listings know sizes."""
    file_and_folder: bool = True
    """`a` and `a/b` can both be files."""
    writable: bool = True
    """Files can be written and removed."""
    certain: bool = False
    """The error of a failed call says what the call did: no answer can get lost, as it can on a network."""


class ReadStream(ABC):
    """One version of a file, open for reading; `entry` says which."""

    entry: Entry

    @abstractmethod
    async def chunk(self, want: int) -> bytes:
        """Return the next bytes of the range, about `want` of them where the store can choose; b"" only at its end.

        :raises OSError: if bytes that the entry promises cannot be had.
        """

    @abstractmethod
    async def seek(self, start: int, stop: int | None = None) -> None:
        """Go on with the range from `start` to `stop` (clipped at the end of the file) of the same version.

        A request that this needs may wait for the next `chunk`, which raises `Conflict` if the version is gone.
        """

    def check_replaceable(self) -> None:
        """Raise `Unsupported` if new bytes cannot take the place of this version: it is another kind of thing."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connection or descriptor. Harmless when done twice."""

    def abandon(self) -> None:
        """Close without awaiting. Called if the handle was never closed, perhaps after the end of its event loop."""


class WriteSession(ABC):
    """New bytes for one path: invisible until `commit` returns, gone after `abort`."""

    @abstractmethod
    async def write(self, part: Part) -> None:
        """Take the next part: `Driver.part_size` bytes, fewer only for the last."""

    async def prepare(self) -> dict[str, Any]:
        """Make the bytes durable, and return the token with which `Driver.resume` can finish or undo. JSON can hold it.

        From here on only `commit` or `abort` ends the session; releasing its lease does not end it. The token has
        `path`, and also `version`, the version that the file will have, if the store knows it before.

        :raises Unsupported: if the store cannot carry a session over the end of a process.
        """
        raise Unsupported.of(None, f"{type(self).__name__} cannot be resumed by another process")

    @abstractmethod
    async def commit(self) -> Entry:
        """Publish in one atomic step.

        :raises Conflict: if the lease was lost or the version to be replaced is not there any more.
        :raises AlreadyExists: if there was to be no such file and there is.
        """

    @abstractmethod
    async def abort(self) -> None:
        """Leave no trace. Safe at any time, twice, and after a commit, failed or not."""

    async def leave(self) -> None:
        """Leave a prepared session and its lock for `Driver.resume`, and close what this process has open of them."""
        self.abandon()

    def abandon(self) -> None:
        """Close without awaiting. Called if the handle was never closed, perhaps after the end of its event loop."""


class PartialSession(WriteSession):
    """A write that another process can continue, instead of beginning anew. Its session cannot be prepared.

    If `commit` fails, what was kept stays; `abort` removes that too.
    """

    token: Mapping[str, Any]
    """What `KeepsPartial.continue_partial` finds it by, the same for the whole write. JSON can hold it."""
    kept: bool = False
    """Whether `keep` succeeded, in this process or an earlier one."""
    sent: int = 0
    """How many bytes a continued session has already."""
    rest: bytes = b""
    """Bytes that a continued session had kept behind these; they are to be written next."""

    @abstractmethod
    async def keep(self, rest: Part) -> bool:
        """Make durable what was written, and `rest`, the bytes behind it that do not fill a part, and set `kept`.

        Returns whether `rest` counts as written; if not, it is written again, together with what follows.

        :raises Conflict: if another process continued the write since.
        """

    @abstractmethod
    async def leave(self) -> None:
        """Close, and leave what was kept to another process."""


class Lease(ABC):
    """The right to write one path, until released or lost."""

    path: str
    fence: str = ""
    """What distinguishes this lease from all others of the path, earlier and later ones."""
    number: int | None = None
    """Of a lock with a name: a number that is larger than that of every earlier lease of the lock, even if its holder
    was killed or lost it; `None` if the store cannot promise that."""

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""
        return False

    async def confirm(self) -> bool:
        """Ask the store whether the lock is still held by this lease, and return the answer."""
        return not self.lost

    @abstractmethod
    async def release(self) -> None:
        """Give the lock back. Harmless when done twice or after the lease was lost."""

    def abandon(self) -> None:
        """Close without awaiting. Called if the handle was never closed, perhaps after the end of its event loop."""


class Driver(ABC):
    """A backend, or a layer over one."""

    capabilities: Capabilities
    part_size: int = 1 * MIB
    """A session is fed whole parts of this size, then the rest."""
    window: int | None = None
    """How much to request at open and after a seek; it grows while reads continue. `None`: all at once is as cheap."""

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a name that this store cannot hold. Does no I/O."""

    @abstractmethod
    async def stat(self, path: str) -> Entry:
        """Describe the file.

        :raises NotFound: if there is none.
        """

    @abstractmethod
    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the file for reading, with the first request for bytes `start` to `stop` already made.

        :raises NotFound: if there is none.
        :raises Conflict: if `match` is given and is not its version.
        """

    @abstractmethod
    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the path, under a lease that `lock` gave.

        `match` is the version to be replaced. `ABSENT`: there must be no file. `None`: any version, or no file.
        `metadata` has the user's own keys and the file's properties (`aiofs.properties.part` separates them).
        """

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session, and the lock it was under, to commit or to abort it.

        A session that was already committed or aborted is given too: doing the same again is harmless.

        :raises Locked: if the process that prepared it is still alive.
        """
        raise Unsupported.of(str(token.get("path")), f"{type(self).__name__} cannot resume a session")

    @abstractmethod
    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the files. Nothing is removed if any of them is missing or locked by a lease that is not given.

        :raises NotFound: naming the missing one, unless `missing_ok`.
        :raises Locked: naming the one that somebody is writing.
        :raises Conflict: if `match` is given and is not the version of the (single) path.
        """

    @abstractmethod
    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield what begins with `prefix` and comes behind `after`, in the order of UTF-8 bytes.

        With a delimiter (`/`), names that have it behind the prefix are yielded once, cut behind it: folders.
        Reserved names are listed like others; the portable side hides them. Closing the generator closes the
        connection or folder that it was reading.
        """

    @abstractmethod
    async def lock(self, path: str) -> Lease:
        """Get the right to write the path, renewed in the background until released.

        A path for which `aiofs.names.lock_of_path` has a name is no file. It stands for a lock of `FileSystem.lock`,
        and its lease has a `number` if the capabilities say `fences`.

        :raises Locked: at once, if somebody else has it.
        """

    def keeper_of(self, path: str) -> tuple[object, str]:
        """Return what keeps the lock of the path, and the lock's name there, which is the `path` of its leases.

        Those who wait for a lock in one process stand in one line for each such name. This makes no request.
        """
        return self, path

    async def aclose(self) -> None:
        """Close the clients that this driver made. Harmless when done twice."""

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the store, and the whole name in it that `path` means: two files are one if both are equal. No I/O.

        A store that other drivers can reach too, in another process for instance, overrides this: by default, only
        this driver has the store.
        """
        return self, path

    def identity(self, path: str) -> Hashable:
        """Return what distinguishes the file from all others, whatever layers and locks there are. No I/O.

        A move asks this, so that a file that is moved to another name of itself is not removed.
        """
        return self.locate(path)

    def narrowed(self, depth: int) -> Driver:
        """Return this driver with a limit: no name leads out of the folder that the name's first `depth` segments form.

        A store where a name can lead elsewhere, as through a symbolic link, overrides this, so that a user who may
        write one folder cannot make others read or write outside of it. Names, locks and `str` stay the same.
        """
        return self

    def offers(self, power: type[Power]) -> Power | None:
        """Return the object that has the methods of an optional power, or `None` if there is none."""
        return self if has(self, power) else None

    def __str__(self) -> str:
        return type(self).__name__


def check_position(position: int) -> None:
    """Raise `OverflowError`, as `open()` does, if no file of any system has a byte there."""
    if position > FURTHEST:
        raise OverflowError(f"position {position}: no file is larger than {FURTHEST} bytes")


def asked_version(driver: Driver, path: str, match: str) -> str | None:
    """Return the `match` that a user gave as the verbs of a driver take it. Does no I/O.

    :raises TypeError: for `None`, which is not a version: to overwrite any version, leave `match` out.
    :raises ValueError: for a text that can be no version.
    :raises Unsupported: if the store does not compare versions in the step that publishes.
    """
    if match is ANY:
        return None
    if not isinstance(match, str):
        raise TypeError(
            f"match={match!r} is no version: give the `version` of an entry, or aiofs.ABSENT; to write over any "
            "version, leave match out"
        )
    if not match and match is not ABSENT:
        raise ValueError("match='' can be no version: say aiofs.ABSENT if there must be no file")
    if not driver.capabilities.conditional:
        raise Unsupported.of(path, f"match= is refused: {driver} does not compare versions in the step that publishes")
    return match


def comparable(value: object) -> Hashable:
    """Return the value, or, for one that has no hash, a number that stands for this object."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


_POWERS: dict[tuple[type, type], bool] = {}


def has(driver: Driver, power: type[Power]) -> TypeGuard[Power]:
    """Whether the class of a driver has an optional power of its own.

    The answer is kept for each class: every read asks, and checking a protocol takes longer than opening a small file.
    """
    key = (type(driver), power)
    if key not in _POWERS:
        _POWERS[key] = isinstance(driver, power)
    return _POWERS[key]


_VERBS: dict[type, frozenset[str]] = {}


def amounts_to(*verbs: VerbName) -> Callable[[type[Power]], type[Power]]:
    """Declare the verbs whose work a power does: a layer that overrides one of them does not pass the power on."""

    def declare(power: type[Power]) -> type[Power]:
        _VERBS[power] = frozenset(verbs)
        return power

    return declare


def verbs_of(power: type) -> frozenset[str]:
    """Return the verbs that a power does the work of.

    :raises TypeError: if it does not declare them.
    """
    if power not in _VERBS:
        raise TypeError(f"power {power.__name__} does not say which verbs it amounts to: decorate it with amounts_to")
    return _VERBS[power]


def powers() -> tuple[type, ...]:
    """Return all powers that are declared."""
    return tuple(_VERBS)


class HasBase(Protocol):
    """A driver over another one."""

    base: Driver


Over = TypeVar("Over", bound=HasBase)


def narrowed_over(driver: Over, depth: int) -> Over:
    """Return a copy of `driver` over its narrowed base, or `driver` itself where narrowing changes nothing."""
    base = driver.base.narrowed(depth)
    if base is driver.base:
        return driver
    narrowed = copy.copy(driver)
    narrowed.base = base
    return narrowed


class Layer(Driver):
    """A driver that forwards everything it does not change to the driver it is over.

    A layer is made as a plain value, `Gzip()`, and put over a driver by `bind`, which leaves the value as it was.
    A power of the base is passed on if the layer overrides none of the verbs that the power amounts to: a store must
    not copy around a layer that changes what is read or written.
    """

    base: Driver
    forwarded: ClassVar[tuple[type, ...]] = ()
    """The powers that mean the same through this layer although it overrides a verb that they amount to."""

    def bind(self, base: Driver) -> Self:
        """Return this layer over `base`."""
        bound = copy.copy(self)
        bound.base = base
        bound.capabilities = self.alter(base.capabilities)
        if type(self).begin is not Layer.begin and not hasattr(self, "begin_partial"):
            bound.capabilities = replace(bound.capabilities, partial=False)
        bound.part_size = base.part_size
        bound.window = base.window
        return bound

    def alter(self, capabilities: Capabilities) -> Capabilities:
        """Return what is left of the base's capabilities."""
        return capabilities

    def check_name(self, path: str) -> None:
        self.base.check_name(path)

    async def stat(self, path: str) -> Entry:
        return await self.base.stat(path)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        return await self.base.read(path, start, stop, match=match)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        return await self.base.begin(path, lease, match=match, metadata=metadata)

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        return await self.base.resume(token)

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        await self.base.delete(paths, leases=leases, match=match, missing_ok=missing_ok)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        return self.base.list(prefix, after=after, delimiter=delimiter)

    async def lock(self, path: str) -> Lease:
        return await self.base.lock(path)

    def keeper_of(self, path: str) -> tuple[object, str]:
        return self.base.keeper_of(path)

    async def aclose(self) -> None:
        await self.base.aclose()

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the base's answer; its store under a layer with these settings is a store of its own."""
        store, name = self.base.locate(path)
        bound = {"base", "capabilities", "part_size", "window"}
        settings = frozenset((name, comparable(value)) for name, value in vars(self).items() if name not in bound)
        return (type(self), settings, store), name

    def identity(self, path: str) -> Hashable:
        return self.base.identity(path)

    def narrowed(self, depth: int) -> Driver:
        """Return this layer over the narrowed base."""
        return narrowed_over(self, depth)

    def offers(self, power: type[Power]) -> Power | None:
        """Return the layer's own power, or the base's where it is passed on."""
        if has(self, power):
            return self
        around = any(getattr(type(self), verb) is not getattr(Layer, verb) for verb in verbs_of(power))
        return None if around and power not in self.forwarded else self.base.offers(power)

    def __str__(self) -> str:
        return f"{type(self).__name__}({getattr(self, 'base', '')})"

    def __repr__(self) -> str:
        """Show the call that makes such a layer, with those settings that its attributes keep."""
        settings: list[str] = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value: Any = getattr(self, f"_{name}", getattr(self, name, parameter.empty))
            if value is parameter.empty:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                settings += [repr(each) for each in sorted(value)]
            else:
                settings.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(settings)})"
