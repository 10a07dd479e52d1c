"""Write a file whole or not at all, whatever happens to the process, the disk or the power."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from model.errors import StorageError

_NO_ROOM = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "files may not be that large here",
}


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write `content` to `path` so that the old file or the new one is there at any moment.

    The bytes go to a neighbour first, are on the disk before it takes the name, and the name is on
    the disk before this returns: a killed process or a cut power leaves no half of a file.

    Raises
    ------
    StorageError
        If it cannot be written; `path` is then as it was, and nothing else is left.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise storage_error(path, error, len(content)) from error


def storage_error(path: Path, error: OSError, needed_bytes: int | None = None) -> StorageError:
    """Return an error that names `path`, what it needs and what there is, and the mend."""
    if error.errno not in _NO_ROOM:
        return StorageError(f"{path} cannot be written ({error.strerror}); give another folder")
    needs = "" if needed_bytes is None else f"it takes {_megabytes(needed_bytes)}, and "
    with suppress(OSError):
        folder = next(parent for parent in (path, *path.parents) if parent.is_dir())
        needs += f"{_megabytes(shutil.disk_usage(folder).free)} are free; "
    return StorageError(
        f"{path} cannot be written: {_NO_ROOM[error.errno]}; {needs}"
        "make room, or give a folder on another disk; what was saved before is whole"
    )


def is_no_room(error: OSError) -> bool:
    """Return whether a disk, a quota or a limit of file sizes was exhausted."""
    return error.errno in _NO_ROOM


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
