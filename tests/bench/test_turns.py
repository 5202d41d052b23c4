# SPDX-License-Identifier: Apache-2.0
"""Turns and statistics on made-up clocks."""

import pytest

from convsmith.bench import Time
from convsmith.bench.turns import order, spread, take_turns


class Scripted:
    """A runner whose calls take made-up seconds; every block is written down."""

    def __init__(self, name: str, diary: list[tuple[str, int]], seconds: float) -> None:
        self.name, self.diary, self.seconds = name, diary, seconds

    def run(self, calls: int) -> float:
        self.diary.append((self.name, calls))
        return self.seconds * calls


class Failing(Scripted):
    """Works for so many blocks."""

    blocks = 5

    def run(self, calls: int) -> float:
        self.blocks -= 1
        if self.blocks < 0:
            raise ChildProcessError("gone")
        return super().run(calls)


def test_each_begins_equally_often_and_follows_everyone() -> None:
    orders = [order(turn, 4) for turn in range(8)]
    assert all(sorted(places) == [0, 1, 2, 3] for places in orders)
    assert sorted(places[0] for places in orders) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert orders[:5] == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2], [3, 2, 1, 0]]


def test_rounds_interleave() -> None:
    diary: list[tuple[str, int]] = []
    runners = {name: Scripted(name, diary, seconds=0.5) for name in "abc"}
    race = take_turns(runners, rounds=2, block_s=1.0)
    calibration, rounds = diary[:6], diary[6:]
    assert calibration == [("a", 1), ("a", 1), ("b", 1), ("b", 1), ("c", 1), ("c", 1)]
    # one call that does not count, then as many as fill a second
    assert rounds == [(name, calls) for name in "abcbca" for calls in (1, 2)]
    assert race.times == {name: Time(median_ms=500, low_ms=500, high_ms=500) for name in "abc"}
    assert race.errors == {}
    assert race.rounds == 2


def test_who_fails_leaves_the_race() -> None:
    diary: list[tuple[str, int]] = []
    runners = {"a": Scripted("a", diary, 0.5), "b": Failing("b", diary, 0.1)}
    race = take_turns(runners, rounds=3, block_s=0.1)
    assert set(race.times) == {"a"}
    assert race.errors == {"b": "ChildProcessError: gone"}
    assert sum(name == "b" for name, _ in diary) == 5


@pytest.mark.parametrize(
    # A round of two runners takes 4 s here, and making ready as much.
    ("rounds", "budget_s", "taken"),
    [(20, 59.9, 14), (20, 60.0, 14), (20, 60.1, 15), (20, 0.0, 7), (3, 0.0, 3), (5, 1e9, 5)],
)
def test_no_round_begins_after_the_budget_but_seven_do(
    rounds: int, budget_s: float, taken: int
) -> None:
    now = 0.0

    class Slow:
        def run(self, calls: int) -> float:
            nonlocal now
            now += 1.0
            return 1.0

    race = take_turns(
        {"a": Slow(), "b": Slow()},
        rounds,
        budget_s=budget_s,
        block_s=0.1,
        clock=lambda: now,
    )
    assert race.rounds == taken


def test_spread_of_made_up_times() -> None:
    found = spread([0.001, 0.002, 0.004, 0.008])
    assert found == Time(median_ms=3.0, low_ms=1.75, high_ms=5.0)
    assert spread([0.25, 0.25]).median_ms == pytest.approx(250)
