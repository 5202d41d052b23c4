# SPDX-License-Identifier: Apache-2.0
"""One scan in a process of its own: python peak_memory.py CASE FOLDER prints [estimate, peak].

The peak is the resident memory of the whole process, conversion and all, in bytes.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import convsmith as cs
from convsmith.scanning import SyntheticSource
from convsmith.scanning.running.resident import peak


def dilated() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=8, dilation=8),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 8, 4, stride=2, padding=1),
    )


def pointwise() -> nn.Module:
    """Many classes: what waits to be written outweighs the activations."""
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 64, 1))


def volume() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 2, 3, padding=1))


Case = tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, ...], dict[str, Any]]
CASES: dict[str, Case] = {
    "unet": (lambda: cs.models.create("unet_small"), (1, 64, 64), (960, 960), {"core": 400}),
    "small tiles": (
        lambda: cs.models.create("unet_small", width=0.25),
        (1, 64, 64),
        (600, 600),
        {"core": 64, "batch": 8},
    ),
    "lenet": (lambda: cs.models.create("lenet5"), (1, 32, 32), (1200, 1200), {"core": 128}),
    "vgg": (
        lambda: cs.models.create("vgg16", width=0.25),
        (3, 224, 224),
        (700, 700),
        {"core": 8},
    ),
    "dilated": (dilated, (3, 64, 64), (900, 900), {"core": 600}),
    "volume": (volume, (1, 16, 16, 16), (150, 150, 150), {"core": 64}),
    "scores": (pointwise, (3, 64, 64), (1200, 1200), {"core": 400}),
    "probabilities": (
        pointwise,
        (3, 64, 64),
        (1200, 1200),
        {"core": 400, "output": "probabilities"},
    ),
    "labels": (pointwise, (3, 64, 64), (1200, 1200), {"core": 400, "output": "labels"}),
    "topk": (pointwise, (3, 64, 64), (1200, 1200), {"core": 400, "output": "topk"}),
    "patch": (
        lambda: cs.models.create("vgg16", width=0.25),
        (3, 224, 224),
        (320, 320),
        {"promise": "patch"},
    ),
}


def main() -> None:
    build, shape, space, options = CASES[sys.argv[1]]
    torch.set_num_threads(1)
    result = cs.scan(
        build().eval(),
        SyntheticSource((shape[0], *space)),
        sys.argv[2],
        example=torch.zeros(1, *shape),
        preprocess=None,
        memory=2 << 30,
        **options,
    )
    print(json.dumps([result.prospect.estimate.memory_bytes, peak()]))


if __name__ == "__main__":
    main()
