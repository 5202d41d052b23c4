# SPDX-License-Identifier: Apache-2.0
"""Ownership: at most one run works on an output.

The lock is the system's (`flock`), which a dead process cannot hold; the file's text only says who
holds it. A file system without such locks leaves the text alone to decide.
"""

import errno
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from convsmith.errors import ArgumentError

_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class Ownership:
    """Holds an output for this process while a `with` block runs.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder, Ownership(Path(folder, "lock")):
    ...     Path(folder, "lock").exists()
    True

    Raises:
        ArgumentError: on entry, if another run holds it; the message says which.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> "Ownership":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The file stays: were it removed, a third run could lock a name that a second one waits on.
        os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = -1

    def _take(self, file: int) -> None:
        holder = _holder(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise self._taken(holder) from None
            if holder and not _is_dead(holder):
                raise self._taken(
                    holder, remedy=f", or remove {self._path} if it is gone"
                ) from None
        own = {"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(own).encode(), 0)

    def _taken(self, holder: dict[str, Any], remedy: str = "") -> ArgumentError:
        who = "another run"
        if holder:
            who = "process {pid} on {host} since {since}".format_map(holder)
        return ArgumentError(
            f"scan: {self._path.parent.parent} belongs to {who}; one run works on an output at a "
            f"time; wait for it or stop it{remedy}"
        )


def _holder(file: int) -> dict[str, Any]:
    """Who wrote the file last; nothing if it was released, or is being written just now."""
    try:
        found = json.loads(os.pread(file, 4096, 0))
        return {key: found[key] for key in ("host", "pid", "since")}
    except (ValueError, KeyError, TypeError):
        return {}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the holder is a process of this machine that is gone. Nobody can say of others."""
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it lives, under another name
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
