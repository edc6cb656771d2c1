"""File systems by URL: `connect("s3://bucket/prefix?region=eu-west-1")`. An unknown parameter is an error.

| URL | file system |
|---|---|
| `file:///abs/dir?durable=false` | `OSFileSystem("/abs/dir", durable=False)` |
| `file:///abs/dir?permissions=640` | `OSFileSystem("/abs/dir", permissions=0o640)` |
| `file:///abs/dir?locks=host`, `?locks=URL` | `OSFileSystem("/abs/dir", locks="host")`, `locks=connect(URL)` |
| `memory://` | a new `MemoryFileSystem()`; to `open_url`, one that the whole process shares |
| `redis://host:port/db`, `rediss://`, `unix://` | `RedisFileSystem(url)`; with `auth=environment`, see below |
| `s3://bucket/prefix?locks=URL` | `S3FileSystem("bucket", prefix="prefix", locks=connect(URL))` |
| `azure://container/prefix` | `AzureFileSystem("container")`, in the folder `prefix` |
| `fastdfs://host:port,host:port/?index=URL` | `FastDFSFileSystem([...], index=connect(URL))` |

Every setting of a constructor is a parameter, except secrets, callables, and clients that are lent. A URL within
another has its `&`, `#` and `%` percent-encoded; several values are joined by commas. Credentials come from the
environment or the store's own chain, never from the URL (but Redis has them there by custom; `?auth=environment` takes
the password from `REDISCLI_AUTH`). What is no URL, but a folder for sure, `./data`, `/srv` or `~/data`, is local.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import pathname2url, url2pathname
from weakref import WeakValueDictionary

from aiofs import stores
from aiofs.files.opening import Opening
from aiofs.lifetimes import PerLoop
from aiofs.modes import parse_mode
from aiofs.names import check_folder, check_path
from aiofs.properties import permissions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiofs.filesystem import FileSystem

    Reading = Callable[[str], Any]


def connect(url: str) -> FileSystem:
    """Return the file system that `url` names, or a local folder: `./data`, `../data`, `/srv/data`, `~/data`.

    Nothing is contacted before it is used.

    :raises ValueError: for an unknown scheme or parameter, or credentials where none belong, saying what is known.
    :raises ImportError: if the store's extra is not installed, saying how to install it.
    """
    if isinstance(url, str) and _is_folder(url):
        return stores.OSFileSystem(os.path.expanduser(url))
    parts = _parts(url)
    scheme = _scheme(parts)
    return scheme.build(parts, _settings(parts, scheme))


def open_url(
    url: str,
    mode: str = "r",
    *,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Opening[Any]:
    """Open one file by its whole URL. The store stays connected for the next one, until the event loop ends.

    :raises ValueError: as `connect` and `FileSystem.open` do.
    """
    parts = _parts(url)
    if not is_url(url):
        raise ValueError(f"{url!r} is no URL: for a local file give file:///path, or open aiofs.Path({url!r})")
    scheme = _scheme(parts)
    _settings(parts, scheme)
    parse_mode(mode, encoding, errors, newline)
    base, path = scheme.cut(parts)
    check_path(path)

    async def opened() -> Any:
        system = _shared_memory() if parts.scheme == "memory" else _shared(urlunsplit(base))
        opening: Callable[..., Opening[Any]] = system.open  # the mode is not known before the program runs
        return await opening(path, mode, encoding=encoding, errors=errors, newline=newline)

    def named() -> str:
        shown = base._replace(netloc=base.netloc.rpartition("@")[2], query="")  # which may have a password
        return f"{path!r}, mode {mode!r}, in {urlunsplit(shown)}"

    return Opening(opened, named)


def _is_folder(text: str) -> bool:
    """Whether this can be a local folder only, and no name."""
    return text != "" and not is_url(text) and (text.partition("/")[0] in {"", ".", "..", "~"} or os.path.isabs(text))


def is_url(text: str) -> bool:
    """Whether this is a URL, not a local path."""
    return "://" in text


def local_of(url: str) -> tuple[str, str] | None:
    """Return the local path that a `file://` URL names, and the settings behind it; `None` for another URL."""
    parts = _parts(url)
    if parts.scheme != "file":
        return None
    _settings(parts, _scheme(parts))
    return _local_path(parts), parts.query


def part_url(url: str) -> tuple[FileSystem, str]:
    """Return the file system that a whole URL of a file is in, and the file's name there."""
    parts = _parts(url)
    scheme = _scheme(parts)
    _settings(parts, scheme)
    base, path = scheme.cut(parts)
    return (_shared_memory() if parts.scheme == "memory" else shared_system(urlunsplit(base))), check_folder(path)


