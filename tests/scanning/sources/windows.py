# SPDX-License-Identifier: Apache-2.0
"""Windows of every kind, for asking a source whether they are windows of the whole."""

import pickle

import numpy as np

from convsmith.scanning.sources import Source, read_window


def assert_reads(source: Source, whole: np.ndarray, *, tries: int = 25) -> None:
    """Shape, type and any window of a source are those of the whole image, after pickling too."""
    assert source.shape == whole.shape
    assert source.dtype == whole.dtype
    assert source.dtype.isnative
    again = pickle.loads(pickle.dumps(source))
    assert again.identity == source.identity
    random = np.random.default_rng(0)
    extents = [(0, size) for size in whole.shape[1:]]
    for number in range(tries):
        window = tuple(slice(*extent) for extent in extents)
        for reader in (source, again) if number < 3 else (source,):
            samples = read_window(reader, window)
            assert np.array_equal(samples, whole[(slice(None), *window)]), window
        # Half of them small, half of any size; empty ones are windows, too.
        ends = [random.integers(0, size + 1, 2) for size in whole.shape[1:]]
        extents = [
            (int(min(pair)), int(max(pair)) if number % 2 else int(min(min(pair) + 3, max(pair))))
            for pair in ends
        ]
