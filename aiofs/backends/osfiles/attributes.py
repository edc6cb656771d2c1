"""Owner, permissions and extended attributes: what a file keeps when new bytes take the place of old ones.

The owner is set first and the permissions after it: a file that root changed stays its owner's, and is at no moment a
program that runs as root. Where the owner, the group or an access list cannot be kept, the new file grants less, never
more. All functions here block and run in worker threads.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiofs.backends.osfiles.places import Place

ACCESS_LIST = "system.posix_acl_access"
KEPT = ("user.", "security.selinux", "security.SMACK64", "system.nfs4_acl")
"""The beginnings of the extended attributes that are kept. Those that vouch for the bytes, or give them privileges,
are not."""
ALL_BITS, PERMISSIONS, PRIVILEGES = 0o7777, 0o777, stat.S_ISUID | stat.S_ISGID
GROUP = 0o070
HAS_OWNERS = hasattr(os, "fchown")
_HAS_ATTRIBUTES = hasattr(os, "listxattr")
_GROUP_OF_FILE, _ENTRY = 0x04, struct.Struct("<HHI")

Attributes = dict[str, bytes]


def keep_attributes(fd: int, place: Place, replaced: os.stat_result) -> None:
    """Give the open file `fd` all that the file at `place` has but its bytes; `replaced` is that file's status."""
    if not HAS_OWNERS:
        return
    attributes = attributes_of(_name_of(place))
    own = os.fstat(fd)
    owner, group = _keep_owner(fd, own, replaced)
    mode = stat.S_IMODE(replaced.st_mode) & (ALL_BITS if owner and group else PERMISSIONS)
    _set_permissions(fd, mode, attributes.pop(ACCESS_LIST, None), group=group)
    _set_attributes(fd, attributes)


def belong(fd: int, folder: os.stat_result, mode: int) -> None:
    """Give `fd`, a new file or folder of aiofs's own, to the owner of its folder, if we may, and set its mode."""
    if not HAS_OWNERS:
        return
    own = os.fstat(fd)
    if own.st_uid == os.geteuid():
        if own.st_uid != folder.st_uid:
            with suppress(PermissionError):  # only root may do this
                os.fchown(fd, folder.st_uid, folder.st_gid)
        if stat.S_IMODE(own.st_mode) != mode:
            os.fchmod(fd, mode)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Who may do what with a file. Setuid and setgid are left out, as a copy has neither."""

    mode: int
    access_list: bytes | None


@dataclass(frozen=True, slots=True)
class Ownership:
    """The owner and the permissions that a journal keeps for a prepared file."""

    owner: int
    permissions: Permissions

    @classmethod
    def of(cls, text: str) -> Ownership:
        """Return what a journal kept as text.

        :raises ValueError: if the text is not an owner, a mode and an access list.
        """
        owner, mode, access_list = text.split(" ")
        permissions = Permissions(int(mode, 8) & PERMISSIONS, bytes.fromhex(access_list) or None)
        return cls(int(owner), permissions)

    def __str__(self) -> str:
        return f"{self.owner} {self.permissions.mode:o} {(self.permissions.access_list or b'').hex()}"


def permissions_of(fd: int) -> Permissions:
    """Return the permissions of an open file."""
    return Permissions(stat.S_IMODE(os.fstat(fd).st_mode) & PERMISSIONS, attributes_of(fd).get(ACCESS_LIST))


def give_permissions(fd: int, permissions: Permissions, place: Place, replaced: os.stat_result | None) -> None:
    """Give the open file `fd` these permissions, and the owner of the file at `place`, if any."""
    if not HAS_OWNERS:
        return
    attributes: Attributes = {}
    if replaced is not None:
        _keep_owner(fd, os.fstat(fd), replaced)
        attributes = attributes_of(_name_of(place))
        attributes.pop(ACCESS_LIST, None)
    _set_permissions(fd, permissions.mode, permissions.access_list, group=True)
    _set_attributes(fd, attributes)


def attributes_of(file: str | int) -> Attributes:
    """Return those extended attributes of a file that are kept; a link is not followed."""
    found: Attributes = {}
    if _HAS_ATTRIBUTES:
        # Attributes that cannot be listed or read cannot be kept. The docs say so.
        with suppress(OSError):
            for name in os.listxattr(file, follow_symlinks=isinstance(file, int)):
                if name == ACCESS_LIST or name.startswith(KEPT):
                    with suppress(OSError):
                        found[name] = os.getxattr(file, name, follow_symlinks=isinstance(file, int))
    return found


def owner_of(status: os.stat_result) -> str:
    """Return the owner of a file in words."""
    with suppress(ImportError, KeyError):
        import pwd  # noqa: PLC0415 -- not on Windows

        return f"user {pwd.getpwuid(status.st_uid).pw_name} ({status.st_uid})"
    return f"user {status.st_uid}"


def _name_of(place: Place) -> str:
    """Return a path to the leaf through the open folder: Python's functions for attributes take no `dir_fd`."""
    return place.leaf if place.fd is None else f"/proc/self/fd/{place.fd}/{place.leaf}"


def _keep_owner(fd: int, own: os.stat_result, wanted: os.stat_result) -> tuple[bool, bool]:
    """Give the file the owner and the group that are wanted, as far as we may; return whether it has each."""
    owner, group = own.st_uid == wanted.st_uid, own.st_gid == wanted.st_gid
    if owner and group:
        return True, True
    for user, members in ((wanted.st_uid, wanted.st_gid), (-1, wanted.st_gid), (wanted.st_uid, -1)):
        with suppress(OSError):
            os.fchown(fd, user, members)
            return owner or user == wanted.st_uid, group or members == wanted.st_gid
    return owner, group


def _set_permissions(fd: int, mode: int, access_list: bytes | None, *, group: bool) -> None:
    """Set the mode and the access list. If the list or the group of the old file is lost, the group gets less."""
    kept = False
    if access_list is not None and group:
        with suppress(OSError):
            os.setxattr(fd, ACCESS_LIST, access_list)
            kept = True
    if not kept:
        # The folder may have given the new file an access list that names users whom the old file did not let in.
        if _HAS_ATTRIBUTES:
            with suppress(OSError):
                if ACCESS_LIST in os.listxattr(fd):
                    os.removexattr(fd, ACCESS_LIST)
        if access_list is not None:
            # Beside a list, the group's bits of the mode are the most that anybody on the list may do.
            mode = mode & ~GROUP | mode & _group_bits(access_list)
        if not group:
            mode = mode & ~GROUP | mode & (mode & 0o007) << 3
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def _group_bits(access_list: bytes) -> int:
    """Return what an access list lets the owning group do, as the group's bits of a mode."""
    for offset in range(4, len(access_list) - _ENTRY.size + 1, _ENTRY.size):
        tag, permissions, _ = _ENTRY.unpack_from(access_list, offset)
        if tag == _GROUP_OF_FILE:
            return int(permissions & 0o7) << 3
    return 0


def _set_attributes(fd: int, attributes: Attributes) -> None:
    for name, value in attributes.items():
        with suppress(OSError):
            os.setxattr(fd, name, value)
