# SPDX-License-Identifier: Apache-2.0
"""A finished result as NumPy; an unfinished one, or another ending, is refused."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from convsmith.errors import ArgumentError
from convsmith.scanning.sinks import Store, export
from convsmith.scanning.sinks.exports import exporting

from .results import finished, planned, random_scores


@pytest.mark.parametrize("sizes", [(61,), (41, 53), (19, 21, 23)])
def test_numpy_holds_the_scores(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    plan = planned(*sizes)
    store = finished(tmp_path / "out", plan, random_scores(plan))
    assert export(store.folder, tmp_path / "scores.npy") == tmp_path / "scores.npy"
    assert np.array_equal(np.load(tmp_path / "scores.npy"), random_scores(plan))


def test_numpy_keeps_the_order_of_axes_and_takes_either_part(tmp_path: Path) -> None:
    plan = planned(31, 35, output="topk", k=2)
    scores = random_scores(plan)
    store = finished(tmp_path / "out", plan, scores, axes="YXC")
    order = np.argsort(-scores, axis=0, kind="stable")[:2]
    for part, expected in (
        (None, order),
        ("values", np.take_along_axis(scores, order, 0)),
    ):
        export(store, tmp_path / "part.npy", part=part)
        assert np.array_equal(np.load(tmp_path / "part.npy"), expected.transpose(1, 2, 0))
    with pytest.raises(ArgumentError, match="part 'best' of a result that has 'indices'"):
        export(store, tmp_path / "part.npy", part="best")


def test_what_is_unfinished_or_no_format_is_refused(tmp_path: Path) -> None:
    plan = planned(31, 35)
    store = finished(tmp_path / "out", plan, random_scores(plan))
    with pytest.raises(ArgumentError, match=r"scores.gif ends in '.gif'; it may be .tif, .npy"):
        export(store, tmp_path / "scores.gif")
    (store.folder / "c/0/1/1").unlink()
    with pytest.raises(ArgumentError, match=r"1 of 9 tiles of .* are missing, such as 4; finish"):
        export(store, tmp_path / "scores.npy")
    empty = Store.create(tmp_path / "empty", plan)
    with pytest.raises(ArgumentError, match=r"at least 9 of 9 tiles of .* are missing, such as 0"):
        export(empty, tmp_path / "scores.npy")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(31, 35)
    store = finished(tmp_path / "out", plan, random_scores(plan))
    (tmp_path / "scores.npy").write_bytes(b"old")

    def half(store: Store, path: Path, part: str) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(exporting, "_write_npy", half)
    with pytest.raises(OSError, match="No space left"):
        export(store, tmp_path / "scores.npy")
    assert (tmp_path / "scores.npy").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scores.npy"]
