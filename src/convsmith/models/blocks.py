# SPDX-License-Identifier: Apache-2.0
"""What several networks are made of."""

from collections.abc import Callable, Iterator

from torch import nn


def normed(
    layer: nn.Module,
    channels: int,
    *,
    norm: bool,
    activation: Callable[..., nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """A convolution, its batch-norm unless that is folded into it, and an activation if any."""
    parts = [layer]
    if norm:
        parts.append(nn.BatchNorm2d(channels))
    if activation is not None:
        parts.append(activation(inplace=True))
    return nn.Sequential(*parts)


def divisible_by_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, that is not more than a tenth below `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def weighted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every convolution and linear layer with its name, in the order the network runs them."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield name, module


def he_initialized(model: nn.Module) -> None:
    """Draw the weights of convolutions so that ReLU keeps the variance from layer to layer.

    normal(0, sqrt(2 / products per output)); norms and linear layers stay torch's.

    Source: He et al., Delving Deep into Rectifiers, 2015, arXiv:1502.01852, equation 10.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
