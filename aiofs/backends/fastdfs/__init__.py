"""FastDFS: an asyncio client for its trackers and storages, written from the wire protocol."""

from aiofs.backends.fastdfs.answers import Address, FileInfo, LoggedName, Place
from aiofs.backends.fastdfs.client import ClientOptions, FastDFSClient
from aiofs.backends.fastdfs.download import Download
from aiofs.backends.fastdfs.ids import FileId, TrunkPlace
from aiofs.backends.fastdfs.records import GroupInfo, StorageInfo

__all__ = [
    "Address",
    "ClientOptions",
    "Download",
    "FastDFSClient",
    "FileId",
    "FileInfo",
    "GroupInfo",
    "LoggedName",
    "Place",
    "StorageInfo",
    "TrunkPlace",
]
