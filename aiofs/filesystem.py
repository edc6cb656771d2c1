"""FileSystem: the portable side. It does, once for all stores, everything that a driver does not do."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from aiofs.copying import Copying
from aiofs.driver import ABSENT, ANY, Layer, asked_version
from aiofs.errors import AccessDenied, IsAFolder, NotFound, Unsupported, place, placed
from aiofs.files.handle import Dependents
from aiofs.files.opening import Opening, Terms, history_of, open_file, open_version, read_only, terms_of
from aiofs.files.reading import drain
from aiofs.lifetimes import Call, Calls, finish
from aiofs.listing import Listing
from aiofs.locks import hold
from aiofs.modes import BinaryMode, Mode, PlainMode, TextMode, parse_mode
from aiofs.names import check_folder, check_path, under
from aiofs.powers import ChecksUrls, HasAddress, HasLocalPaths, Presigns
from aiofs.sources import PLAIN, pieces_of, write_all
from aiofs.system import WRITE, check_range
from aiofs.updating import Update
from aiofs.waiting import Waiter, check_wait, give_back

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from aiofs.driver import Driver, Entry, Lease
    from aiofs.files.handle import Dependent, FileLike, Handle
    from aiofs.files.text import TextFile
    from aiofs.locks import HeldLock
    from aiofs.names import AnyName
    from aiofs.properties import Properties
    from aiofs.sources import Source

BULK = 1000
_NO_KEY = "give OSFileSystem or MemoryFileSystem base_url= and secret=, or any store the layer SignedUrls"


class FileSystem(Copying):
    """The files of a driver. `over` puts layers on it, `at` narrows it to a folder, `async with` closes it."""

    def __init__(self, driver: Driver, *, owner: bool = True, base: FileSystem | None = None) -> None:
        self._driver = driver
        self._owner = owner
        # What this was made from. Closing that closes this; closing this closes that only if this owns the store.
        self._base = base
        self._dependents = Dependents()  # of this, and of what was made from this
        self._calls: Calls = Calls() if base is None else base._calls  # noqa: SLF001 -- of the same class
        self._closed = False

    @property
    def driver(self) -> Driver:
        """The driver, for layers, transactions and tests."""
        return self._driver

    @property
    def closed(self) -> bool:
        """Whether the file system was closed, or the one that it was made from."""
        return self._closed or (self._base is not None and self._base.closed)

    @overload
    def open(
        self,
        path: AnyName,
        mode: BinaryMode = "r",
        *,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        partial: str | None = None,
        **properties: Unpack[Properties],
    ) -> Opening[FileLike]: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: TextMode,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: PlainMode = "r",
        *,
        encoding: str,
        errors: str | None = None,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: PlainMode = "r",
        *,
        encoding: str | None = None,
        errors: str,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    @overload
    def open(
        self,
        path: AnyName,
        mode: PlainMode = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Opening[TextFile]: ...
    def open(
        self,
        path: AnyName,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        metadata: Mapping[str, str] | None = None,
        version_id: str | None = None,
        wait: float = 0,
        match: str = ANY,
        partial: str | None = None,
        **properties: Unpack[Properties],
    ) -> Opening[Any]:
        """Open a file: `async with fs.open(path, "w") as f`, or `f = await fs.open(path)` and `await f.close()`.

        Modes are r (default), r+, w, x and a, for bytes; a `t`, or `encoding`, `errors` or `newline`, asks for text.
        Closing the file publishes what was written, in one step. An exception, or `abort`, publishes nothing.
        A new file takes `metadata`, and `content_type`, `cache_control`, `tags` ... (`aiofs.Properties`) where the
        store keeps them. `version_id` reads an old version, as `history` lists them. A mode that writes waits up to
        `wait` seconds for other writers to end. With the modes w, a and r+, `match` is the version that must be there
        when the file is published, or `aiofs.ABSENT`: then there must be no file.

        `partial=""`, with mode w, begins a write that outlives the process: `await f.checkpoint()` makes safe what was
        written, and returns a token. `partial=token` continues it, also in another process, at `await f.tell()`.

        :raises ValueError: for a bad path, mode or option, before anything else happens.
        :raises NotFound: on entering, if there is no such file and the mode is r or r+.
        :raises AlreadyExists: on entering (or closing), if there is one and the mode is x, or `match` is `ABSENT`.
        :raises Conflict: on entering (or closing), if the file is not the version `match`.
        :raises Locked: on entering, if the mode writes and somebody else is writing the file, until `wait` has passed.
        :raises Unsupported: at once, for `partial`, if the store or a layer cannot keep a write for another process.
        """
        parsed = parse_mode(mode, encoding, errors, newline)
        name = self._check(path)
        terms = terms_of(self._driver, name, parsed, metadata, properties, wait, match, partial)
        if version_id is not None and parsed.action != "r":
            raise ValueError(f"version_id is for reading, not for mode {parsed.spelled!r}: restore() the version")
        if not parsed.text:
            return Opening(lambda: self._open(name, parsed, terms, version_id), lambda: _named(name, parsed, self))
        from aiofs.files.decoding import TextFormat  # noqa: PLC0415
        from aiofs.files.text import TextFile  # noqa: PLC0415 -- loaded when text is used

        form = TextFormat.of(encoding or "utf-8", errors, newline)

        async def open_text() -> TextFile:
            return TextFile(await self._open(name, parsed, terms, version_id), form.encoding, form.errors, newline)

        return Opening(open_text, lambda: _named(name, parsed, self))

    async def rm(
        self,
        *paths: AnyName,
        missing_ok: bool = False,
        glob: str | None = None,
        wait: float = 0,
        match: str = ANY,
    ) -> None:
        """Remove the files `paths`; if one of them cannot be removed, none is. Then remove those that match `glob`.

        `paths` are names, not patterns. With `match`, one path is removed only if it is that version. `rm` waits up to
        `wait` seconds, all together, for other writers of these files.

        :raises NotFound: naming a path that is not there, unless `missing_ok`.
        :raises IsAFolder: naming a path that is a folder: `glob="folder/**"` removes all files in it.
        :raises Conflict: if the file is not the version `match`.
        :raises Locked: naming a path that somebody is writing, until `wait` has passed.
        """
        names = [self._check(path) for path in paths]
        check_wait(wait)
        matching = None if glob is None else self.glob(glob)
        with Call(self._calls) as call:
            waiter = self._waiter(wait, call)
            with placed(names[0] if len(names) == 1 else None):
                try:
                    if match is not ANY:
                        await self._remove_version(names, missing_ok, glob, match, waiter)
                    elif names:
                        await self._delete(list(dict.fromkeys(names)), missing_ok, waiter)
                except (NotFound, IsAFolder) as error:
                    await self._refuse_folder(error, names)
                    raise
            found = [] if matching is None else await matching
            for start in range(0, len(found), BULK):
                self._check_open()
                await self._delete(found[start : start + BULK], True, waiter)

    async def stat(self, path: AnyName) -> Entry:
        """Describe the file: size, time of its last change, version, metadata.

        :raises NotFound: if there is none.
        """
        path = self._check(path)
        with Call(self._calls):
            return await self._driver.stat(path)

    async def read_bytes(self, path: AnyName, start: int = 0, stop: int | None = None, *, match: str = ANY) -> bytes:
        """Return the bytes of the file from `start` to `stop`, fewer only where it ends, with one request.

        With `match` they are of that version, so that a download that broke off can go on with the same version.

        :raises ValueError: if `start` or `stop` is less than 0.
        :raises NotFound: if there is no such file.
        :raises Conflict: if it is not the version `match`.
        """
        path = self._check(path)
        check_range(start, stop)
        version = None
        if match is not ANY:
            version = asked_version(self._driver, path, match)
            if version == ABSENT:
                raise ValueError("match=aiofs.ABSENT does not go with reading, which needs a file that is there")
        with Call(self._calls):
            try:
                stream = await read_only(self._driver, path, start, stop, version)
                try:
                    return await drain(stream, start, stop)
                finally:
                    await stream.aclose()
            except OSError as error:  # not `placed`, which takes longer than all else here
                place(error, path)
                raise

    async def write_bytes(
        self,
        path: AnyName,
        data: Source,
        *,
        metadata: Mapping[str, str] | None = None,
        wait: float = 0,
        match: str = ANY,
        **properties: Unpack[Properties],
    ) -> Entry:
        """Make `data` the file's bytes, and return the new entry; `metadata`, `wait`, `match` ... are as for `open`.

        `data` is bytes, an iterable or asynchronous iterable of bytes, or an object with a `read`, asynchronous or
        blocking (which runs in a thread): an open file, an upload, the response of an HTTP client. It is read piece by
        piece, in bounded memory. If it fails, nothing is published.

        :raises TypeError: before any I/O, if `data` has no bytes, as a `str` has none.
        :raises Locked: if somebody else is writing the file, until `wait` seconds have passed.
        :raises Conflict: if the file is not the version `match`.
        :raises AlreadyExists: if `match` is `ABSENT` and there is a file.
        """
        path = self._check(path)
        terms = terms_of(self._driver, path, WRITE, metadata, properties, wait, match)
        if isinstance(data, PLAIN):
            if terms.match is not None:
                terms = replace(terms, looks_first=False)  # there is nothing to be saved: the bytes are here
            async with await self._open(path, WRITE, terms, None) as file:
                await file.write(data)
            return file.entry
        pieces_of(data)
        async with await self._open(path, WRITE, terms, None) as file:
            await write_all(file.write, data)
        return file.entry

    async def append_bytes(self, path: AnyName, data: Source, *, wait: float = 0, match: str = ANY) -> Entry:
        """Add `data` to the end of the file, which is made if it is missing, and return the new entry.

        `data` is as for `write_bytes`. Metadata and properties of the file stay as they are.

        :raises TypeError: before any I/O, if `data` has no bytes, as a `str` has none.
        :raises Locked: if somebody else is writing the file, until `wait` seconds have passed.
        :raises Conflict: if the file is not the version `match`.
        :raises AlreadyExists: if `match` is `ABSENT` and there is a file.
        """
        if not isinstance(data, PLAIN):
            pieces_of(data)
        async with self.open(path, "a", wait=wait, match=match) as file:
            await write_all(file.write, data)
        return file.entry

    async def url(self, path: AnyName, method: Literal["GET", "PUT"] = "GET", *, expires: float = 3600) -> str:
        """Return a URL with which anybody can read or write the file for `expires` seconds.

        :raises ValueError: for another method, or a time that no such URL can be good for.
        :raises Unsupported: if the store has no such URLs.
        """
        path = self._check(path)
        if method not in {"GET", "PUT"}:
            raise ValueError(f"a URL is for 'GET' or 'PUT', not {method!r}")
        if not 0 < expires < inf:
            raise ValueError(f"a URL is for some seconds, not {expires!r}")
        presigns = self._driver.offers(Presigns)
        if presigns is None:
            raise Unsupported.of(path, f"{self._driver} has no presigned URLs: {_NO_KEY}")
        with Call(self._calls):
            return await presigns.url(path, method, expires)

    def check_url(self, url: str, method: str = "GET") -> str:
        """Return the name of the file that a URL is for, which `url` signed with a key of yours.

        The web server calls this with the URL of a request, as it came: percent-encoded, with or without scheme and
        host. Then it reads or writes this file, through this file system.

        :raises AccessDenied: if the URL was changed, is for another method, or has expired.
        :raises Unsupported: if no key was given, or the store itself serves its URLs.
        """
        self._check_open()
        checks = self._driver.offers(ChecksUrls)
        if checks is None:
            raise Unsupported.of(None, f"{self._driver} checks no signed URLs: {_NO_KEY}")
        try:
            return self._check(checks.check_url(url, method))
        except ValueError as error:
            raise AccessDenied.of(None, "this URL is refused: this file system cannot hold its file") from error

    def url_of(self) -> str:
        """Return the URL of this file system, of which `aiofs.connect` makes the same one, also in other processes.

        It has no secrets: if the store needs credentials, they must be in the environment.

        :raises Unsupported: if there is none: memory, layers, transactions, systems of three methods, lent clients.
        """
        self._check_open()
        addressed = self._driver.offers(HasAddress)
        if addressed is None:
            raise Unsupported.of(None, f"{self._driver} has no URL")
        return addressed.address("")

    def history(self, path: AnyName) -> Listing[Entry]:
        """List the versions of a file that the store still has, the newest first, each with its `version_id`.

        :raises Unsupported: when it is read, if the store keeps no old versions.
        """
        name = self._check(path)
        return Listing(
            lambda: self._each(name, lambda: history_of(self._driver, name).history(name)),
            lambda: f"versions of {name!r} in {self}",
        )

    async def restore(self, path: AnyName, version_id: str, *, wait: float = 0) -> Entry:
        """Make an old version, as `history` lists them, the newest one, and return the new entry.

        :raises NotFound: if there is no such version.
        :raises Locked: if somebody else is writing the file, until `wait` seconds have passed.
        :raises Unsupported: if the store keeps no old versions.
        """
        path = self._check(path)
        keeps = history_of(self._driver, path)
        check_wait(wait)
        with Call(self._calls) as call, placed(path):
            async with self._locked(path, waiter=self._waiter(wait, call)) as (lease,):
                return await keeps.restore_version(path, version_id, lease)

    def lock(self, name: AnyName, *, wait: float = 0) -> AbstractAsyncContextManager[HeldLock]:
        """Hold the lock `name` for a block: `async with fs.lock("jobs/nightly") as lease`.

        It is for work beside files: it locks no file, not even the file of this name. `lease.fence` is a number that
        grows with every holder. If a holder was too slow, somebody else may hold the lock: `lease.lost` is
        true then, and `await lease.check()` and the end of the block raise `Conflict`.

        :raises ValueError: for a name that no file could have, before anything else happens.
        :raises Locked: on entering, if somebody else holds the lock, until `wait` seconds have passed.
        :raises Conflict: on leaving the block, if the lock was lost meanwhile.
        :raises Unsupported: on entering, in a transaction, and if the store keeps no locks.
        """
        name = self._check(name)
        check_wait(wait)
        return self._lock_held(name, wait)

    def at(self, folder: AnyName) -> FileSystem:
        """Return the folder as a file system of its own. It is closed with this one, not the other way round."""
        self._check_open()
        from aiofs.layers.names import Prefix  # noqa: PLC0415 -- a layer, loaded when used

        return FileSystem(Prefix(under(check_folder(folder))).bind(self._driver), owner=False, base=self)

    def over(self, *layers: Layer) -> FileSystem:
        """Return a file system with the layers over this one, the last outermost. Closing it closes the store."""
        self._check_open()
        driver = self._driver
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"a layer is an instance of aiofs.Layer, not {layer!r}")
            driver = layer.bind(driver)
        return FileSystem(driver, owner=self._owner, base=self)

    async def aclose(self) -> None:
        """Close the clients that the store made. Harmless when done twice; any other use raises `ValueError` then.

        Calls that have begun end first, and a cancellation waits for them. Files that are still open are aborted: what
        was written to them is not published, and closing them raises `ValueError`. Transactions that are not being
        committed yet are rolled back.
        """
        self._closed = True
        self._calls.leave_out_mine()
        await finish(self._end())

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def _end(self) -> None:
        try:
            await self._dependents.end_early()
        finally:
            if self._owner:
                await self._close_store()

    async def _close_store(self) -> None:
        try:
            await (self._calls.ended() if self._base is None else self._base.aclose())
        finally:
            await self._driver.aclose()

    async def _open(self, path: str, mode: Mode, terms: Terms, version_id: str | None) -> Handle:
        self._check_open()
        with Call(self._calls) as call:
            if version_id is None:
                waiter = self._waiter(terms.wait, call) if terms.wait else None
                handle = await open_file(self._driver, path, mode, terms, waiter)
            else:
                handle = await open_version(self._driver, path, mode, version_id)
            if self.closed:  # while it was opened
                await handle.end_early()
        self._remember(handle)
        return handle

    def _opened(self, path: str, mode: BinaryMode, wait: float) -> AbstractAsyncContextManager[FileLike]:
        return self.open(path, mode, wait=wait)

    def _created(self, path: str, wait: float) -> AbstractAsyncContextManager[FileLike]:
        return self.open(path, "x", wait=wait)

    def _own_path(self, path: str) -> str | None:
        files = self._driver.offers(HasLocalPaths)
        return None if files is None else files.local_path(path)

    def _remember(self, dependent: Dependent) -> None:
        self._dependents.add(dependent)
        if self._base is not None:
            self._base._remember(dependent)  # noqa: SLF001 -- of the same class

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._driver}{' closed' if self.closed else ''}>"

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"I/O operation on closed file system {self._driver}")

    def _check(self, path: AnyName) -> str:
        self._check_open()
        path = check_path(path)
        self._driver.check_name(path)
        return path

    async def _update(
        self,
        path: AnyName,
        change: Callable[[Any], Any],
        create: object,
        form: tuple[str, str] | None,
        wait: float,
    ) -> Entry:
        name = self._check(path)
        check_wait(wait)
        update = Update(self._driver, name, change, create, form)
        with Call(self._calls) as call, placed(name):
            return await update.run(Waiter(wait, call, self._check_open))

    def _waiter(self, wait: float, call: Call) -> Waiter | None:
        return Waiter(wait, call, self._check_open) if wait else None

    async def _delete(self, paths: Sequence[str], missing_ok: bool, waiter: Waiter | None) -> None:
        if waiter is None:  # a removal that goes on in the store when this ends could remove what comes later
            await finish(self._driver.delete(paths, missing_ok=missing_ok))
        else:
            await waiter.delete(self._driver, paths, missing_ok=missing_ok)

    async def _refuse_folder(self, error: OSError, paths: Sequence[str]) -> None:
        """Raise what to call instead if `error`, about a path that could not be removed, names a folder."""
        name = error.filename
        is_folder = False
        with suppress(OSError, ValueError):
            is_folder = name in paths and await self.is_folder(name)
        if is_folder:
            from glob import escape  # noqa: PLC0415 -- few programs need it

            every = f"{escape(name)}/**"
            words = f"this is a folder, and rm() removes files: rm(glob={every!r}) removes all files in it"
            raise IsAFolder.of(name, words) from error

    async def _remove_version(
        self, paths: list[str], missing_ok: bool, glob: str | None, match: str, waiter: Waiter | None
    ) -> None:
        """Remove one file if it is the version `match`."""
        if len(paths) != 1 or glob is not None:
            raise ValueError("match is the version of one file: give rm() one path with it, and no glob")
        version = asked_version(self._driver, paths[0], match)
        if version == ABSENT:
            raise ValueError("match=aiofs.ABSENT does not go with rm(), which removes a file that is there")
        async with self._locked(*paths, waiter=waiter) as leases:
            await finish(self._driver.delete(paths, leases=leases, match=version, missing_ok=missing_ok))

    @asynccontextmanager
    async def _locked(self, *paths: str, waiter: Waiter | None = None) -> AsyncIterator[list[Lease]]:
        """Hold the locks of `paths`; two that want the same paths take them in the same order."""
        async with AsyncExitStack() as held:
            leases = {}
            for path in sorted(paths):
                lock = self._driver.lock(path) if waiter is None else waiter.lock(self._driver, path)
                lease = leases[path] = await lock
                held.push_async_callback(give_back, lease)
            yield [leases[path] for path in paths]

    @asynccontextmanager
    async def _lock_held(self, name: str, wait: float) -> AsyncIterator[HeldLock]:
        self._check_open()
        with Call(self._calls) as call:
            lock = await hold(self._driver, name, self._waiter(wait, call))
            if self.closed:  # while it was taken
                await lock.end_early()
                self._check_open()
        self._remember(lock)
        try:
            yield lock
        except BaseException:
            with suppress(OSError):  # the lock ends by itself, and this must not hide the error of the block
                await lock.release()
            raise
        if lock.ended_early:
            self._check_open()
        try:
            held = await lock.is_held()
        finally:
            await lock.release()
        if not held:
            raise lock.conflict()


def _named(path: str, mode: Mode, system: FileSystem) -> str:
    """Return what the repr of an opening says."""
    return f"{path!r}, mode {mode.spelled!r}, in {system}"
