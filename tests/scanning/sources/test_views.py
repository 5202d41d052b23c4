# SPDX-License-Identifier: Apache-2.0
"""Channels and slices of a source are sources."""

import numpy as np
import pytest

from convsmith.errors import ShapeError
from convsmith.scanning.sources import ArraySource, SyntheticSource, check_channels, slices
from convsmith.scanning.sources.views import ChannelsOf

from .windows import assert_reads

VOLUME = np.random.default_rng(0).integers(0, 200, (3, 4, 20, 30)).astype(np.uint8)


def test_channels_are_chosen_and_ordered() -> None:
    source = ChannelsOf(ArraySource(VOLUME), [2, 0])
    assert_reads(source, VOLUME[[2, 0]])
    assert source.identity != ChannelsOf(ArraySource(VOLUME), [0, 2]).identity


@pytest.mark.parametrize("channels", [[], [3], [-1]])
def test_channels_that_are_not_there_are_refused(channels: list[int]) -> None:
    with pytest.raises(ShapeError, match=r"channels \[.*\] of 3; name one or more from 0 to 2"):
        ChannelsOf(ArraySource(VOLUME), channels)


def test_slices_are_images() -> None:
    parts = slices(ArraySource(VOLUME))
    assert len({str(part.identity) for part in parts}) == len(parts) == 4
    for index, part in enumerate(parts):
        assert_reads(part, VOLUME[:, index], tries=5)
    with pytest.raises(ShapeError, match=r"has shape \(1, 9\); one axis of space has no slices"):
        slices(SyntheticSource((1, 9)))


def test_a_network_that_reads_other_channels_is_told() -> None:
    check_channels(SyntheticSource((4, 9, 9)), 4)
    with pytest.raises(ShapeError, match=r"has 4 channels, and the network reads 3; choose them"):
        check_channels(SyntheticSource((4, 9, 9)), 3)
