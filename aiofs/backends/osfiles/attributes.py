"""Whose a file is, and who may do what with it: kept when new bytes take the place of old ones.

The owner comes first, then what others may do: a file that root changed stays its owner's, and never becomes a program
that runs as root. Where the owner, the group or an access list cannot be kept, the new file grants less, never more.
All of this blocks and runs in worker threads.
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
"""How extended attributes that are kept begin. Not those that vouch for the bytes, or give them privileges."""
ALL_BITS, PERMISSIONS, PRIVILEGES = 0o7777, 0o777, stat.S_ISUID | stat.S_ISGID
GROUP = 0o070
HAS_OWNERS = hasattr(os, "fchown")
_HAS_ATTRIBUTES = hasattr(os, "listxattr")
_GROUP_OF_FILE, _ENTRY = 0x04, struct.Struct("<HHI")

Attributes = dict[str, bytes]


def keep_attributes(fd: int, place: Place, replaced: os.stat_result | None) -> None:
    """Make the open file `fd` the same as the file at `place`, whose status is `replaced`, but for its bytes."""
    if replaced is None or not HAS_OWNERS:
        return
    attributes = attributes_of(_name_of(place))
    own = os.fstat(fd)
    owner, group = _keep_owner(fd, own, replaced)
    mode = stat.S_IMODE(replaced.st_mode) & (ALL_BITS if owner and group else PERMISSIONS)
    _set_permissions(fd, mode, attributes.pop(ACCESS_LIST, None), group=group)
    _set_attributes(fd, attributes)


def belong(fd: int, folder: os.stat_result, mode: int) -> None:
    """Give `fd`, a new file or folder of ours, to the owner of the folder it is in, if we may, and set its mode."""
    if not HAS_OWNERS:
        return
    own = os.fstat(fd)
    if own.st_uid == os.geteuid():
        if own.st_uid != folder.st_uid:
            with suppress(PermissionError):  # only root may
                os.fchown(fd, folder.st_uid, folder.st_gid)
        if stat.S_IMODE(own.st_mode) != mode:
            os.fchmod(fd, mode)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Who may do what with a file, setuid and setgid left out: a copy has neither."""

    mode: int
    access_list: bytes | None


@dataclass(frozen=True, slots=True)
class Ownership:
    """The owner and the permissions that a prepared file is to have, as its journal keeps them."""

    owner: int
    permissions: Permissions

    @classmethod
    def of(cls, text: str) -> Ownership:
        """Return what the text of a journal says.

        :raises ValueError: if the text is no owner, mode and access list.
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
    """Return the extended attributes that are kept, of an open file or of a name that is no link."""
    found: Attributes = {}
    if _HAS_ATTRIBUTES:
        # What cannot be listed or read cannot be kept: the docs say so.
        with suppress(OSError):
            for name in os.listxattr(file, follow_symlinks=isinstance(file, int)):
                if name == ACCESS_LIST or name.startswith(KEPT):
                    with suppress(OSError):
                        found[name] = os.getxattr(file, name, follow_symlinks=isinstance(file, int))
    return found


def owner_of(status: os.stat_result) -> str:
    """Return the user whose file this is, in words."""
    with suppress(ImportError, KeyError):
        import pwd  # noqa: PLC0415 -- not on Windows

        return f"user {pwd.getpwuid(status.st_uid).pw_name} ({status.st_uid})"
    return f"user {status.st_uid}"


def _name_of(place: Place) -> str:
    """Return a path to the leaf that leads through the open folder: Python knows no xattr calls with `dir_fd`."""
    return place.leaf if place.fd is None else f"/proc/self/fd/{place.fd}/{place.leaf}"


def _keep_owner(fd: int, own: os.stat_result, wanted: os.stat_result) -> tuple[bool, bool]:
    """Give the file to the owner and the group that are wanted, as far as we may; return whether it has them."""
    owner, group = own.st_uid == wanted.st_uid, own.st_gid == wanted.st_gid
    if owner and group:
        return True, True
    for user, members in ((wanted.st_uid, wanted.st_gid), (-1, wanted.st_gid), (wanted.st_uid, -1)):
        with suppress(OSError):
            os.fchown(fd, user, members)
            return owner or user == wanted.st_uid, group or members == wanted.st_gid
    return owner, group


def _set_permissions(fd: int, mode: int, access_list: bytes | None, *, group: bool) -> None:
    """Set the mode and the access list. Where a list or the group of the old file is lost, its group gets less."""
    kept = False
    if access_list is not None and group:
        with suppress(OSError):
            os.setxattr(fd, ACCESS_LIST, access_list)
            kept = True
    if not kept:
        # A folder may have given the new file a list of its own, whose users the old file did not know.
        if _HAS_ATTRIBUTES:
            with suppress(OSError):
                if ACCESS_LIST in os.listxattr(fd):
                    os.removexattr(fd, ACCESS_LIST)
        if access_list is not None:
            # With a list, the group's bits of the mode say what all of the list may do at most.
            mode = mode & ~GROUP | mode & _group_bits(access_list)
        if not group:
            mode = mode & ~GROUP | mode & (mode & 0o007) << 3
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def _group_bits(access_list: bytes) -> int:
    """Return what an access list lets the owning group do, as bits of a mode."""
    for offset in range(4, len(access_list) - _ENTRY.size + 1, _ENTRY.size):
        tag, permissions, _ = _ENTRY.unpack_from(access_list, offset)
        if tag == _GROUP_OF_FILE:
            return int(permissions & 0o7) << 3
    return 0


def _set_attributes(fd: int, attributes: Attributes) -> None:
    for name, value in attributes.items():
        with suppress(OSError):
            os.setxattr(fd, name, value)
