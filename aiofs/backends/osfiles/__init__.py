"""Local files below one folder: published in one step, and locked among processes."""

from aiofs.backends.osfiles.driver import OSDriver
from aiofs.backends.osfiles.leased import LeasedDriver

__all__ = ["LeasedDriver", "OSDriver"]
