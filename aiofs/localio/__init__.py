"""The one engine for local files: on the loop where memory has the bytes, in a worker thread elsewhere."""

from aiofs.localio.cached import open_below
from aiofs.localio.devices import device_of
from aiofs.localio.networks import network_of
from aiofs.localio.reading import pread, pread_now
from aiofs.localio.turns import turn_of

__all__ = ["device_of", "network_of", "open_below", "pread", "pread_now", "turn_of"]
