# SPDX-License-Identifier: Apache-2.0
"""Dense layers that a cheaper kind of convolution could stand for, once it is trained again."""

from collections.abc import Iterator, Sequence
from math import prod

from convsmith.analysis.findings.site import Site
from convsmith.analysis.result import Finding

_MOST = 5
_LEAST_SHARE = 0.02  # of the network's work


def cheaper_families(sites: Sequence[Site]) -> Iterator[Finding]:
    """The largest dense convolutions as depthwise separable ones: k^2 + O products for k^2 O."""
    total = sum(site.layer.all_macs for site in sites) or 1
    dense = [site for site in sites if site.layer.family in ("standard", "dilated")]
    dense.sort(key=lambda site: -site.layer.all_macs)
    for site in dense[:_MOST]:
        geometry = site.geometry
        if geometry is None or site.layer.all_macs < _LEAST_SHARE * total:
            continue
        taps = prod(geometry.kernel_size)
        share = 1 - (taps + geometry.out_channels) / (taps * geometry.out_channels)
        if share > 0:
            what = "as a depthwise separable convolution, trained again, it would be cheaper"
            yield site.finding(what, "swap", share)
