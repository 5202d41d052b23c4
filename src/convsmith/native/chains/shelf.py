# SPDX-License-Identifier: Apache-2.0
"""What is worth keeping between two calls, within bounds."""

from collections import OrderedDict
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
        self._lying: OrderedDict[int, tuple[Hashable, _T, int]] = OrderedDict()
        self._numbers: dict[Hashable, list[int]] = {}
        self._next, self._lock = 0, Lock()

    def __len__(self) -> int:
        return len(self._lying)

    def take(self, key: Hashable) -> _T | None:
        """What was put here last under this key, no longer here; None if nothing is."""
        with self._lock:
            numbers = self._numbers.get(key)
            return self._remove(numbers[-1]) if numbers else None

    def put(self, key: Hashable, thing: _T, size: int) -> None:
        """Keep a thing of so many bytes, unless it alone is too large."""
        if size > self.most_bytes:
            return
        with self._lock:
            while len(self._lying) >= self.most or self.bytes + size > self.most_bytes:
                self._remove(next(iter(self._lying)))
            self._next += 1
            self._lying[self._next] = key, thing, size
            self._numbers.setdefault(key, []).append(self._next)
            self.bytes += size

    def _remove(self, number: int) -> _T:
        key, thing, size = self._lying.pop(number)
        self._numbers[key].remove(number)
        if not self._numbers[key]:
            del self._numbers[key]
        self.bytes -= size
        return thing
