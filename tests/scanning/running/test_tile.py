# SPDX-License-Identifier: Apache-2.0
"""A tile's way: read, computed, written, recorded; what fails is named and the rest goes on."""

import errno
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith.scanning.running.batches import Batches
from convsmith.scanning.running.journal import read_journals
from convsmith.scanning.running.tile import Outcome, Work, normalised, run_tiles
from convsmith.scanning.sinks import Store
from convsmith.scanning.sources import SyntheticSource

from .small_scan import SHAPE, network, plan, whole

Begin = Callable[..., Work]


def nothing(tile: int) -> bool:
    return False


def run_all(work: Work, done: Callable[[int], bool] = nothing) -> Outcome:
    outcome = Outcome()
    for batch in Batches(work.plan):
        outcome.add(run_tiles(work, batch, done))
    return outcome


def result(work: Work) -> np.ndarray:
    return work.store.read(tuple(slice(size) for size in work.plan.outputs))


def test_tiles_make_the_whole(begin: Begin) -> None:
    work = begin()
    outcome = run_all(work)
    assert sorted(outcome.done) == list(range(len(work.plan)))
    assert not outcome.failed
    np.testing.assert_array_equal(result(work), whole())


def test_what_is_recorded_is_what_lies_there(begin: Begin) -> None:
    work = begin()
    run_all(work)
    finished = read_journals(work.store.own / "journal", work.plan.fingerprint, len(work.plan))
    assert finished.tiles.all()
    for number in range(len(work.plan)):
        assert work.store.verify(work.plan.tile(number), int(finished.checksums[number]))


def test_done_tiles_are_neither_read_nor_written(begin: Begin) -> None:
    class Watched(SyntheticSource):
        windows: list[tuple[slice, ...]]

        def read(self, window: tuple[slice, ...]) -> np.ndarray:
            self.windows.append(window)
            return super().read(window)

    work = begin(source=Watched(SHAPE))
    work.source.windows = []
    wanted = [0, 4, 11]
    outcome = run_all(work, lambda tile: tile not in wanted)
    assert sorted(outcome.done) == wanted
    assert sorted(map(str, work.source.windows)) == sorted(
        str(work.plan.tile(tile).read) for tile in wanted
    )
    for number in wanted:
        write = work.plan.tile(number).write
        np.testing.assert_array_equal(work.store.read(write), whole()[(slice(None), *write)])


def test_the_network_always_runs_on_one_number_of_tiles(begin: Begin) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.sizes = network(), set[int]()

        def forward(self, x: Tensor) -> Tensor:
            self.sizes.add(len(x))
            return self.inner(x)

    work = begin(network=Counting())
    run_all(work, lambda tile: tile % 5 == 0)
    assert work.network.sizes == {work.plan.batch}


def test_a_tile_that_cannot_be_read_fails_alone_after_its_retries(begin: Begin) -> None:
    class Torn(SyntheticSource):
        reads = 0

        def read(self, window: tuple[slice, ...]) -> np.ndarray:
            if window == plan().tile(4).read:
                type(self).reads += 1
                raise OSError("torn at byte 7")
            return super().read(window)

    outcome = run_all(begin(source=Torn(SHAPE), retries=2))
    assert outcome.failed == {4: "reading: torn at byte 7"}
    assert len(outcome.done) == len(plan()) - 1
    assert Torn.reads == 3


class Failing(nn.Module):
    """Raises on the first so many calls."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.inner, self.left = network(), times

    def forward(self, x: Tensor) -> Tensor:
        if self.left > 0:
            self.left -= 1
            raise RuntimeError("out of memory")
        return self.inner(x)


def test_a_batch_is_computed_again_before_it_fails(begin: Begin) -> None:
    assert not run_all(begin("a", network=Failing(2), retries=2)).failed
    outcome = run_all(begin("b", network=Failing(3), retries=2))
    first = Batches(plan())[0]
    assert outcome.failed == dict.fromkeys(first, "computing: out of memory")
    assert len(outcome.done) == len(plan()) - len(first)


def test_a_full_disk_ends_the_run(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    work = begin()
    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(OSError, match="No space left"):
        run_all(work)
    assert len(read_journals(work.store.own / "journal", work.plan.fingerprint, 100)) == 0


@pytest.mark.parametrize("output", ["probabilities", "labels", "topk"])
def test_every_output_is_taken_from_the_scores(begin: Begin, output: str) -> None:
    work = begin(plan=plan(output=output, k=2))
    run_all(work)
    scores = torch.from_numpy(whole())
    window = tuple(slice(size) for size in work.plan.outputs)
    if output == "topk":
        np.testing.assert_array_equal(
            work.store.read(window, part="values"), scores.topk(2, dim=0).values.numpy()
        )
    elif output == "labels":
        np.testing.assert_array_equal(result(work)[0], scores.argmax(0).numpy())
    else:
        np.testing.assert_array_equal(result(work), scores.softmax(0).numpy())


def test_pixels_are_normalised_a_channel_at_a_time() -> None:
    samples = np.array([[[0, 255]], [[51, 102]]], np.uint16)
    steps = {"scale": 255.0, "mean": [0.5, 0.25], "std": [0.5, 2.0]}
    expected = np.array([[[-1, 1]], [[-0.025, 0.075]]], np.float32)
    np.testing.assert_allclose(normalised(samples, steps), expected, rtol=1e-6)
    assert normalised(samples, {}).dtype == np.float32
