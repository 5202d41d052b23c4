# SPDX-License-Identifier: Apache-2.0
"""`swap`: another kind of convolution in a network's dense layers, before it is trained."""

import copy
from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import ArgumentError, ConvsmithError, UnsupportedError
from convsmith.family import families

Choice = Callable[[str, nn.Module], bool]

_TRIED = (37, 38, 40)  # sizes of a map on which old and new layer must agree


def swap(
    model: nn.Module, to: str = "depthwise_separable", where: Choice | None = None, **options: Any
) -> nn.Module:
    """A copy of a network with another kind of convolution in place of its dense layers.

    The new layers take the old ones' channels, kernel size, stride, padding and dilation, and give
    maps of the same sizes. Their weights are new: the function changes, train the copy.

    Args:
        model: Any network; it is not changed.
        to: The kind, a name of `convsmith list`, with blanks or underscores.
        where: `where(name, layer)` says which of the dense convolutions to swap, those with one
            group and a kernel larger than one position; None takes all of them.
        options: Further arguments of the new layers, such as `depth_multiplier=2`.

    Raises:
        ArgumentError: if there is no such kind, or no layer to swap.
        UnsupportedError: if a layer has no counterpart of that kind; it is named.

    Cost: the multiply-adds of the new kind; `convsmith.analyze` tells them.
    Source: Howard et al. 2017, arXiv:1704.04861, section 4.1, for the comparison it serves.

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.ReLU())
    >>> [sum(p.numel() for p in m.parameters()) for m in (model, swap(model))]
    [1168, 216]
    """
    known = {family.name.replace(" ", "_"): family for family in families().values()}
    family = known.get(to.replace(" ", "_"))
    if family is None:
        raise ArgumentError(f"swap: there is no kind {to!r}; choose one of {sorted(known)}")
    swapped = copy.deepcopy(model)
    found = [
        (name, layer)
        for name, layer in swapped.named_modules()
        if _is_dense(layer) and (where is None or where(name, layer))
    ]
    if not found:
        raise ArgumentError(
            f"swap: {type(model).__name__} has no dense convolution to swap, with one group and a "
            f"kernel larger than one position{'' if where is None else ', that `where` takes'}"
        )
    new = {id(layer): _counterpart(name, layer, family.layers, options) for name, layer in found}
    if id(swapped) in new:
        return new[id(swapped)]
    for module in list(swapped.modules()):
        for name, child in list(module._modules.items()):  # a shared child every time
            if id(child) in new:
                setattr(module, name, new[id(child)])
    return swapped


def _is_dense(layer: Any) -> bool:
    """Whether a layer is a plain convolution, not another kind that is made from one."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    dense = {*kinds, *families()["standard"].layers.values()}
    return type(layer) in dense and layer.groups == 1 and max(layer.kernel_size) > 1


def _counterpart(name: str, layer: Any, layers: Any, options: dict[str, Any]) -> nn.Module:
    axes = len(layer.kernel_size)
    kind = layers.get(axes)
    if kind is None:
        raise UnsupportedError(
            f"swap: {name or 'the model'} has {axes} axes, and this kind has none"
        )
    taken = signature(kind).parameters
    given = {
        "channels": layer.in_channels,
        **{key: getattr(layer, key) for key in ("in_channels", "out_channels", "kernel_size")},
        **{key: getattr(layer, key) for key in ("stride", "padding", "dilation", "padding_mode")},
        "bias": layer.bias is not None,
        "device": layer.weight.device,
        "dtype": layer.weight.dtype,
    }
    arguments = {key: value for key, value in given.items() if key in taken} | options
    try:
        new: nn.Module = kind(**arguments)
        is_alike = _output_shape(new, layer) == _output_shape(layer, layer)
    except (TypeError, ConvsmithError) as error:
        raise UnsupportedError(
            f"swap: {name or 'the model'} ({layer}) cannot be a {kind.__name__}: {error}; leave it "
            f"out with where=, or give what is missing as an option"
        ) from error
    if not is_alike:
        raise UnsupportedError(
            f"swap: {name or 'the model'} ({layer}) as a {kind.__name__} gives maps of another "
            f"shape; leave it out with where="
        )
    return new.train(layer.training)


def _output_shape(layer: nn.Module, old: Any) -> tuple[int, ...]:
    image = torch.empty(1, old.in_channels, *_TRIED[: len(old.kernel_size)], device="meta")
    with torch.no_grad():
        answer: Tensor = copy.deepcopy(layer).to("meta", torch.float32)(image)
    return tuple(answer.shape)
