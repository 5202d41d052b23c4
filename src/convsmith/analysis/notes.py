# SPDX-License-Identifier: Apache-2.0
"""Sentences about a whole analysis: what its reader must know to read the numbers right."""

from torch import nn

from convsmith.analysis.result import Total
from convsmith.capture import Traced


def notes_on(traced: Traced, total: Total, is_measured: bool) -> list[str]:
    """What holds for the whole network, in the order of how much it changes the numbers."""
    notes = []
    if is_measured:
        notes.append("times are medians, operator by operator")
        if any("chain" in node.meta for node in traced.graph.nodes):
            notes.append("convolutions that a kernel computes in one pass share its time by MACs")
    if traced.was_run:
        notes.append(
            "the model asks for the numbers in a tensor: it was run once, on random inputs where "
            "only shapes were given; other inputs may take another way through it"
        )
    if traced.was_training:
        notes.append("the model is in training mode; its inference path is analysed")
    if total.uncounted:
        some = ", ".join(total.uncounted[:5])
        more = len(total.uncounted) - 5
        tail = f" and {more} more" if more > 0 else ""
        notes.append(f"the work of {some}{tail} cannot be counted and is in no sum")
    if any(parameter.is_complex() for parameter in traced.model.parameters()):
        notes.append("a multiply-accumulate of complex numbers counts as one; it takes four real")
    strangers = _parameters_of_others(traced)
    if strangers:
        notes.append(
            f"{strangers:,} parameters are read that the model does not own, as of modules in a "
            "plain list: they are in no count; torch.nn.ModuleList would make them its own"
        )
    if total.unused_parameters:
        notes.append(f"{total.unused_parameters:,} parameters are read by no layer")
    return notes


def _parameters_of_others(traced: Traced) -> int:
    """Of parameters that the call reads and the model does not list."""
    nodes = [node for node in traced.graph.nodes if node.op == "get_attr"]
    strangers = [node.meta["val"] for node in nodes if traced.stored(node) is None]
    return sum(value.numel() for value in strangers if isinstance(value, nn.Parameter))
