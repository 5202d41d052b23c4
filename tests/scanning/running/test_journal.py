# SPDX-License-Identifier: Apache-2.0
"""The journal keeps what was recorded, and nothing that a crash tore or another plan wrote."""

import os
import re
import threading
from pathlib import Path

import pytest

from convsmith.errors import FormatError
from convsmith.scanning.running.journal import Journal, read_journals

PLAN = "a" * 64


def recorded(folder: Path, tiles: list[int], plan: str = PLAN) -> Path:
    with Journal(folder, plan) as journal:
        for tile in tiles:
            journal.record(tile, checksum=tile * 7, num_bytes=100, seconds=0.25)
    return journal.path


def done(folder: Path, num_tiles: int = 10) -> list[int]:
    return read_journals(folder, PLAN, num_tiles).tiles.nonzero()[0].tolist()


def test_the_journals_of_all_processes_count(tmp_path: Path) -> None:
    recorded(tmp_path, [3, 1])
    recorded(tmp_path, [3, 9])
    finished = read_journals(tmp_path, PLAN, 10)
    assert done(tmp_path) == [1, 3, 9]
    assert len(finished) == 3
    assert finished.checksums[[1, 3, 9]].tolist() == [7, 21, 63]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert done(tmp_path / "absent") == []


def test_a_line_torn_anywhere_is_dropped_and_only_it(tmp_path: Path) -> None:
    path = recorded(tmp_path, [1, 2, 3])
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        assert done(tmp_path) == [1, 2]
    for place in range(whole.index(b"\n") + 1, len(whole)):  # one byte of one record changed
        path.write_bytes(whole[:place] + b"\x00" + whole[place + 1 :])
        assert len(done(tmp_path)) in {1, 2}
        assert set(done(tmp_path)) < {1, 2, 3}


def test_a_torn_header_leaves_nothing(tmp_path: Path) -> None:
    path = recorded(tmp_path, [1])
    path.write_bytes(path.read_bytes()[:20])
    assert done(tmp_path) == []


def test_a_file_without_a_line_end_is_read_in_pieces(tmp_path: Path) -> None:
    path = recorded(tmp_path, [1])
    with path.open("ab") as file:
        file.write(b"7" * 100_000)
    assert done(tmp_path) == [1]


def test_another_plan_and_another_format_are_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path, [1], plan="b" * 64)
    with pytest.raises(FormatError, match=f"{re.escape(str(path))}: it belongs to the plan bbbb"):
        done(tmp_path)
    path.unlink()
    path = recorded(tmp_path, [99])
    with pytest.raises(FormatError, match="it records tile 99 of 10; this is no journal"):
        done(tmp_path)


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path, [1])
    monkeypatch.setattr("convsmith.scanning.running.journal._FORMAT", 2)
    with pytest.raises(FormatError, match="its format is 1, and this convsmith reads format 2"):
        done(tmp_path)


def test_records_are_read_before_they_are_synced(tmp_path: Path) -> None:
    journal = Journal(tmp_path, PLAN, sync_tiles=1000, sync_seconds=1000)
    journal.record(4, checksum=1, num_bytes=1, seconds=0)
    assert done(tmp_path) == [4]
    journal.close()


@pytest.mark.parametrize(("tiles", "seconds", "syncs"), [(4, 1000.0, 3), (1000, 0.0, 12)])
def test_the_disk_is_asked_every_so_many_records_or_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiles: int, seconds: float, syncs: int
) -> None:
    with Journal(tmp_path, PLAN, sync_tiles=tiles, sync_seconds=seconds) as journal:
        asked: list[int] = []
        monkeypatch.setattr(os, "fsync", asked.append)
        for tile in range(12):
            journal.record(tile, checksum=0, num_bytes=1, seconds=0)
        assert len(asked) == syncs
    assert len(asked) == syncs + 1  # and once more at the end
    journal.close()  # twice is no mistake


def test_threads_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, PLAN) as journal:

        def write(first: int) -> None:
            for tile in range(first, 800, 8):
                journal.record(tile, checksum=tile, num_bytes=1, seconds=0)

        threads = [threading.Thread(target=write, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finished = read_journals(tmp_path, PLAN, 800)
    assert finished.tiles.all()
    assert finished.checksums.tolist() == list(range(800))
