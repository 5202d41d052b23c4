# SPDX-License-Identifier: Apache-2.0
"""What a network's weights and graph show that could be cheaper; one file for each sort.

A finding is an observation, not a rewrite: it names the rewrite that does it.
"""

from collections.abc import Iterator, Sequence

from convsmith.analysis.findings.channels import block_structure, dead_channels, duplicate_channels
from convsmith.analysis.findings.families import cheaper_families
from convsmith.analysis.findings.ranks import low_rank
from convsmith.analysis.findings.site import Site, sites
from convsmith.analysis.findings.structure import foldable_norms, linear_on_maps
from convsmith.analysis.findings.taps import unused_taps
from convsmith.analysis.result import Finding, Layer
from convsmith.capture import Traced

_OF_WEIGHTS = (unused_taps, dead_channels, duplicate_channels, block_structure)
_OF_SITES = (linear_on_maps,)


def findings(traced: Traced, layers: Sequence[tuple[object, Layer]]) -> list[Finding]:
    """Everything found, what saves most first."""
    found = [*_all(traced, layers)]
    found.sort(key=lambda finding: -finding.saves_macs)
    return found


def _all(traced: Traced, layers: Sequence[tuple[object, Layer]]) -> Iterator[Finding]:
    seen: set[int] = set()
    every = list(sites(traced, layers))
    for site in every:
        for look in _OF_SITES:
            yield from look(site)
        if site.weight is None or id(site.stored) in seen:
            continue
        seen.add(id(site.stored))
        plain = [finding for look_inside in _OF_WEIGHTS for finding in look_inside(site)]
        # Zeros lower the rank too: where they are found, that is said only once.
        yield from plain or low_rank(site)
    yield from foldable_norms(layers)
    yield from cheaper_families(every)


__all__ = ["Site", "findings", "sites"]
