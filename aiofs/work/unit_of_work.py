"""Units of work: transactions declared as classes, whose attributes are repositories: folders of values of one kind."""

from __future__ import annotations

import re
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar, cast, get_args, overload

from aiofs.errors import AccessDenied
from aiofs.names import check_folder, name_of, under
from aiofs.sources import pieces_of, write_all
from aiofs.transactions.transaction import Control, Transaction, driver_of, hosts_of, parties, recover
from aiofs.transactions.unit import Unit
from aiofs.work.kinds import Binary, Content, ModelJson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiofs.driver import Driver
    from aiofs.files.opening import Opening
    from aiofs.filesystem import FileSystem
    from aiofs.modes import BinaryMode
    from aiofs.names import AnyName
    from aiofs.sources import Source
    from aiofs.system import FileLikeSystem
    from aiofs.transactions.recovery import Recovered
    from aiofs.work.kinds import M

_INTEGER = re.compile(r"0?\d*d")


class PathTemplate:
    """`PathTemplate("{user}/{year:d}/{month:02d}")`: a hole holds a text without `/`, or an integer if it has `d`."""

    def __init__(self, template: str) -> None:
        self.template = template
        self.names: tuple[str, ...] = ()
        self._integers: set[str] = set()
        pattern = ""
        for literal, name, spec, conversion in Formatter().parse(template):
            pattern += re.escape(literal)
            if name is None:
                continue
            if not name.isidentifier() or conversion or name in self.names:
                raise ValueError(f"template {template!r}: {{{name}}} is not a name of its own")
            if spec and not _INTEGER.fullmatch(spec):
                raise ValueError(f"template {template!r}: a hole is {{name}} or, with {{name:03d}}, an integer")
            self.names += (name,)
            if spec:
                self._integers.add(name)
            pattern += rf"(?P<{name}>\d+)" if spec else rf"(?P<{name}>[^/]+)"
        self._pattern = re.compile(pattern, re.DOTALL)

    def render(self, **values: str | int) -> str:
        """Return the path with these values in its holes.

        :raises ValueError: if a hole has no value, or a value no hole; or if a text would lead to another folder.
        """
        missing, unknown = set(self.names) - set(values), set(values) - set(self.names)
        if missing or unknown:
            what = f"no value for {sorted(missing)}" if missing else f"no hole named {sorted(unknown)}"
            raise ValueError(f"template {self.template!r}: {what}")
        for name, value in values.items():
            if name in self._integers:
                if not isinstance(value, int) or value < 0:
                    raise ValueError(f"template {self.template!r}: {name!r} is an integer, not {value!r}")
            elif not isinstance(value, str) or "/" in value or value in {"", ".", ".."}:
                raise ValueError(f"template {self.template!r}: {name!r} is a text without '/', not {value!r}")
        return check_folder(self.template.format(**values))

    def match(self, path: str) -> dict[str, str | int] | None:
        """Return the values in the holes of `path`; `None` if it does not match the template."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        values = {name: int(text) if name in self._integers else text for name, text in found.groupdict().items()}
        return values if self.template.format(**values) == path else None

    def __repr__(self) -> str:
        return f"PathTemplate({self.template!r})"


Action = Literal["put", "create", "get", "delete", "list", "url"]
EVERYTHING: frozenset[Action] = frozenset(get_args(Action))
T = TypeVar("T")


class Repository(Generic[T]):
    """A folder with values of one kind, in a unit of work."""

    def __init__(
        self,
        system: FileSystem,
        template: PathTemplate,
        content: Content[T],
        allowed: frozenset[Action],
        values: Mapping[str, str | int] = MappingProxyType({}),
    ) -> None:
        self._system = system
        self._template = template
        self._content = content
        self._allowed = allowed
        self._values = values

    def __call__(self, **values: str | int) -> Self:
        """Return the repository with these values in the holes of its template."""
        filled = {**self._values, **values}
        if set(filled) >= set(self._template.names):
            self._template.render(**filled)
        return type(self)(self._system, self._template, self._content, self._allowed, filled)

    @property
    def folder(self) -> str:
        """The folder with the values.

        :raises ValueError: if the template still has a hole.
        """
        return self._template.render(**self._values)

    async def put(self, name: AnyName, value: T | Source) -> None:
        """Write a value, or a stream of its bytes, which is read in bounded memory. It replaces an older value.

        A stream is an asynchronous iterable of bytes, or an object with a `read`, such as an open file or an upload. A
        repository of `Binary` takes iterables of bytes too, as `FileSystem.write_bytes` does.

        :raises TypeError: before any I/O, if it is not of the kind of this repository, and no stream.
        """
        await self._write("put", name, "w", value)

    async def create(self, name: AnyName, value: T | Source) -> None:
        """Write a value, or a stream of its bytes, as `put` does, if there is none yet.

        :raises AlreadyExists: if there is one. If another process is quicker, the commit of the unit raises it.
        """
        await self._write("create", name, "x", value)

    async def get(self, name: AnyName) -> T:
        """Return a value.

        :raises NotFound: if there is none of this name.
        """
        self._check("get", name)
        return self._content.load(await self._system.read_bytes(self._path(name)))

    async def delete(self, *names: AnyName, missing_ok: bool = False) -> None:
        """Remove values; if one cannot be, none is.

        :raises NotFound: naming one that is not there, unless `missing_ok`.
        """
        self._check("delete", *names)
        await self._system.rm(*map(self._path, names), missing_ok=missing_ok)

    async def list(self, prefix: str = "", *, after: str = "") -> list[str]:
        """Return the names that begin with `prefix` and come after `after`, in the order of their UTF-8 bytes."""
        self._check("list")
        cut = len(under(self.folder))
        behind = under(self.folder) + after if after else ""
        return [path[cut:] async for path in self._system.ls(self.folder, prefix=prefix, after=behind)]

    async def url(self, name: AnyName, method: Literal["GET", "PUT"] = "GET", *, expires: float = 3600) -> str:
        """Return a URL with which anybody can read or write the committed file of this name, for `expires` seconds.

        :raises Unsupported: if the store has no such URLs.
        """
        self._check("url", name)
        return await self._system.url(self._path(name), method, expires=expires)

    def open(self, name: AnyName, mode: Literal["r", "w", "x", "a", "r+"] = "r") -> Opening[Any]:
        """Open the bytes of a value, to stream them."""
        needed: dict[str, tuple[Action, ...]] = {"r": ("get",), "x": ("create",), "r+": ("get", "put")}
        for action in needed.get(mode, ("put",)):
            self._check(action, name)
        return self._system.open(self._path(name), mode)

    def media_type(self, name: str) -> str:
        """Return the media type of a file of this name, by its extension or else by the kind of content."""
        return self._content.media_type_of(name)

    def parse(self, path: str) -> dict[str, str | int] | None:
        """Return the values in the holes of a folder like this one; `None` if the path is no such folder."""
        return self._template.match(path)

    async def _write(self, action: Action, name: AnyName, mode: BinaryMode, value: T | Source) -> None:
        self._check(action, name)
        data: Any = value if self._content.is_source(value) else self._content.dump(cast("T", value))
        pieces_of(data)
        async with self._system.open(self._path(name), mode) as file:
            await write_all(file.write, data)

    def _check(self, action: Action, *names: AnyName) -> None:
        if action not in self._allowed:
            raise AccessDenied.of(name_of(names[0]) if names else None, f"this repository does not allow {action!r}")

    def _path(self, name: AnyName) -> str:
        return under(self.folder) + name_of(name)


class Systems(Protocol):
    """What a repository needs of its unit of work."""

    def system_of(self, field: RepositoryField[Any]) -> FileSystem:
        """Return the file system of a repository, as the unit sees it."""
        ...


class RepositoryField(Generic[T]):
    """What `repository` declares. As an attribute of an instance of a unit of work it is a `Repository`."""

    def __init__(
        self, system: FileLikeSystem, template: PathTemplate, content: Content[T], allowed: frozenset[Action]
    ) -> None:
        self.system = system
        self._template = template
        self._content = content
        self._allowed = allowed

    @overload
    def __get__(self, unit: None, owner: type[Systems]) -> Self: ...
    @overload
    def __get__(self, unit: Systems, owner: type[Systems]) -> Repository[T]: ...
    def __get__(self, unit: Systems | None, owner: type[Systems]) -> Self | Repository[T]:
        if unit is None:
            return self
        return Repository(unit.system_of(self), self._template, self._content, self._allowed)


@overload
def repository(
    system: FileLikeSystem, *, at: str | PathTemplate = "", allow: Collection[Action] = EVERYTHING
) -> RepositoryField[bytes]: ...
@overload
def repository(
    system: FileLikeSystem, *, at: str | PathTemplate = "", of: Content[T], allow: Collection[Action] = EVERYTHING
) -> RepositoryField[T]: ...
@overload
def repository(
    system: FileLikeSystem, *, at: str | PathTemplate = "", of: type[M], allow: Collection[Action] = EVERYTHING
) -> RepositoryField[M]: ...
def repository(
    system: FileLikeSystem,
    *,
    at: str | PathTemplate = "",
    of: Content[Any] | type[Any] | None = None,
    allow: Collection[Action] = EVERYTHING,
) -> RepositoryField[Any]:
    """Declare a repository of a unit of work: a folder `at` of a file system, with values `of` one kind.

    `at` may have holes, `"avatars/{user}"`: calling the repository fills them. `of` is `Binary()` (the default),
    `Text()`, `Json()`, `Image()`, a `Content` of your own or a class of pydantic models. `allow` is what may be done
    with the values.

    :raises ValueError: if the template or one of the actions is wrong.
    """
    unknown = set(allow) - EVERYTHING
    if unknown:
        raise ValueError(f"a repository allows some of {sorted(EVERYTHING)}, not {sorted(unknown)}")
    template = at if isinstance(at, PathTemplate) else PathTemplate(at)
    content = Binary() if of is None else of if isinstance(of, Content) else ModelJson(of)
    return RepositoryField(system, template, content, frozenset(allow))


class UnitOfWork(Control):
    """Several changes that happen all or not at all: leaving its block commits them, an exception forgets them.

    >>> class Files(UnitOfWork):
    ...     journal = disk
    ...     avatars = repository(s3, at="avatars/{user}", of=Image())
    ...     notes = repository(disk, at="notes", of=Text(), allow={"put", "get"})
    >>> async with Files() as files:
    ...     await files.avatars(user="ann").put("face.png", picture)
    ...     await files.notes.put("today", "a new face")

    With `auto_commit=False` only `commit()` publishes. An instance is used once.
    """

    journal: ClassVar[FileLikeSystem | None] = None
    """Where the journal is kept; by default hidden beside the data of the first repository."""

    def __init__(self, *, auto_commit: bool = True) -> None:
        stores = self._stores()
        self._unit = Unit(*parties(stores, self.journal))
        self._hosts = hosts_of(stores, self.journal)
        self._commits = auto_commit
        transaction = Transaction(self._unit, self._hosts)
        self._systems: dict[Driver, FileSystem] = {driver_of(stores[name]): transaction[name] for name in stores}

    @classmethod
    async def recover(cls, *, wait: float = 0) -> Recovered:
        """Finish or undo the units of this class whose processes died. See `aiofs.recover`."""
        return await recover(cls._stores(), journal=cls.journal, wait=wait)

    def system_of(self, field: RepositoryField[Any]) -> FileSystem:
        """Return the file system of a repository, as this unit sees it."""
        return self._systems[driver_of(field.system)]

    @classmethod
    def _stores(cls) -> dict[str, FileLikeSystem]:
        """Return the file systems, each once, under the name of the first repository over it."""
        stores: dict[Driver, tuple[str, FileLikeSystem]] = {}
        for owner in reversed(cls.__mro__):
            for name, field in vars(owner).items():
                if isinstance(field, RepositoryField):
                    stores.setdefault(driver_of(field.system), (name, field.system))
        if not stores:
            raise TypeError(f"{cls.__name__} declares no repository")
        return dict(stores.values())
