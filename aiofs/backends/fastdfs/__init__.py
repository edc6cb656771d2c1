"""FastDFS: an asyncio client for its trackers and storages, written from the wire protocol."""

from aiofs.backends.fastdfs.client.answers import Address, FileInfo, GroupInfo, LoggedName, StorageInfo
from aiofs.backends.fastdfs.client.answers import StoragePlace as Place
from aiofs.backends.fastdfs.client.client import FastDFSClient
from aiofs.backends.fastdfs.client.ids import FileId, TrunkPlace
from aiofs.backends.fastdfs.client.settings import ClientOptions
from aiofs.backends.fastdfs.client.transfers import Download

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
