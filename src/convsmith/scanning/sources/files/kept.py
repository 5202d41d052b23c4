# SPDX-License-Identifier: Apache-2.0
"""Decoded pieces of an image, kept while they fit: neighbouring tiles share them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class Kept:
    """The pieces used last, of at most `max_bytes` together. Threads may share it.

    Two threads that miss the same piece at once both decode it, which costs time and nothing else.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._pieces: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        with self._lock:
            return self._num_bytes

    def get(self, key: Hashable, decode: Callable[[], np.ndarray]) -> np.ndarray:
        """The piece of this name, decoded if it is not there."""
        with self._lock:
            if key in self._pieces:
                self._pieces.move_to_end(key)
                return self._pieces[key]
        piece = decode()
        with self._lock:
            if key not in self._pieces and piece.nbytes <= self._max_bytes:
                self._pieces[key] = piece
                self._num_bytes += piece.nbytes
            while self._num_bytes > self._max_bytes:
                _, dropped = self._pieces.popitem(last=False)
                self._num_bytes -= dropped.nbytes
        return piece
