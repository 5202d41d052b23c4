# SPDX-License-Identifier: Apache-2.0
"""Tables of connections: which output map reads which input map, as (input, output) pairs."""

from collections.abc import Iterable

from convsmith.errors import ArgumentError
from convsmith.geometry import per_axis

Table = tuple[tuple[int, int], ...]


def full_table(in_channels: int, out_channels: int) -> list[tuple[int, int]]:
    """Every output reads every input: a standard convolution.

    >>> full_table(2, 2)
    [(0, 0), (1, 0), (0, 1), (1, 1)]
    """
    per_axis("full_table: in_channels and out_channels", (in_channels, out_channels), 2)
    return [(i, o) for o in range(out_channels) for i in range(in_channels)]


def one_to_one_table(channels: int) -> list[tuple[int, int]]:
    """Output i reads input i alone: a depthwise convolution.

    >>> one_to_one_table(3)
    [(0, 0), (1, 1), (2, 2)]
    """
    per_axis("one_to_one_table: channels", channels, 1)
    return [(i, i) for i in range(channels)]


def lenet5_table() -> list[tuple[int, int]]:
    """Layer C3 of LeNet-5, 6 -> 16 maps: 60 of the 96 pairs, so that the maps differ.

    Six outputs read three neighbouring inputs, six read four neighbours, three read two pairs of
    neighbours, and the last reads all.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, table I.

    >>> table = lenet5_table()
    >>> len(table), [i for i, o in table if o == 12]
    (60, [0, 1, 3, 4])
    """
    three = [{(o + step) % 6 for step in range(3)} for o in range(6)]
    four = [{(o + step) % 6 for step in range(4)} for o in range(6)]
    pairs = [{o, o + 1, (o + 3) % 6, (o + 4) % 6} for o in range(3)]
    columns = [*three, *four, *pairs, set(range(6))]
    return [(i, o) for o, column in enumerate(columns) for i in sorted(column)]


def checked_table(table: Iterable[Iterable[int]]) -> Table:
    """The table as a tuple of pairs.

    Raises:
        ArgumentError: if it is empty, an entry is not a pair of integers of at least 0, a pair
            stands twice, or an output between 0 and the greatest has no input.
    """
    pairs = tuple(tuple(pair) for pair in table)
    for pair in pairs:
        if len(pair) != 2 or any(isinstance(c, bool) or not isinstance(c, int) for c in pair):
            raise ArgumentError(
                f"table: {pair!r} must be a pair of integers (input channel, output channel)"
            )
        if min(pair) < 0:
            raise ArgumentError(f"table: {pair} has a negative channel; channels count from 0")
    if not pairs:
        raise ArgumentError("table: 0 pairs; an output must read at least one input")
    if len(set(pairs)) < len(pairs):
        twice = next(pair for n, pair in enumerate(pairs) if pair in pairs[:n])
        raise ArgumentError(f"table: {twice} stands more than once; each pair has one filter")
    outputs = {o for _, o in pairs}
    if len(outputs) <= max(outputs):
        hungry = next(o for o in range(max(outputs)) if o not in outputs)
        raise ArgumentError(
            f"table: no input feeds output {hungry}, though outputs go up to {max(outputs)}; give "
            "it a pair or number the outputs without holes"
        )
    return tuple((i, o) for i, o in pairs)
