# SPDX-License-Identifier: Apache-2.0
"""The same network without convsmith: what its author would have written in torch alone."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith import convs
from convsmith.errors import UnsupportedError
from convsmith.family import families


def plain(module: nn.Module) -> nn.Module:
    """A copy of a network whose convsmith layers are torch's, with the same weights.

    Raises:
        UnsupportedError: if it has a layer that nothing here says how to write without convsmith.

    >>> plain(nn.Sequential(convs.PointwiseConv2d(3, 8), nn.ReLU()))[0]
    Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1))
    """
    return _replaced(copy.deepcopy(module))


def _replaced(module: nn.Module) -> nn.Module:
    if isinstance(module, convs.TableConv2d):
        return _dense_table(module)
    if isinstance(module, convs.Involution2d):
        return UnfoldedInvolution(module)
    if isinstance(module, nn.modules.conv._ConvNd):
        return _torch_layer(module)
    if isinstance(module, convs.DepthwiseSeparableConv2d):
        return nn.Sequential(*map(_replaced, module))
    if type(module) in _layers_of_families():
        raise UnsupportedError(
            f"bench: {type(module).__name__} has no twin in plain torch yet; "
            "add it to bench/cases/plain.py"
        )
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module


def _layers_of_families() -> set[type[nn.Module]]:
    return {layer for family in families().values() for layer in family.layers.values()}


def _torch_layer(layer: Any) -> nn.Module:
    kind = next(k for k in type(layer).__mro__ if k.__module__ == "torch.nn.modules.conv")
    options = {"dilation": layer.dilation, "groups": layer.groups, "padding": layer.padding}
    if layer.transposed:
        options["output_padding"] = layer.output_padding
    twin = kind(
        *(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride),
        bias=layer.bias is not None,
        **options,
    )
    return _with_weights(twin, layer.weight, layer.bias)


def _dense_table(layer: Any) -> nn.Module:
    """Every pair, those that the table does not list with weight zero: torch has nothing else."""
    twin = nn.Conv2d(
        *(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride),
        padding=layer.padding,
        dilation=layer.dilation,
        bias=layer.bias is not None,
    )
    weight = torch.zeros_like(twin.weight)
    for (i, o), kernel in zip(layer.table, layer.weight, strict=True):
        weight[o, i] = kernel
    return _with_weights(twin, weight, layer.bias)


def _with_weights(twin: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    twin.load_state_dict(state)
    return twin.eval().requires_grad_(False)


class UnfoldedInvolution(nn.Module):
    """Involution with stride 1 the usual way: unfold, multiply, sum."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.generator = _replaced(layer.generator)
        self.groups, self.kernel = layer.kernel_groups, layer.kernel_size[0]

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the same."""
        (n, c, h, w), taps = x.shape, self.kernel**2
        kernels = self.generator(x).view(n, self.groups, 1, taps, h, w)
        windows = F.unfold(x, self.kernel, padding=self.kernel // 2)
        products = windows.view(n, self.groups, c // self.groups, taps, h, w) * kernels
        return products.sum(3).view(n, c, h, w)
