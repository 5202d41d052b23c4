# SPDX-License-Identifier: Apache-2.0
"""Channels that do nothing, channels that do the same, and channels that never meet."""

from collections.abc import Iterator

import torch
from torch import Tensor

from convsmith.analysis.findings.site import Site
from convsmith.analysis.result import Finding


def dead_channels(site: Site) -> Iterator[Finding]:
    """Outputs that read nothing, and inputs that nothing reads."""
    joined = site.joined
    if joined is None:
        return
    outputs, inputs = (~joined.any(2)).sum().item(), (~joined.any(1)).sum().item()
    of_outputs, of_inputs = joined.shape[0] * joined.shape[1], joined.shape[0] * joined.shape[2]
    if outputs:
        what = f"{outputs} of {of_outputs} output channels read nothing: they are constant"
        yield site.finding(what, "drop_channels", outputs / of_outputs)
    if inputs and outputs < of_outputs:
        what = f"{inputs} of {of_inputs} input channels are read by no filter"
        yield site.finding(what, "drop_channels", inputs / of_inputs)


def duplicate_channels(site: Site) -> Iterator[Finding]:
    """Outputs with the same filter and the same bias as an earlier one of their group."""
    kernels, joined = site.kernels, site.joined
    if kernels is None or joined is None or kernels.shape[1] < 2:
        return
    groups, outputs = kernels.shape[:2]
    rows = kernels.reshape(groups * outputs, -1)
    bias = site.bias
    if bias is not None and not bias.is_meta and bias.numel() == len(rows):
        rows = torch.cat([rows, bias.detach().float().cpu()[:, None]], 1)
    rows = torch.cat([rows, torch.arange(groups).repeat_interleave(outputs)[:, None].float()], 1)
    living = rows[joined.any(2).flatten()]
    # Equal rows have equal sums: only those that collide are compared in full.
    marks = living.double() @ torch.linspace(1, 2, living.shape[1]).double()
    _, where, count = marks.unique(return_inverse=True, return_counts=True)
    suspects = living[count[where] > 1]
    twins = len(suspects) - len(suspects.unique(dim=0)) if len(suspects) else 0
    if twins:
        what = f"{twins} of {len(rows)} output channels repeat another one"
        yield site.finding(what, "merge_channels", twins / len(rows))


def block_structure(site: Site) -> Iterator[Finding]:
    """Channels that fall into groups which never meet, in whatever order they stand."""
    every = site.joined
    if every is None or every.shape[0] > 1 or every.all():
        return
    joined = every[0][every[0].any(1)][:, every[0].any(0)]
    blocks = _blocks(joined) if joined.numel() else []
    if len(blocks) > 1:
        saved = joined.numel() - sum(o * i for o, i in blocks)
        what = f"its channels fall into {len(blocks)} blocks that never meet"
        yield site.finding(what, "to_groups", saved / every.numel())


def _blocks(joined: Tensor) -> list[tuple[int, int]]:
    """The connected parts of who reads whom: (outputs, inputs) of each."""
    left = torch.ones(joined.shape[0], dtype=torch.bool)
    blocks = []
    while left.any():
        outputs = torch.zeros_like(left)
        outputs[left.nonzero()[0]] = True
        while True:
            inputs = joined[outputs].any(0)
            more = joined[:, inputs].any(1)
            if torch.equal(more, outputs):
                break
            outputs = more
        blocks.append((int(outputs.sum()), int(inputs.sum())))
        left &= ~outputs
    return blocks
