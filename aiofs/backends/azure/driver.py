"""The six verbs on Azure blobs."""

from __future__ import annotations

from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from azure.storage.blob import BlobSasPermissions

from aiofs import clock
from aiofs.backends.azure.client import ONCE, PART, Container, Credential, Signer
from aiofs.backends.azure.errors import NotPermitted
from aiofs.backends.azure.listing import entries
from aiofs.backends.azure.locks import LONGEST, SHORTEST, AzureLease, acquire, check_free
from aiofs.backends.azure.names import check_format, check_name, from_headers
from aiofs.backends.azure.partial import MOST_DAYS, STORE, AzurePartial, find_kept
from aiofs.backends.azure.properties import (
    KEPT,
    Attributes,
    check_file,
    check_not_archived,
    check_replaceable,
    entry_of,
    is_append_blob,
    matching,
    tags_of,
    version_of,
)
from aiofs.backends.azure.reading import SMALLEST_RANGE, AzureHistory, block_ids, kept_as, open_stream
from aiofs.backends.azure.sweeping import AzureSweeper
from aiofs.backends.azure.writing import LARGEST_BLOCK, LARGEST_PUT, AppendSession, AzureSession, Copier, check_token
from aiofs.driver import ABSENT, Capabilities, Driver, Entry, Lease, PartialSession, ReadStream, WriteSession
from aiofs.errors import AccessDenied, Conflict, NotFound, Unsupported
from aiofs.kit import EndedSession, each, own_lease, together, whole_part, without_defaults
from aiofs.partials import DAYS, check_days, id_in
from aiofs.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence

    from azure.storage.blob.aio import ContainerClient


