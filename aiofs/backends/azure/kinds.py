"""What a blob is, beside a block blob: an append blob, a page blob, or the mark of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azure.storage.blob import BlobType

from aiofs.backends.azure.names import FOLDER
from aiofs.errors import IsAFolder, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.storage.blob import BlobProperties


def marks_folder(size: int | None, metadata: Mapping[str, str] | None) -> bool:
    """Whether a blob is what Data Lake Storage and Hadoop leave for a folder: empty, and labelled as one."""
    return not size and any(key.lower() == FOLDER and value == "true" for key, value in (metadata or {}).items())


def check_file(path: str, properties: BlobProperties) -> None:
    """Raise `IsAFolder` if the blob only marks a folder."""
    if marks_folder(properties.size, properties.metadata):
        raise IsAFolder.of(path, "this blob marks a folder (hdi_isfolder), it is no file")


def is_append_blob(properties: BlobProperties) -> bool:
    """Whether bytes can only be added to the end of the blob."""
    return bool(properties.blob_type == BlobType.APPENDBLOB)


def check_replaceable(path: str, properties: BlobProperties) -> None:
    """Raise `Unsupported` if new bytes would make a block blob of something that is none."""
    if properties.blob_type == BlobType.PAGEBLOB:
        raise Unsupported.of(path, "this is a page blob, which aiofs only reads and removes; remove it to write a file")
    if is_append_blob(properties):
        raise Unsupported.of(
            path,
            "this is an append blob, which only mode 'a' outside of transactions changes; remove it to write a file",
        )


def check_copied(path: str, properties: BlobProperties) -> None:
    """Raise `Unsupported` if a copy would be another kind of blob: in one step the service copies only block blobs."""
    if properties.blob_type not in {None, BlobType.BLOCKBLOB}:
        kind = "an append blob" if is_append_blob(properties) else "a page blob"
        raise Unsupported.of(
            path, f"this is {kind}, and its copy would be a block blob; read it and write the bytes if that is wanted"
        )
