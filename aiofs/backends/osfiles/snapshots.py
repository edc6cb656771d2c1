"""What transactions ask of local files: before-images that are hard links, journals that grow, locks that can be left.

A before-image lies beside its file, so that it is on the same disk and the folder's own order of changes holds for
both: whoever finds the file changed finds the image. All of this blocks and runs in worker threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from aiofs.backends.osfiles import locking
from aiofs.backends.osfiles.attributes import belong, keep_attributes, owner_of
from aiofs.backends.osfiles.names import BEFORE, parents_of
from aiofs.backends.osfiles.place import entry_of, is_file
from aiofs.backends.osfiles.reading import copy_bytes
from aiofs.backends.osfiles.taking import take_over
from aiofs.errors import AccessDenied, Conflict, NotAFolder, NotFound, StoreMissing

if TYPE_CHECKING:
    from aiofs.backends.osfiles.place import Place
    from aiofs.backends.osfiles.root import Root
    from aiofs.backends.osfiles.staging import Stage
    from aiofs.driver import Entry

_TRIES = 100
_FEWEST_LOCKS, _MOST_LOCKS = 8, 500


def keep_image(root: Root, path: str, tag: str, *, durable: bool) -> None:
    """Give the file a second name, or copy it where the system has no hard links."""
    try:
        with root.place(path) as place:
            if not is_file(place.status()):
                return
            image = _image_of(place, tag)
            try:
                os.link(place.leaf, image, src_dir_fd=place.fd, dst_dir_fd=place.fd, follow_symlinks=False)
            except FileExistsError:
                _check_kept(place, image)  # perhaps by somebody who was killed before it was on the disk
            except FileNotFoundError:
                return  # removed in this moment
            except (OSError, NotImplementedError):
                _copy_image(place, image, durable=durable)
            if durable:
                place.sync()
    except (NotFound, NotAFolder):
        return


def restore_image(stage: Stage, tag: str, match: str, *, durable: bool) -> Entry:
    """Rename the before-image to the file's name.

    :raises Conflict: if the lock was lost, or the file is not at version `match`.
    :raises NotFound: if there is no before-image.
    """
    place = stage.place
    if not stage.is_current():
        raise Conflict.of(stage.path, "the lock on this file was removed; nothing was overwritten")
    image = _image_of(place, tag)
    status = place.status(image)
    if status is None:
        raise NotFound.of(stage.path, "what the file was before is not kept")
    place.check_match(match)
    os.replace(image, place.leaf, src_dir_fd=place.fd, dst_dir_fd=place.fd)
    if durable:
        place.bring_way()
        place.sync()
    return entry_of(stage.path, status)


def drop_image(root: Root, path: str, tag: str) -> None:
    """Remove the before-image, and the folders that have no file left."""
    with suppress(NotFound, NotAFolder):
        with root.place(path) as place, suppress(FileNotFoundError):
            os.unlink(_image_of(place, tag), dir_fd=place.fd)
        root.prune(parents_of(path))


def park(stage: Stage) -> None:
    """Leave a staging file under the name that keeps writers out without anybody holding it."""
    stage.stamp()
    stage.make_ready(durable=False)
    stage.leave()


def unpark(root: Root, path: str, fence: str) -> Stage | None:
    """Take it back; nobody else can have it in between, as it is locked before it has its old name."""
    stage = take_over(root, {"path": path, "fence": fence})
    if stage is not None:
        stage.make_growing()
    return stage


def most_locks() -> int:
    """Return how many staging files may be open: two descriptors each, and most of them are for others."""
    try:
        import resource  # noqa: PLC0415 -- not on Windows
    except ImportError:
        return _MOST_LOCKS
    return max(_FEWEST_LOCKS, min(_MOST_LOCKS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


def append(root: Root, path: str, data: bytes, *, durable: bool) -> None:
    """Add to the end of a file that is made where it is missing."""
    for _ in range(_TRIES):
        try:
            return _append(root, path, data, durable=durable)
        except StoreMissing:
            raise
        except FileNotFoundError:
            continue  # the folder was pruned between making and using it: make it again
    raise OSError(errno.EAGAIN, "its folder keeps being removed", path)


def _append(root: Root, path: str, data: bytes, *, durable: bool) -> None:
    with root.place(path, create=True, follow=False) as place:
        folder = locking.folder_of(place)
        mode = locking.mode_inside(folder)  # it may have the bytes of files that others may not see
        fd = os.open(place.leaf, os.O_WRONLY | os.O_APPEND | os.O_CREAT | locking.OWN, mode, dir_fd=place.fd)
        try:
            if not os.fstat(fd).st_size:
                belong(fd, folder, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if durable:
                os.fsync(fd)
                place.bring(fd)
        finally:
            os.close(fd)


def _image_of(place: Place, tag: str) -> str:
    digest = hashlib.blake2b(f"{tag}\0{os.path.basename(place.leaf)}".encode(), digest_size=16).hexdigest()
    return place.beside(BEFORE + digest)


def _check_kept(place: Place, image: str) -> None:
    """Raise `AccessDenied` if the before-image that is there is neither of the file's owner nor of ours."""
    kept, status = place.status(image), place.status()
    if kept is None or status is None or not hasattr(os, "geteuid"):
        return
    if not is_file(kept) or kept.st_uid not in {status.st_uid, os.geteuid()}:
        leaf = os.path.basename(image)
        raise AccessDenied.of(
            place.path, f"{leaf!r} beside this file is of {owner_of(kept)}, and no before-image of ours: remove it"
        )


def _copy_image(place: Place, image: str, *, durable: bool) -> None:
    growing = f"{image}-growing"
    source = os.open(place.leaf, os.O_RDONLY | locking.FOUND, dir_fd=place.fd)
    try:
        with suppress(FileNotFoundError):
            os.unlink(growing, dir_fd=place.fd)  # of a process that was killed at this
        target = os.open(growing, locking.NEW, locking.OURSELVES, dir_fd=place.fd)
        try:
            status = os.fstat(source)
            copy_bytes(source, target, 0, status.st_size, 0)
            keep_attributes(target, place, status)
            if durable:
                os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    os.replace(growing, image, src_dir_fd=place.fd, dst_dir_fd=place.fd)
