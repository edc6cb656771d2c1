"""The one engine for local files: on the loop where memory has the bytes, in a worker thread elsewhere."""

from aiofs.localio.reading import pread

__all__ = ["pread"]
