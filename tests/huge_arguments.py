# SPDX-License-Identifier: Apache-2.0
"""Builds and calls every family's layers with huge arguments; run by test_bad_input.py on its own.

Prints one line before each attempt, so that a crash names its cause, and one after it: `right` when
the result has the shape that integers give, `refused` with the error, `wrong` for anything else.
"""

import inspect

import torch
from torch import nn

import convsmith.convs  # noqa: F401  (registers the families)
from convsmith.errors import ConvsmithError, ShapeError
from convsmith.family import Family, families

GOOD = {
    "in_channels": 2,
    "out_channels": 2,
    "channels": 2,
    "kernel_size": 3,
    "group_channels": 1,
    "input_size": (8, 8),
    "table": [(0, 0), (1, 1)],
}
HUGE = {
    "meta": [2**31, 2**40, 2**55, 2**62],
    "cpu": [2**40, 2**55, 2**62],  # nothing that a large machine could really allocate
}
NAMES = {*GOOD, "stride", "padding", "dilation", "groups", "depth_multiplier", "output_padding"}
NAMES |= {"pool", "pool_stride", "pool_padding", "rank"}
NAMES -= {"table"}


def attempt(family: Family, axes: int, layer: type[nn.Module], device: str, huge: dict) -> str:
    parameters = inspect.signature(layer).parameters
    given = {name: GOOD[name] for name in parameters if name in GOOD} | huge
    try:
        built = layer(**given, device=device).eval()
        x = torch.ones(1, built.geometry.in_channels, *(8,) * axes, device=device)
        others = (torch.zeros_like(x, dtype=torch.int64),) if "pool" in parameters else ()
        y = built(x, *others)
    except (ConvsmithError, RuntimeError, ValueError, TypeError) as error:
        return f"refused {type(error).__name__}: {str(error).splitlines()[0][:100]}"
    try:
        expected = family.output_shape(built.geometry, tuple(x.shape))
    except ShapeError as error:
        return f"wrong {huge} on {device}: {layer.__name__} gave {tuple(y.shape)} for {error}"
    right = tuple(y.shape) == expected
    return f"{'right' if right else 'wrong'} {layer.__name__} {tuple(y.shape)} {expected}"


def main() -> None:
    torch.set_num_threads(1)
    for family in families().values():
        for axes, layer in family.layers.items():
            names = [name for name in inspect.signature(layer).parameters if name in NAMES]
            for device, values in HUGE.items():
                for huge in ({name: value} for name in names for value in values):
                    print("trying", layer.__name__, device, huge, flush=True)
                    print(attempt(family, axes, layer, device, huge), flush=True)
    print("done")


if __name__ == "__main__":
    main()
