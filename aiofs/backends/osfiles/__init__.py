"""Local files below one folder: rooted, published in one step, locked among processes."""

from aiofs.backends.osfiles.driver import OSDriver

__all__ = ["OSDriver"]
