# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, and that outlive a power cut once they are written.

The bytes go to another name on the same file system, then to the disk, then to their name; then the
folders go to the disk, since it is the folder that holds a name.
"""

import os
from pathlib import Path
from uuid import uuid4


def write_durably(path: Path, data: bytes, *, root: Path, scratch: Path) -> None:
    """Write a file; it is durable when this returns.

    Args:
        path: Its name. Folders on the way are made.
        data: All of it.
        root: The folder above that is known to be durable.
        scratch: A folder on the same file system for the unfinished file. What a crash leaves
            there may be deleted when nobody writes.

    Raises:
        OSError: if it cannot be written, with the name in the error; nothing is left of it.
    """
    unfinished = scratch / f"{path.name}.{uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folders(path.parent, root)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def sync_folders(folder: Path, root: Path) -> None:
    """Send the names in a folder, and in those above it up to the root, to the disk.

    All of them each time, and not only the ones just made: another thread may have made one and not
    sent it yet. One that has not changed costs next to nothing.
    """
    while True:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if folder == root:
            return
        folder = folder.parent
