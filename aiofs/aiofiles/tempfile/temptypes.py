"""The handles of temporary files and folders: aiofiles' own."""

from aiofiles.tempfile.temptypes import AsyncSpooledTemporaryFile, AsyncTemporaryDirectory

__all__ = ["AsyncSpooledTemporaryFile", "AsyncTemporaryDirectory"]
