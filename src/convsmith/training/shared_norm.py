# SPDX-License-Identifier: Apache-2.0
"""Batch-norm over the images of all processes, as one process would see them.

    mean = sum x / N      variance = sum (x - mean)² / N      over the N values of all processes

torch has this for GPUs alone. The sums travel forward and their gradients back; every process ends
each step with the same running mean and variance.

Source: Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def share_moments(model: nn.Module) -> None:
    """Let every batch-norm of a model that trains see the images of all processes."""
    for layer in _norms(model):
        layer.forward = partial(_normalised, layer)  # type: ignore[method-assign]


def forget_sharing(model: nn.Module) -> None:
    """Leave the layers as `share_moments` found them."""
    for layer in _norms(model):
        layer.__dict__.pop("forward", None)


def _norms(model: nn.Module) -> Iterator[_BatchNorm]:
    return (layer for layer in model.modules() if isinstance(layer, _BatchNorm))


def _normalised(layer: _BatchNorm, x: Tensor) -> Tensor:
    if not layer.training:
        return type(layer).forward(layer, x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    # Sums of 16-bit values would lose what they are for.
    values = x if x.dtype in (torch.float32, torch.float64) else x.float()
    count = values.new_tensor(x.numel() / x.shape[1])
    dist.all_reduce(count)
    mean = all_reduce(values.sum(axes)) / count
    away = values - mean.view(shape)
    variance = all_reduce(away.square().sum(axes)) / count
    _follow(layer, mean.detach(), variance.detach() * count / (count - 1))
    y = away * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        y = y * layer.weight.view(shape) + layer.bias.view(shape)
    return y.to(x.dtype)


@torch.no_grad()
def _follow(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running mean and variance, as torch does."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked += 1
    share = layer.momentum
    if share is None:
        share = 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean.to(layer.running_mean), share)
    layer.running_var.lerp_(variance.to(layer.running_var), share)
