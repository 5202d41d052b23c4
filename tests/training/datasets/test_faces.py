# SPDX-License-Identifier: Apache-2.0
"""Films of a beating face: what is in them, and that only skin tells the rate."""

import numpy as np
import pytest
import torch

from convsmith.models import find
from convsmith.models.video.pulse_mask import beats_per_minute
from convsmith.training import training_data
from convsmith.training.datasets.faces import FRAMES, FRAMES_PER_SECOND, RATES, film

STEPS = find("pulse_mask").preprocess


def test_a_seed_is_always_the_same_film() -> None:
    first, again, other = film(1, 12, 10), film(1, 12, 10), film(2, 12, 10)
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)
    assert first.frames.dtype == np.uint8


def test_films_become_examples() -> None:
    data = training_data("faces", STEPS)
    assert (len(data.train), len(data.held_out)) == (160, 32)
    x, y = data.held_out.batch([3])
    assert x.shape == (1, 3, FRAMES, STEPS.size, STEPS.size)
    assert y.shape == (1, FRAMES - 1)
    assert 0 <= x.min() < x.max() <= 1
    expected = film(163, STEPS.size)
    assert torch.equal(y[0], torch.from_numpy(np.diff(expected.pulse).astype(np.float32)))
    assert float(x[0, 1, 5, 7, 9]) == np.float32(expected.frames[5, 7, 9, 1]) / np.float32(255)
    part = data.train.part([5, 2])
    assert torch.equal(part.batch([1])[1], data.train.batch([2])[1])


@pytest.mark.parametrize("seed", range(6))
def test_the_rate_is_in_the_skin_alone(seed: int) -> None:
    found = film(seed, 36)
    assert RATES[0] <= found.rate <= RATES[1]

    def rate_of(weights: np.ndarray) -> float:
        green = (found.frames[..., 1] * weights).sum((1, 2)) / weights.sum((1, 2))
        changes = torch.from_numpy(np.diff(green) / green[:-1])
        return float(beats_per_minute(changes.float(), FRAMES_PER_SECOND))

    # The strongest frequency of eight seconds is blurred over 60 / 8 beats a minute.
    assert rate_of(found.skin) == pytest.approx(found.rate, abs=1.0)
    # The decoy has a rate too, another one; the whole image shows one of the two.
    rival = rate_of(found.decoy)
    assert RATES[0] - 1 < rival < RATES[1] + 1
    assert abs(rival - found.rate) > 15 - 2
    whole = rate_of(np.ones_like(found.skin))
    assert min(abs(whole - rate) for rate in (found.rate, rival)) < 1.0


def test_only_its_look_tells_the_face_from_the_decoy() -> None:
    films = [film(seed, 12, 2) for seed in range(160)]
    skin, decoy = (
        np.mean([region[0] > 0.5 for region in regions], axis=0)
        for regions in ([f.skin for f in films], [f.decoy for f in films])
    )
    # Nobody can tell them by their place: a difference of -1, 0 or 1, the mean of 160 films,
    # spreads by less than 1 / sqrt(160) = 0.08; and no place is skin in most films.
    assert np.abs(skin - decoy).max() < 4 * 0.08
    assert skin.max() < 0.65
    red_by_green = [
        [(f.frames[0] * region[0, ..., None]).sum((0, 1)) for region in (f.skin, f.decoy)]
        for f in films
    ]
    for face, other in red_by_green:
        assert face[0] / face[1] > other[0] / other[1] + 0.05
