# SPDX-License-Identifier: Apache-2.0
"""Which tiles run together: always the same ones, so that no byte depends on what ran before.

All reads have one length, so neighbours in the order of tiles make a batch. Its tiles keep their
places in it, in a run that resumes too: where one of them is missing, the others are not moved up.
"""

from collections.abc import Iterator

import numpy as np

from convsmith.scanning.plan import Plan


class Batches:
    """The tiles of a plan, `plan.batch` at a time: `batches[i]` are the tile numbers of batch i."""

    def __init__(self, plan: Plan) -> None:
        self._tiles, self._size = len(plan), plan.batch

    def __len__(self) -> int:
        return (self._tiles + self._size - 1) // self._size

    def __getitem__(self, number: int) -> range:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return range(number * self._size, min((number + 1) * self._size, self._tiles))

    def missing(self, done: np.ndarray) -> Iterator[int]:
        """The batches that hold a tile that is not done; `done` has one truth value a tile."""
        missing = np.flatnonzero(~done) // self._size
        yield from np.unique(missing).tolist()