_systems: WeakValueDictionary[str, FileSystem] = WeakValueDictionary()


def shared_system(url: str) -> FileSystem:
    """Return the file system of `url`: the same one as long as something uses it. Each loop closes its connections."""
    system = _systems.get(url)
    if system is None:
        system = _systems.setdefault(url, connect(url))
    return system


def local_system(folder: str, query: str = "") -> FileSystem:
    """Return the local folder as a file system, with the settings of a `file://` URL."""
    if os.path.isabs(folder):
        return shared_system(urlunsplit(("file", "", pathname2url(folder), query, "")))
    settings = _settings(SplitResult("file", "", "", query, ""), _SCHEMES["file"])
    return _local(folder, settings)  # not shared: the folder may be another one after `os.chdir`


class Scheme(NamedTuple):
    """How URLs of one scheme are read."""

    build: Callable[[SplitResult, dict[str, Any]], FileSystem]
    cut: Callable[[SplitResult], tuple[SplitResult, str]]
    """Part the URL of a file into that of a file system and a path in it."""
    settings: Mapping[str, Reading]
    """The parameters, and what reads each."""
    credentials: bool = False
    """Whether a name and password may stand in the URL."""


async def _close(systems: dict[str, FileSystem]) -> None:
    for system in systems.values():
        await system.aclose()


_connected: PerLoop[dict[str, FileSystem]] = PerLoop("opened by URL", dict, _close)


def _shared(url: str) -> FileSystem:
    """Return the file system of `url`, one for all of the running loop, which closes it at its end."""
    systems = _connected.get()
    if url not in systems:
        systems[url] = connect(url)
    return systems[url]


@cache
def _shared_memory() -> FileSystem:
    return stores.MemoryFileSystem()


def _parts(url: str) -> SplitResult:
    """Return the parts of a URL that means what it says: `urlsplit` drops control characters without a word."""
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}: {url!r}")
    scheme = url.partition(":")[0]
    if url != url.lstrip(" "):
        raise ValueError(f"{scheme.strip()} URL begins with a space: leave it out")
    if any(ord(character) < ord(" ") or character == "\x7f" for character in url):
        raise ValueError(f"{scheme} URL has a control character: leave it out, or write it as %0A, for example")
    if "%00" in url:
        raise ValueError(f"{scheme} URL has %00, and no name has a NUL: leave it out")
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError as error:
        raise ValueError(f"{scheme} URL has %{error.object[error.start]:02X}, which is not UTF-8") from None
    return urlsplit(url)


def _scheme(parts: SplitResult) -> Scheme:
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        known = ", ".join(sorted(_SCHEMES))
        raise ValueError(
            f"scheme {parts.scheme!r} is unknown: use one of {known}; a local folder is ./folder or /folder"
        )
    if not scheme.credentials and "@" in parts.netloc:
        place = parts.netloc.rpartition("@")[2]
        raise ValueError(f"{parts.scheme}://…@{place}: credentials belong in the environment, not in this URL")
    if parts.fragment:
        raise ValueError(f"{parts.scheme} URL has a fragment: write '#' in a name as %23")
    return scheme


def _settings(parts: SplitResult, scheme: Scheme) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    try:
        parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"{parts.scheme} URL has a parameter without a value: write ?name=value&name=value") from None
    for name, value in parameters:
        read = scheme.settings.get(name)
        if read is None:
            known = ", ".join(sorted(scheme.settings)) or "none"
            raise ValueError(f"{parts.scheme} URL has an unknown parameter {name!r}; known: {known}")
        if name in settings:
            raise ValueError(f"{parts.scheme} URL has the parameter {name!r} twice")
        try:
            settings[name] = read(value)
        except ValueError as error:
            if read in {
                connect,
                _keeper,
                _locks,
                _password,
            }:  # whose words need no more, and whose value may have a password
                raise
            raise ValueError(f"{parts.scheme} URL has {name}={value}: {error}") from None
    return settings