class AzureDriver(AzureSweeper, AzureHistory, Driver):
    """The blobs of one container, each a file."""

    capabilities: Capabilities = Capabilities(
        locks="shared", fences=True, resume=True, partial=True, metadata=True, properties=KEPT
    )
    window: int | None = SMALLEST_RANGE

    def __init__(
        self,
        container: str,
        *,
        connection_string: str | None = None,
        account_url: str | None = None,
        credential: Credential | None = None,
        client: ContainerClient | None = None,
        lease: int = 30,
        part_size: int = PART,
        timeout: float = 60,
        page: int = 5000,
        keep_partial: float = DAYS,
    ) -> None:
        self._kept_for = check_days(keep_partial)
        if keep_partial > MOST_DAYS:
            raise ValueError(
                f"keep_partial={keep_partial!r}: Azure keeps unfinished blocks for {MOST_DAYS:g} days at most"
            )
        if not isinstance(lease, int) or not SHORTEST <= lease <= LONGEST:
            raise ValueError(
                f"lease must be {SHORTEST} to {LONGEST} whole seconds, not {lease!r}: Azure grants no other"
            )
        if not isinstance(part_size, int) or not LARGEST_PUT <= part_size <= LARGEST_BLOCK:
            raise ValueError(
                f"part_size must be a whole number from {LARGEST_PUT} to {LARGEST_BLOCK} (100 MiB), not {part_size!r}"
            )
        super().__init__(Container(container, connection_string, account_url, credential, timeout, lent=client))
        self.part_size: int = part_size
        self._signer = Signer(self._container)
        self._lease = lease
        self._page = page
        self._days = keep_partial

    def check_name(self, path: str) -> None:
        """Raise `ValueError` for a path that cannot be the name of a blob."""
        check_name(path)

    async def stat(self, path: str) -> Entry:
        """Describe the blob. Tags, if it has any, take another request; without permission for it they are left out."""
        properties = await self._container.ask(path, self._container.blob(path).get_blob_properties)
        with suppress(AccessDenied):
            return entry_of(path, properties, await tags_of(self._container, path, properties))
        return entry_of(path, properties)

    async def read(self, path: str, start: int = 0, stop: int | None = None, *, match: str | None = None) -> ReadStream:
        """Open the blob for reading."""
        return await open_stream(self._container, path, start, stop, match)

    async def begin(
        self, path: str, lease: Lease, *, match: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> WriteSession:
        """Begin new bytes for the blob, which must still be what it is now when they are published."""
        attributes = Attributes.of(path, metadata)
        container, own = self._container, own_lease(lease, AzureLease)
        there = None if match == ABSENT else await container.find(path)
        if there is None:
            asked = ABSENT if match is None else match
            return AzureSession(container, own, asked, attributes, any_version=match is None)
        check_file(path, there)
        if match is not None and is_append_blob(there):
            return AppendSession(container, own, match, there)
        check_replaceable(path, there)
        check_not_archived(path, there)
        if match is None:
            return AzureSession(container, own, version_of(there.etag), attributes, any_version=True)
        return AzureSession(container, own, match, await attributes.keeping(container, path, there))

    async def begin_partial(
        self, path: str, lease: Lease, *, match: str, metadata: Mapping[str, str] | None = None
    ) -> PartialSession:
        """Begin a write whose blocks another process can continue."""
        attributes = Attributes.of(path, metadata)
        there = None if match == ABSENT else await self._container.find(path)
        if there is not None:
            check_replaceable(path, there)
            check_not_archived(path, there)
        return AzurePartial(self._container, own_lease(lease, AzureLease), match, attributes, clock.token())

    async def continue_partial(
        self, path: str, lease: Lease, token: Mapping[str, Any], *, match: str
    ) -> PartialSession:
        """Continue with the blocks of another process."""
        identity = id_in(token, STORE, path)
        kept = await find_kept(self._container, path, identity)
        session = AzurePartial(self._container, own_lease(lease, AzureLease), match, kept.attributes, identity)
        await session.continue_from(kept)
        return session

    async def resume(self, token: Mapping[str, Any]) -> WriteSession:
        """Take over a prepared session."""
        path = Token(token).path
        check_format(path, "what was prepared for this file", token)
        token = check_token(token)
        if await self._is_ended(token):
            return EndedSession(self, path)
        lease = await acquire(self._container, path, self._lease)
        session = AzureSession(self._container, lease, token["match"], Attributes.from_token(token))
        session.adopt(token)
        return session

    async def delete(
        self, paths: Sequence[str], *, leases: Sequence[Lease] = (), match: str | None = None, missing_ok: bool = False
    ) -> None:
        """Remove the blobs."""
        held = {lease.path for lease in leases if not lease.lost}
        for lease in leases:
            if lease.lost:
                raise Conflict.of(lease.path, "the lock on this file was lost; it was not removed")
        free = [path for path in paths if path not in held]

        async def check(path: str) -> None:
            there = await self._container.find(path)
            if there is not None:
                check_file(path, there)
            elif not missing_ok:
                raise NotFound.of(path)

        await together([check_free(self._container, free), each(free, check)])

        await each(paths, lambda path: self._remove(path, match, missing_ok=missing_ok), all_of_them=True)

    def list(self, prefix: str = "", *, after: str = "", delimiter: str | None = None) -> AsyncGenerator[Entry]:
        """Yield the blobs that the service lists, in the order of UTF-8 bytes."""
        return entries(self._container, prefix, after, delimiter, self._page)

    async def lock(self, path: str) -> Lease:
        """Get the right to write the blob."""
        return await acquire(self._container, path, self._lease)

    async def copy(self, source: str, target: str, lease: Lease, *, match: str | None = None) -> Entry:
        """Let the service copy in one step; if it cannot, copy through this process."""
        return await Copier(self._container, self._signer, self.capabilities, source).to(
            own_lease(lease, AzureLease), match
        )

    def origin(self, path: str) -> tuple[Driver, str]:
        return self, path

    def can_copy_from(self, origin: Driver) -> bool:
        """Whether it is a container of the same account."""
        return isinstance(origin, AzureDriver) and origin._container.account == self._container.account  # noqa: SLF001 -- of the same class

    async def copy_from(
        self, origin: Driver, source: Entry, target: str, lease: Lease, *, match: str | None = None
    ) -> Entry:
        """Let the service copy from another container in one step; if it cannot, copy through this process."""
        assert isinstance(origin, AzureDriver)  # noqa: S101 -- `can_copy_from` looked
        copier = Copier(origin._container, origin._signer, self.capabilities, source.path, version=source.version)  # noqa: SLF001 -- of the same class
        return await copier.to(own_lease(lease, AzureLease), match, container=self._container)

    async def restore_version(self, path: str, version_id: str, lease: Lease) -> Entry:
        """Copy an old version to the blob, in one step."""
        kept = kept_as(path, version_id)
        if not kept:
            return await self.stat(path)  # it is the current version
        try:
            return await Copier(self._container, self._signer, self.capabilities, path, kept).to(
                own_lease(lease, AzureLease)
            )
        except NotFound as error:
            raise NotFound.of(path, f"there is no version {version_id!r} of this file") from error

    async def check_may_remove(self, path: str) -> None:
        """Raise `AccessDenied` if we may not remove blobs."""
        await self._container.check_may_remove(path, "removing or moving a file")

    async def url(self, path: str, method: Literal["GET", "PUT"], expires: float) -> str:
        """Return a URL with a signature for this blob alone."""
        permission = BlobSasPermissions(read=True) if method == "GET" else BlobSasPermissions(create=True, write=True)
        try:
            url = await self._signer.url(path, permission, ceil(expires))
        except OverflowError as error:
            raise ValueError(f"expires={expires} is too long for a URL: it would end after all dates") from error
        if url is None:
            raise Unsupported.of(
                path, "only the account's key or a token can sign URLs, not a SAS: give one of them as credential="
            )
        return url

    async def note(self, path: str, data: bytes) -> None:
        """Create a small file without a lock, if we may remove it later."""
        await self._container.check_may_remove(None, "a transaction, which removes its journal at the end,")
        blob = self._container.blob(path)

        async def create() -> bool:
            await blob.upload_blob(data, length=len(data), overwrite=True, **matching(ABSENT), **ONCE)
            return True

        async def created() -> bool | None:
            try:
                stream = await self.read(path)
            except NotFound:
                return None
            return await whole_part(stream, PART) == data or None

        await self._container.ask(path, create, settled=created)

    async def erase(self, paths: Sequence[str]) -> None:
        """Remove small files without asking for locks."""

        async def remove(path: str) -> None:
            with suppress(NotFound):
                try:
                    await self._container.remove(path, path)
                except NotPermitted:
                    await self.stat(path)  # raises NotFound if there is nothing to remove, which needs no permission
                    raise

        await each(paths, remove, all_of_them=True)

    async def aclose(self) -> None:
        """Close the clients."""
        await self._container.aclose()

    def address(self, folder: str) -> str:
        """Return the `azure://` URL. Keys and signatures are not in it; the environment must have them."""
        own = {"lease": self._lease, "part_size": self.part_size, "keep_partial": self._days}
        return self._container.address(
            folder, without_defaults(own, {"lease": 30, "part_size": PART, "keep_partial": DAYS})
        )

    def locate(self, path: str) -> tuple[Hashable, str]:
        """Return the account and container as the store."""
        return ("azure", str(self._container)), path

    def __str__(self) -> str:
        return str(self._container)

    async def _remove(self, path: str, match: str | None, *, missing_ok: bool) -> None:
        """Remove one blob if it is the version `match`."""
        try:
            await self._container.remove(path, path, **matching(match))
        except NotFound:
            if not missing_ok:
                raise
        except Conflict as error:  # the service says so of a missing blob, too
            if match is None or await self._container.find(path) is not None:
                raise
            if not missing_ok:
                raise NotFound.of(path) from error

    async def _is_ended(self, token: Mapping[str, Any]) -> bool:
        """Whether what was prepared was published, or is not staged any more and nothing is there."""
        ids = [name for name, _ in token["blocks"]]
        if ids:
            committed, staged = await block_ids(self._container, token["path"])
            return committed == ids or (not (committed or staged) and await self._version_of(token["path"]) == ABSENT)
        try:
            there = await self.stat(token["path"])
        except NotFound:
            return False
        # A file without blocks does not show who wrote it: an empty one with the same metadata is as good as ours.
        return there.size == 0 and there.version != token["match"] and there.metadata == from_headers(token["headers"])

    async def _version_of(self, path: str) -> str:
        properties = await self._container.find(path)
        return ABSENT if properties is None else version_of(properties.etag)
