# SPDX-License-Identifier: Apache-2.0
"""Random changes of images: which there are, and that a share of a batch gets its own."""

import pytest
import torch

from convsmith.training.augmentation import mirrored, shifted, windows
from convsmith.training.draws import Draws


def draws(images: int, **share: int) -> Draws:
    return Draws(images=images, generator=torch.Generator().manual_seed(0), **share)


def test_shifts_move_the_image_and_repeat_its_edge() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4).expand(50, 2, 4, 4)
    y = shifted(x, 1, draws(50))
    padded = torch.nn.functional.pad(x[:1], (1,) * 4, mode="replicate")[0]
    possible = {(r, c): padded[:, r : r + 4, c : c + 4] for r in range(3) for c in range(3)}
    found = {place for image in y for place, moved in possible.items() if torch.equal(image, moved)}
    assert all(any(torch.equal(image, moved) for moved in possible.values()) for image in y)
    assert len(found) == 9
    assert torch.equal(shifted(x, 0, draws(50)), x)


def test_an_image_and_its_map_are_mirrored_together() -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4).expand(40, 1, 3, 4)
    y = torch.arange(12).reshape(1, 3, 4).expand(40, 3, 4)
    images, maps = mirrored(x, y, draws(40))
    assert maps is not None
    assert torch.equal(images[:, 0].long(), maps)
    flipped = (images != x).flatten(1).any(1)
    assert 0 < int(flipped.sum()) < 40
    assert torch.equal(images[flipped], x[flipped].flip(-1))


def test_a_window_is_cut_from_image_and_map_alike() -> None:
    x = torch.arange(35.0).reshape(1, 1, 5, 7).expand(60, 1, 5, 7)
    y = torch.arange(35).reshape(1, 5, 7).expand(60, 5, 7)
    images, maps = windows(x, y, 4, draws(60))
    assert images.shape == (60, 1, 4, 4)
    assert torch.equal(images[:, 0].long(), maps)
    corners = {int(window[0, 0]) for window in maps}
    assert corners == {7 * row + column for row in range(2) for column in range(4)}
    assert windows(x, y, 9, draws(60))[0] is x
    assert windows(x, y, 6, draws(60))[0].shape == (60, 1, 5, 6)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_share_is_treated_as_in_the_whole_batch(rank: int) -> None:
    x = torch.randint(0, 9, (10, 1, 6, 6)).float()
    whole = shifted(x, 2, draws(10))
    assert torch.equal(shifted(x[rank::3], 2, draws(10, first=rank, every=3)), whole[rank::3])
