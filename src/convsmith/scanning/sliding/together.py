# SPDX-License-Identifier: Apache-2.0
"""Whether images that run together are answered each by itself: tiles of a batch must be."""

from collections.abc import Iterator

from convsmith.analysis.cones import spread
from convsmith.analysis.operators import sizes
from convsmith.analysis.reach import Reach, Seen
from convsmith.analysis.spreading import Step
from convsmith.analysis.spreading.step import Answer
from convsmith.scanning.sliding.watching import Watched, refusal

TOGETHER = 7  # a prime, which no reshape takes for channels


def check_apart(watched: Watched) -> None:
    """Refuse a network in which one image of a batch bears on the answer to another.

    Args:
        watched: A call on `TOGETHER` images.

    Raises:
        UnsupportedError: naming the first operator that mixes them.
    """
    found: dict[object, Answer] = {watched.source: Reach.of_input(sizes(watched.source), [0])}
    for node in watched.needed:
        if node not in watched.moved or node.op != "call_function":
            continue
        found[node] = spread(Step(node, found, ""))  # type: ignore[arg-type]
        is_result = node is watched.result
        for reach in _each(found[node]):
            if _is_mixed(reach.seen[0]) or (is_result and not _is_in_order(reach)):
                raise refusal(
                    node,
                    "mixes the images of a batch",
                    "tiles run together and each is answered alone: keep the first axis out of it",
                )


def _each(answer: Answer) -> Iterator[Reach]:
    for reach in answer if isinstance(answer, list) else [answer]:
        if reach is not None and 0 in reach.seen:
            yield reach


def _is_mixed(seen: Seen) -> bool:
    """Whether an element reads more than one image."""
    reads = [reads for strand in seen.strands for reads in strand.footprint.reads]
    return seen.whole is not None or len(seen.strands) > 1 or any(len(r.touched) > 1 for r in reads)


def _is_in_order(reach: Reach) -> bool:
    """Whether image n of the result reads image n."""
    (strand,) = reach.seen[0].strands
    return strand.const == 0 and strand.coefs == (1, *[0] * (len(strand.coefs) - 1))
