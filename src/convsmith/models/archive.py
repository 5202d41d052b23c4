# SPDX-License-Identifier: Apache-2.0
"""Reading an `.npz` that may be damaged."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from convsmith.errors import FormatError


@contextmanager
def arrays_of(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file by name; whatever goes wrong while they are read is its damage.

    Raises:
        FormatError: if it is damaged, or what is in it cannot be used.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except (FormatError, FileNotFoundError):
        raise
    except Exception as error:  # a damaged archive fails in any way it likes
        raise FormatError(f"load_weights: {path.name} is damaged: {error!r}") from None
