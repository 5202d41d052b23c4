# SPDX-License-Identifier: Apache-2.0
"""The journal: which tiles are done, in lines that a crash cannot make lie.

A tile is recorded after its chunk is durable, never before. Every process writes a file of its own,
a line a tile; each line ends in a checksum of itself, so that a torn one is no record. A file opens
with the fingerprint of its plan: records of another plan are never taken for this one's.
"""

import json
import os
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic
from types import TracebackType
from uuid import uuid4

import numpy as np

from convsmith.errors import FormatError
from convsmith.scanning.sinks.durable import sync_folders

JOURNAL = "journal"  # the folder beside the chunks
_FORMAT = 1
_LONGEST_LINE = 1024  # bytes: a damaged file may hold no line end at all


@dataclass(frozen=True)
class Finished:
    """What the journals of an output say: `tiles[i]` is whether tile i is done, `checksums[i]` the
    CRC-32 of the bytes written for it.
    """

    tiles: np.ndarray
    checksums: np.ndarray

    def __len__(self) -> int:
        return int(self.tiles.sum())


class Journal:
    """The records of one process, appended to a new file in the folder.

    Every record reaches the system at once, and the disk after `sync_tiles` records or
    `sync_seconds`: a killed process loses none, a power cut at most that many. Threads may
    share it.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        *,
        sync_tiles: int = 16,
        sync_seconds: float = 2.0,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        host = socket.gethostname()
        self.path = folder / f"{host}-{os.getpid()}-{uuid4().hex[:8]}.log"
        self._sync_tiles, self._sync_seconds = sync_tiles, sync_seconds
        self._unsynced, self._synced_at = 0, monotonic()
        self._lock = Lock()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        header = {"format": _FORMAT, "plan": fingerprint, "host": host, "pid": os.getpid()}
        os.write(self._file, _line(json.dumps(header).encode()))
        os.fsync(self._file)
        sync_folders(folder, folder.parent)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def record(self, tile: int, *, checksum: int, num_bytes: int, seconds: float) -> None:
        """Say that a tile is done. Call it when its chunk is durable."""
        with self._lock:
            os.write(self._file, _line(b"%d %08x %d %.4f" % (tile, checksum, num_bytes, seconds)))
            self._unsynced += 1
            is_late = monotonic() - self._synced_at >= self._sync_seconds
            if self._unsynced >= self._sync_tiles or is_late:
                self._sync()

    def sync(self) -> None:
        """Make every record durable now."""
        with self._lock:
            self._sync()

    def close(self) -> None:
        """Make every record durable and let go of the file."""
        with self._lock:
            if self._file >= 0:
                self._sync()
                os.close(self._file)
                self._file = -1

    def _sync(self) -> None:
        os.fsync(self._file)
        self._unsynced, self._synced_at = 0, monotonic()


def read_journals(folder: Path, fingerprint: str, num_tiles: int) -> Finished:
    """The union of all journals of an output; a folder that is not there holds none.

    A line that does not match its checksum is dropped: its tile is computed again.

    Raises:
        FormatError: if a journal belongs to another plan or another version of the format.
    """
    finished = Finished(np.zeros(num_tiles, bool), np.zeros(num_tiles, np.uint32))
    for path in sorted(folder.glob("*.log")):
        lines = _sound_lines(path)
        header = next(lines, None)
        if header is not None:
            _check_header(path, header, fingerprint)
            _take(path, lines, finished)
    return finished


def _take(path: Path, lines: Iterator[bytes], finished: Finished) -> None:
    for line in lines:
        number, checksum, *_ = line.split()
        tile = int(number)
        if not 0 <= tile < len(finished.tiles):
            raise FormatError(
                f"journal {path}: it records tile {tile} of {len(finished.tiles)}; this is no "
                "journal of this plan; scan into a new folder"
            )
        finished.tiles[tile] = True
        finished.checksums[tile] = int(checksum, 16)


def _check_header(path: Path, line: bytes, fingerprint: str) -> None:
    header = json.loads(line)
    if header["format"] != _FORMAT:
        raise FormatError(
            f"journal {path}: its format is {header['format']}, and this convsmith reads format "
            f"{_FORMAT}; finish the scan with the version that began it"
        )
    if header["plan"] != fingerprint:
        raise FormatError(
            f"journal {path}: it belongs to the plan {header['plan'][:12]}, and this one is "
            f"{fingerprint[:12]}; scan into a new folder"
        )


def _line(record: bytes) -> bytes:
    return b"%s %08x\n" % (record, zlib.crc32(record))


def _sound_lines(path: Path) -> Iterator[bytes]:
    """The records of a file, without those that a crash tore."""
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            record, _, checksum = line.rpartition(b" ")
            if checksum == b"%08x\n" % zlib.crc32(record):
                yield record
