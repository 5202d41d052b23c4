# SPDX-License-Identifier: Apache-2.0
"""What the networks of this folder are made of."""

from collections.abc import Callable
from typing import Any

from torch import nn

from ..definition import Definition


def unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, **options: Any) -> nn.Module:
    """Convolution, batch-norm, ReLU."""
    options.setdefault("padding", kernel // 2)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def on(*shapes: tuple[int, ...]) -> Callable[[Callable[..., nn.Module]], Any]:
    """One definition for each of these options, on inputs of such shapes."""

    def decorated(build: Callable[..., nn.Module]) -> Callable[..., Definition]:
        def definition(**options: Any) -> Definition:
            words = ", ".join(f"{key}={value}" for key, value in options.items())
            return Definition(f"{build.__name__}({words})", lambda: build(**options), list(shapes))

        return definition

    return decorated
