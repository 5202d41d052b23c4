# SPDX-License-Identifier: Apache-2.0
"""`analyze`: what every layer of a network is, costs and sees, from shapes alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from convsmith.analysis.findings import findings, sites
from convsmith.analysis.layers import layers_of
from convsmith.analysis.measuring import measured
from convsmith.analysis.memory import peak_bytes
from convsmith.analysis.observing import observe
from convsmith.analysis.picturing import kernels
from convsmith.analysis.result import Analysis, Input, Layer, Total
from convsmith.analysis.roofline import ceiling
from convsmith.capture import Traced, spelt_out, trace
from convsmith.errors import ArgumentError
from convsmith.geometry import Macs
from convsmith.report import Pictures


def analyze(
    model: nn.Module,
    input_shape: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    measure: bool = False,
    images: Tensor | None = None,
    pictures: bool = False,
) -> Analysis:
    """Tell what every layer of a network is, costs and sees, and what could be cheaper.

    No weight is copied; weights are read only for the findings, and not at all on the meta device.

    flops = 2 macs

    Args:
        model: Any PyTorch module, on any device, the meta device included; it is not changed and
            its inference path is taken.
        input_shape: The shape of the input, batch included; or an example: a tensor, or a list of
            shapes and tensors for a model with several inputs, empty for one that takes them by
            name alone. Of tensors only shape and dtype matter.
        kwargs: Keyword inputs: shapes or tensors by name.
        measure: Also run the model for some seconds, and set each layer's time beside what its
            arithmetic and bytes allow on this machine. Shapes become normal random inputs.
        images: A few real inputs, as the model takes them, to measure on what the middle outputs
            really listen to (`Effective`): a call and a dozen backward passes for each.
        pictures: Also keep small pictures for `to_html`: kernels, and feature maps of the first
            of the images.

    Returns:
        Layers in the order they run, totals, and what they mean (see `Analysis`).

    Raises:
        ArgumentError: if `model` is not a module, an input is neither a shape nor a tensor, images
            do not fit the input, or times or images are given with a model on the meta device.
        CaptureError: if the model does not run on such inputs, naming module and line.

    Cost: a few milliseconds a layer, whatever the size of weights and images.

    >>> found = analyze(torch.nn.Conv2d(3, 32, 3, padding=1), (1, 3, 36, 36))
    >>> found.total.macs.all, found.total.macs.live, found.layers[0].family
    (1119744, 1078656, 'standard')
    """
    args = _inputs(model, input_shape)
    keywords = {name: _input(model, value) for name, value in (kwargs or {}).items()}
    traced = trace(spelt_out(model), args, keywords)
    top = ceiling() if measure else None
    rows = layers_of(traced, measured(traced, model, args, keywords) if measure else None, top)
    layers = [layer for _, layer in rows]
    total = _total(traced, layers)
    drawn: dict[int, Pictures] = {}
    remarks: list[str] = []
    if images is not None:
        rows, drawn, remarks = observe(traced, rows, images, pictures=pictures)
        layers = [layer for _, layer in rows]
    if pictures:
        drawn = _with_kernels(traced, rows, drawn)
    share = 1 / total.macs.all if total.macs.all else 0.0
    layers = [replace(layer, share=layer.all_macs * share) for layer in layers]
    return Analysis(
        model=type(model).__name__,
        inputs=_described(traced),
        layers=tuple(layers),
        total=total,
        machine=asdict(top) if top else None,
        findings=tuple(findings(traced, rows)),
        notes=(*_notes(traced, total, measure), *remarks),
        pictures=drawn,
    )


def _with_kernels(
    traced: Traced, rows: list[tuple[Node, Layer]], drawn: dict[int, Pictures]
) -> dict[int, Pictures]:
    """The pictures with those of the weights."""
    found = dict(drawn)
    for site in sites(traced, rows):
        picture = kernels(site.stored) if site.stored is not None else None
        if picture is not None:
            index = site.layer.index
            found[index] = replace(found.get(index, Pictures()), kernels=picture)
    return found


def _inputs(model: nn.Module, given: Any) -> list[Any]:
    """One shape or tensor, or a list of them, as tensors; of an empty list none."""
    is_row = isinstance(given, tuple | list)
    is_several = is_row and (not given or any(not isinstance(item, int) for item in given))
    return [_input(model, item) for item in (given if is_several else [given])]


def _input(model: nn.Module, given: Any) -> Any:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, dict):
        return {key: _input(model, value) for key, value in given.items()}
    if not _is_shape(given):
        raise ArgumentError(
            f"analyze: an input is {given!r:.80}; it must be a shape such as (1, 3, 224, 224), "
            "batch included, or a tensor."
        )
    parameters = model.parameters() if isinstance(model, nn.Module) else []
    dtype = next((p.dtype for p in parameters if p.is_floating_point()), None)
    return torch.empty(tuple(given), dtype=dtype, device="meta")


def _is_shape(given: Any) -> bool:
    is_row = isinstance(given, Sequence) and not isinstance(given, str)
    return is_row and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in given)


def _described(traced: Traced) -> tuple[Input, ...]:
    nodes = [node for node in traced.graph.nodes if node.op == "placeholder"]
    return tuple(
        Input(
            name=node.name,
            shape=tuple(node.meta["val"].shape),
            dtype=str(node.meta["val"].dtype).removeprefix("torch."),
        )
        for node in nodes
    )


def _total(traced: Traced, layers: Sequence[Layer]) -> Total:
    nodes = list(traced.graph.nodes)
    read = {str(node.target) for node in nodes if node.op == "get_attr"}
    named = dict(traced.model.named_parameters())
    counted = [layer.macs for layer in layers if layer.macs]
    tensors = {id(t): t for t in [*named.values(), *traced.model.buffers()]}
    return Total(
        macs=sum(counted, Macs(0, 0)),
        parameters=sum(p.numel() for p in named.values()),
        unused_parameters=sum(p.numel() for name, p in named.items() if name not in read),
        weight_bytes=sum(t.numel() * t.element_size() for t in tensors.values()),
        activation_bytes=sum(layer.output_bytes for layer in layers),
        peak_bytes=peak_bytes(traced.graph),
        norm_elements=sum(layer.elements for layer in layers if layer.kind == "norm"),
        elementwise_elements=sum(x.elements for x in layers if x.kind == "elementwise"),
        uncounted=tuple(layer.name for layer in layers if layer.macs is None),
    )


def _notes(traced: Traced, total: Total, is_measured: bool) -> list[str]:
    notes = []
    if is_measured:
        notes.append("times are medians, operator by operator")
        if any("chain" in node.meta for node in traced.graph.nodes):
            notes.append("convolutions that a kernel computes in one pass share its time by MACs")
    if traced.was_training:
        notes.append("the model is in training mode; its inference path is analysed")
    if total.uncounted:
        some = ", ".join(total.uncounted[:5])
        more = len(total.uncounted) - 5
        tail = f" and {more} more" if more > 0 else ""
        notes.append(f"the work of {some}{tail} cannot be counted and is in no sum")
    if total.unused_parameters:
        notes.append(f"{total.unused_parameters:,} parameters are read by no layer")
    return notes
