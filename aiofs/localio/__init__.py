"""The one engine for local files: on the loop if memory has the bytes, in a worker thread otherwise."""

from aiofs.localio.devices import device_of, network_of
from aiofs.localio.reading import budget_of, pread, pread_now
from aiofs.localio.unbuffered import open_below

__all__ = ["budget_of", "device_of", "network_of", "open_below", "pread", "pread_now"]
