# SPDX-License-Identifier: Apache-2.0
"""`analyze`: what every layer of a network is, costs and sees, from shapes alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from convsmith.analysis.findings import findings, sites
from convsmith.analysis.inputs import call_of, likely_instead
from convsmith.analysis.layers import layers_of
from convsmith.analysis.measuring import measured
from convsmith.analysis.memory import peak_bytes
from convsmith.analysis.notes import notes_on
from convsmith.analysis.observing import observe
from convsmith.analysis.picturing import kernels
from convsmith.analysis.result import Analysis, Input, Layer, Total
from convsmith.analysis.roofline import ceiling
from convsmith.capture import Traced, spelt_out, trace
from convsmith.errors import CaptureError
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
            inputs for a model with several, empty for one that takes them by name alone. In it a
            row of whole numbers is a shape, and what is no tensor is handed on as it is. Of tensors
            only shape and dtype matter.
        kwargs: Inputs by name, likewise.
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
        CaptureError: if the model does not run on such inputs, naming module and line, and a shape
            that it does run on if one is found.

    Cost: a few milliseconds a layer, whatever the size of weights and images; a model that asks for
    the numbers in a tensor is run once, and a note says so.

    >>> found = analyze(torch.nn.Conv2d(3, 32, 3, padding=1), (1, 3, 36, 36))
    >>> found.total.macs.all, found.total.macs.live, found.layers[0].family
    (1119744, 1078656, 'standard')
    """
    args, keywords = call_of(model, input_shape, kwargs)
    traced = _traced(model, args, keywords)
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
        notes=(*notes_on(traced, total, measure), *remarks),
        pictures=drawn,
    )


def _traced(model: nn.Module, args: list[Any], keywords: dict[str, Any]) -> Traced:
    """The call as a graph; where it fails, what may have been meant by its one shape is tried."""
    network = spelt_out(model)
    try:
        return trace(network, args, keywords, may_run=True)
    except CaptureError as error:
        is_one_shape = len(args) == 1 and isinstance(args[0], Tensor) and args[0].is_meta
        if error.__cause__ is None or not is_one_shape or keywords:
            raise
        instead = likely_instead(model, args[0].shape)
        better = next((x for x in instead if _runs(network, x)), None)
        if better is None:
            raise
        raise CaptureError(f"{str(error)[:-1]}; it does run on {_words(better)}.") from error


def _runs(model: nn.Module, example: Tensor) -> bool:
    try:
        trace(model, [example])
    except CaptureError:
        return False
    return True


def _words(example: Tensor) -> str:
    shape = tuple(example.shape)
    is_whole = not example.is_floating_point()
    return f"torch.zeros({shape}, dtype={example.dtype})" if is_whole else f"{shape}"


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
