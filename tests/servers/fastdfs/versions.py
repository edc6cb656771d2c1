"""How versions of FastDFS differ for a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Version:
    """What one version does."""

    name: str
    wide: bool = False  # addresses of 45 and 46 bytes
    after_invalid: Literal["close", "deaf"] = "close"  # what storages do after status 22
    tracker_closes: bool = False  # trackers close after status 22
    clamps: bool = True  # a download past the end is cut; of nothing, it is refused
    regenerates: bool = True
    skips_checksum: bool = True  # the flag that asks for no checksum is heeded
    old_records: bool = False  # groups and storages are described as before 6.13
    version_width: int = 8


CURRENT = Version("6.16.1")
WIDE = Version("6.16.1", wide=True)
OLDEST = Version(
    "5.12",
    tracker_closes=True,
    clamps=False,
    regenerates=False,
    skips_checksum=False,
    old_records=True,
    version_width=6,
)
OLD = Version("6.09", clamps=False, skips_checksum=False, old_records=True, version_width=6)
MIDDLE = Version("6.12.4", wide=True, after_invalid="deaf", clamps=False, skips_checksum=False, old_records=True)
VERSIONS = (CURRENT, WIDE, OLDEST, OLD, MIDDLE)