def _flag(value: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if value.lower() not in words:
        raise ValueError("neither true nor false")
    return words[value.lower()]


def _words(value: str) -> list[str]:
    return value.split(",")


def _pairs(value: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in _words(value)]
    if not all(name and meaning for name, _, meaning in pairs):
        raise ValueError("write name=meaning,name=meaning")
    return {name: meaning for name, _, meaning in pairs}


def _password(value: str) -> str:
    """Return the password that `redis-cli` takes from the environment too."""
    if value != "environment":
        raise ValueError("write auth=environment: the password itself is in REDISCLI_AUTH")
    password = os.environ.get("REDISCLI_AUTH")
    if not password:
        raise ValueError("REDISCLI_AUTH is not set: it has the password")
    return password


def _keeper(value: str) -> FileSystem:
    """Return the file system that keeps the locks of another one.

    :raises ValueError: if other processes do not see its locks.
    """
    if "://" not in value:
        raise ValueError(
            f"locks={value!r} is not a URL: give the URL of a store that all processes share, such as redis://host"
        )
    keeper = connect(value)
    if keeper.driver.capabilities.locks == "process":
        raise ValueError(
            f"locks={urlsplit(value).scheme}://… keeps locks within this process, so other processes are not kept "
            "out: give a store that all processes share, such as redis:// or file://"
        )
    return keeper


def _locks(value: str) -> FileSystem | str:
    return value if value == "host" else _keeper(value)


def _file(parts: SplitResult, settings: dict[str, Any]) -> FileSystem:
    return _local(_local_path(parts), settings)


def _local(folder: str, settings: dict[str, Any]) -> FileSystem:
    return stores.OSFileSystem(folder, close_locks=settings.get("locks") != "host", **settings)


def _local_path(parts: SplitResult) -> str:
    if parts.netloc not in {"", "localhost"}:
        raise ValueError(f"file URL names a host, {parts.netloc!r}: write file:///absolute/folder")
    if not parts.path.startswith("/"):
        raise ValueError(f"file URL names no absolute folder, but {parts.path!r}: write file:///absolute/folder")
    return url2pathname(parts.path)


def _memory(parts: SplitResult, settings: dict[str, Any]) -> FileSystem:
    if parts.netloc or parts.path.strip("/"):
        raise ValueError("memory:// has no parts: each connect gives a new, empty file system")
    return stores.MemoryFileSystem(**settings)


def _redis(parts: SplitResult, settings: dict[str, Any]) -> FileSystem:
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name in _REDIS_PY])
    own = {name: value for name, value in settings.items() if name not in _REDIS_PY}
    if password := own.pop("auth", None):
        query += f"{'&' if query else ''}{urlencode({'password': password})}"
    return stores.RedisFileSystem(urlunsplit(parts._replace(query=query)), **own)


def _s3(parts: SplitResult, settings: dict[str, Any]) -> FileSystem:
    if not parts.netloc:
        raise ValueError("s3 URL names no bucket: write s3://bucket/prefix")
    return stores.S3FileSystem(parts.netloc, prefix=_folder(parts), close_locks=True, **settings)


def _azure(parts: SplitResult, settings: dict[str, Any]) -> FileSystem:
    if not parts.netloc:
        raise ValueError("azure URL names no container: write azure://container/prefix")
    return stores.AzureFileSystem.from_environment(parts.netloc, prefix=_folder(parts), **settings)


def _fastdfs(parts: SplitResult, settings: dict[str, Any]) -> FileSystem:
    if "index" not in settings:
        raise ValueError("fastdfs URL needs index=URL: the file system that keeps the names")
    if parts.path.strip("/"):
        raise ValueError(f"fastdfs URL has a path, {parts.path!r}: connect to all of it, and take a folder by at()")
    return stores.FastDFSFileSystem(parts.netloc.split(","), close_index=True, **settings)


def _folder(parts: SplitResult) -> str:
    """Return the path as the name of a folder."""
    return check_folder(unquote(parts.path.strip("/")))


def _cut_database(parts: SplitResult) -> tuple[SplitResult, str]:
    database, _, path = parts.path.removeprefix("/").partition("/")
    if not database.isdecimal():
        raise ValueError(f"{parts.scheme} URL of a file: write the database before the name, as in /0/{path or 'name'}")
    return parts._replace(path=f"/{database}"), unquote(path)


