# SPDX-License-Identifier: Apache-2.0
"""What is worth keeping between two calls, within bounds."""

from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Shelf(Generic[_T]):
    """Things by key, one of them for each caller at once; what lay longest goes first.

    Safe to use from several threads.

    Args:
        most: How many things lie here at once.
        most_bytes: How many bytes these may have together; a larger thing is never kept.

    >>> shelf = Shelf[str](most=2, most_bytes=10)
    >>> for name, size in (("a", 4), ("b", 4), ("c", 4)):
    ...     shelf.put(name, name.upper(), size)
    >>> shelf.take("a"), shelf.take("b"), shelf.take("b"), shelf.bytes
    (None, 'B', None, 4)
    """

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self.most, self.most_bytes = most, most_bytes
        self.bytes = 0
        # Few lie here, and the one that is wanted is nearly always the last.
        self._lying: list[tuple[Hashable, _T, int]] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._lying)

    def take(self, key: Hashable) -> _T | None:
        """What was put here last under this key, no longer here; None if nothing is."""
        with self._lock:
            for place in range(len(self._lying) - 1, -1, -1):
                if self._lying[place][0] == key:
                    _, thing, size = self._lying.pop(place)
                    self.bytes -= size
                    return thing
        return None

    def put(self, key: Hashable, thing: _T, size: int) -> None:
        """Keep a thing of so many bytes, unless it alone is too large."""
        if size > self.most_bytes:
            return
        with self._lock:
            self._lying.append((key, thing, size))
            self.bytes += size
            while len(self._lying) > self.most or self.bytes > self.most_bytes:
                self.bytes -= self._lying.pop(0)[2]
