# SPDX-License-Identifier: Apache-2.0
"""What is worth keeping between two calls, within bounds."""

from collections.abc import Hashable
from contextlib import suppress
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
        # What was put here last, which is nearly always what is wanted next. A list appends and
        # pops in one stroke, so that no lock is needed: two cost as much as a tenth of a call.
        self._at_hand: list[tuple[Hashable, _T, int]] = []
        self._behind: list[tuple[Hashable, _T, int]] = []  # changed only under the lock
        self._bytes_behind = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._behind) + len(self._at_hand)

    @property
    def bytes(self) -> int:
        """Of all that lies here."""
        return self._bytes_behind + sum(size for _, _, size in self._at_hand)

    def take(self, key: Hashable) -> _T | None:
        """What was put here last under this key, no longer here; None if nothing is."""
        try:
            entry = self._at_hand.pop()
        except IndexError:
            return self._search(key)
        if entry[0] == key:
            return entry[1]
        with self._lock:
            self._put_behind(entry)
        return self._search(key)

    def put(self, key: Hashable, thing: _T, size: int) -> None:
        """Keep a thing of so many bytes, unless it alone is too large."""
        if size > self.most_bytes:
            return
        if self._at_hand or not self._has_room(size):
            self._make_room(size)
        self._at_hand.append((key, thing, size))

    def _has_room(self, size: int) -> bool:
        return len(self._behind) < self.most and self._bytes_behind + size <= self.most_bytes

    def _make_room(self, size: int) -> None:
        with self._lock:
            with suppress(IndexError):  # there are no more, or another thread has taken one
                while True:
                    self._put_behind(self._at_hand.pop())
            while not self._has_room(size):
                self._pop_behind(0)

    def _search(self, key: Hashable) -> _T | None:
        with self._lock:
            for place in reversed(range(len(self._behind))):
                if self._behind[place][0] == key:
                    return self._pop_behind(place)
        return None

    def _put_behind(self, entry: tuple[Hashable, _T, int]) -> None:
        self._behind.append(entry)
        self._bytes_behind += entry[2]

    def _pop_behind(self, place: int) -> _T:
        _, thing, size = self._behind.pop(place)
        self._bytes_behind -= size
        return thing
