# SPDX-License-Identifier: Apache-2.0
"""What the network must not see, what a mask does, and the rate in a signal."""

import pytest
import torch

from convsmith import models
from convsmith.models.video.pulse_mask import PulseMask, _pointing, beats_per_minute


def test_every_layer_has_the_weights_of_the_figure() -> None:
    stream = (3 * 9 * 32 + 32) + (32 * 9 * 32 + 32) + (32 * 9 * 64 + 64) + (64 * 9 * 64 + 64)
    head = (64 * 7 * 7 * 128 + 128) + (128 + 1)
    parameters = models.create("pulse_mask", device="meta").parameters()
    assert sum(p.numel() for p in parameters) == 2 * stream + (32 + 1) + (64 + 1) + head
    without = models.create("pulse_mask", mask=False, device="meta").parameters()
    assert sum(p.numel() for p in without) == stream + head


def test_a_still_face_has_no_motion_and_brighter_light_changes_nothing() -> None:
    model = PulseMask(width=0.25, mask=False).eval()
    still = torch.rand(1, 3, 1, 36, 36).expand(1, 3, 4, 36, 36) / 2 + 0.1
    assert model(still).unique().numel() == 1
    clip = torch.rand(1, 3, 4, 36, 36) / 2 + 0.1
    torch.testing.assert_close(model(clip * 2), model(clip))


def test_a_black_frame_is_no_division_by_zero() -> None:
    assert PulseMask(width=0.25).eval()(torch.zeros(1, 3, 3, 36, 36)).isfinite().all()


def test_clips_do_not_see_each_other() -> None:
    model, clips = PulseMask(width=0.25).eval(), torch.rand(2, 3, 4, 36, 36)
    torch.testing.assert_close(model(clips)[1:], model(clips[1:]))


def test_a_mask_points_but_does_not_turn_up() -> None:
    mask = torch.rand(3, 1, 4, 6)
    assert torch.allclose(_pointing(mask).mean((1, 2, 3)), torch.full((3,), 0.5))
    assert torch.allclose(_pointing(mask * 0.1), _pointing(mask))


def test_masks_are_kept_for_viewing_and_are_none_without() -> None:
    model = PulseMask(width=0.25).eval()
    assert model.masks == []
    model(torch.rand(1, 3, 3, 36, 36))
    assert all(((mask > 0) & (mask < 1)).all() for mask in model.masks)
    without = PulseMask(width=0.25, mask=False).eval()
    without(torch.rand(1, 3, 3, 36, 36))
    assert without.masks == []


@pytest.mark.parametrize("rate", [45.0, 72.5, 180.0])
def test_the_rate_of_a_noisy_pulse(rate: float) -> None:
    seconds = torch.arange(20 * 30) / 30
    pulse = torch.cos(2 * torch.pi * rate / 60 * seconds + 1)
    noisy = torch.stack([pulse, 5 + 0.1 * seconds + pulse + torch.randn(600)])
    assert beats_per_minute(noisy, 30).tolist() == pytest.approx([rate, rate], abs=0.6)