def _cut_nothing(parts: SplitResult) -> tuple[SplitResult, str]:
    raise ValueError(f"{parts.scheme} URLs name a socket, not a file: connect() to it and open the file there")


def _cut_last(parts: SplitResult) -> tuple[SplitResult, str]:
    folder, _, name = parts.path.rpartition("/")
    return parts._replace(path=folder or "/"), unquote(name)


def _cut_all(parts: SplitResult) -> tuple[SplitResult, str]:
    return parts._replace(path=""), unquote(parts.path.removeprefix("/"))


def _cut_memory(parts: SplitResult) -> tuple[SplitResult, str]:
    return parts._replace(netloc="", path=""), unquote(parts.netloc + parts.path)


_REDIS_PY: dict[str, Reading] = {
    **dict.fromkeys(("client_name", "lib_name", "lib_version", "username", "password"), str),
    **dict.fromkeys(("encoding", "encoding_errors"), str),
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password"), str),
    **dict.fromkeys(("ssl_cert_reqs", "ssl_ciphers", "ssl_exclude_verify_flags", "ssl_include_verify_flags"), str),
    **dict.fromkeys(("db", "health_check_interval", "max_connections", "protocol", "socket_read_size"), int),
    **dict.fromkeys(("socket_type", "ssl_min_version"), int),
    **dict.fromkeys(("socket_connect_timeout", "socket_timeout"), float),
    **dict.fromkeys(("decode_responses", "legacy_responses", "retry_on_timeout"), _flag),
    **dict.fromkeys(("socket_keepalive", "ssl_check_hostname"), _flag),
}
"""What a Redis URL says to redis-py itself, whose older versions refuse some. Its own `timeout`, for pools that let
callers wait, is not among them: aiofs lets them wait by itself.
"""
_REDIS_SETTINGS: dict[str, Reading] = {
    "auth": _password,
    "prefix": str,
    "ttl": float,
    "lease": float,
    "timeout": float,
    "chunked": _flag,
    "chunk_size": int,
    "replica": str,
    **_REDIS_PY,
}
_S3_SETTINGS: dict[str, Reading] = {
    **dict.fromkeys(("endpoint_url", "region", "addressing", "ca_bundle", "locking", "checksum"), str),
    **dict.fromkeys(("profile", "role_arn", "role_session_name", "external_id", "encryption", "kms_key"), str),
    **dict.fromkeys(("content_type", "storage_class"), str),
    **dict.fromkeys(("lease", "timeout", "keep_partial"), float),
    **dict.fromkeys(("part_size", "parallel", "page_size", "attempts"), int),
    **dict.fromkeys(("anonymous", "requester_pays", "direct"), _flag),
    "locks": _keeper,
}
_AZURE_SETTINGS: dict[str, Reading] = {
    **dict.fromkeys(("anonymous", "identity"), _flag),
    "account_url": str,
    **dict.fromkeys(("lease", "part_size"), int),
    **dict.fromkeys(("timeout", "keep_partial"), float),
}
_FASTDFS_SETTINGS: dict[str, Reading] = {
    "index": connect,
    "prefix": str,
    "group": str,
    "address_map": _pairs,
    "retired": _words,
    "base_url": str,
    **dict.fromkeys(("connect_timeout", "network_timeout", "pool_timeout", "log_delay", "token_ttl"), float),
    "connections": int,
}
_SCHEMES: dict[str, Scheme] = {
    "azure": Scheme(_azure, _cut_all, _AZURE_SETTINGS),
    "fastdfs": Scheme(_fastdfs, _cut_all, _FASTDFS_SETTINGS),
    "file": Scheme(
        _file,
        _cut_last,
        {"durable": _flag, "locks": _locks, "permissions": permissions_of, "keep_partial": float},
    ),
    "memory": Scheme(_memory, _cut_memory, {"keep_partial": float}),
    "redis": Scheme(_redis, _cut_database, _REDIS_SETTINGS, credentials=True),
    "rediss": Scheme(_redis, _cut_database, _REDIS_SETTINGS, credentials=True),
    "s3": Scheme(_s3, _cut_all, _S3_SETTINGS),
    "unix": Scheme(_redis, _cut_nothing, _REDIS_SETTINGS, credentials=True),
}
