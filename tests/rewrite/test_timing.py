# SPDX-License-Identifier: Apache-2.0
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.timing import interleaved


def test_networks_take_turns_and_neither_always_goes_first():
    calls = []
    times = interleaved(
        lambda x: calls.append("before"), lambda x: calls.append("after"), Inputs((1,)), budget_s=0
    )
    assert times.rounds == 5
    runs = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    # two rounds to warm up, then before-after, after-before, ...: equal neighbours melt into one
    assert runs == ["before", "after"] * 2 + ["before", "after"] * 3
    for spread in (times.before, times.after):
        low, high = spread.quartiles_ms
        assert 0 < low <= spread.median_ms <= high
