# SPDX-License-Identifier: Apache-2.0
"""Bad input to every family's layers is a clear error or torch's own answer, never a crash.

Each layer is built from its own signature, so a family that registers is asked too.
"""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
import convsmith.convs
from convsmith.errors import ArgumentError, ConvsmithError, ShapeError
from convsmith.family import Family, Sample, families

# What a caller may meet: ours (each also a builtin below) or torch's own for the same mistake.
ANSWERS = (ConvsmithError, RuntimeError, ValueError, TypeError)
NAN = float("nan")

GOOD = {
    "in_channels": 4,
    "out_channels": 4,
    "channels": 16,
    "kernel_size": 3,
    "group_channels": 2,
    "input_size": (8, 8),
    "table": [(i, i) for i in range(4)],
    "channels_1x1": 2,
    "reduce_3x3": 2,
    "channels_3x3": 2,
    "reduce_5x5": 2,
    "channels_5x5": 2,
    "channels_pool": 2,
}
COUNT = [0, -1, NAN, 1.5, True, 2**63]
BAD = {
    "in_channels": COUNT,
    "out_channels": COUNT,
    "channels": COUNT,
    "kernel_size": [*COUNT, None, "3", (3, 3, 3, 3)],
    "stride": [*COUNT, "2", (1, 1, 1, 1)],
    "padding": [-1, NAN, 1.5, True, 2**63, "full", None],
    "dilation": [*COUNT, (1, 1, 1, 1)],
    "groups": [*COUNT, 3],
    "depth_multiplier": COUNT,
    "output_padding": [-1, NAN, 7],
    "pool": COUNT,
    "pool_stride": COUNT,
    "pool_padding": [-1, NAN],
    "group_channels": [0, -1, NAN, 3],
    "reduction": [0, -1, NAN],
    "num_heads": [0, -1, NAN, 3],
    "rank": [0, -1, NAN, True],
    "input_size": COUNT,
    "method": ["other"],
    "padding_mode": ["nothing"],
}


def public_layers() -> list[type[nn.Module]]:
    exported = [getattr(convsmith.convs, name) for name in convsmith.convs.__all__]
    return [e for e in exported if inspect.isclass(e) and issubclass(e, nn.Module)]


def good_arguments(layer: type[nn.Module]) -> dict[str, Any]:
    """Those the layer asks for, and a group size that divides the few channels here."""
    parameters = inspect.signature(layer).parameters
    needed = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]
    if "group_channels" in parameters:
        needed.append("group_channels")
    return {name: GOOD[name] for name in needed if name in GOOD}


def bad_arguments() -> Iterator[tuple[type[nn.Module], str, Any]]:
    for layer in public_layers():
        for name in inspect.signature(layer).parameters:
            for value in BAD.get(name, []):
                yield layer, name, value


@pytest.mark.parametrize("layer", public_layers())
def test_the_good_arguments_are_good(layer: type[nn.Module]) -> None:
    layer(**good_arguments(layer))


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [pytest.param(*case, id=f"{case[0].__name__}-{case[1]}={case[2]}") for case in bad_arguments()],
)
def test_a_bad_argument_is_refused_with_its_value(
    layer: type[nn.Module], name: str, value: Any
) -> None:
    with pytest.raises((ConvsmithError, ValueError)) as raised:
        layer(**(good_arguments(layer) | {name: value}))
    if name == "padding_mode":  # torch's layers check it themselves, in their own words
        assert "padding" in str(raised.value)
        return
    assert isinstance(raised.value, ConvsmithError)
    assert repr(value) in str(raised.value)


def first_samples() -> list[Any]:
    """One sample of each family for each number of axes."""
    chosen: dict[tuple[str, int], tuple[Family, Sample]] = {}
    for family in families().values():
        for sample in family.samples():
            key = (family.name, sample.layer(device="meta").geometry.spatial_axes)
            chosen.setdefault(key, (family, sample))
    return [pytest.param(*pair, id=f"{name} {axes}d") for (name, axes), pair in chosen.items()]


every_layer = pytest.mark.parametrize(("family", "sample"), first_samples())

WRONG_TENSORS: dict[str, Callable[[Tensor], Any]] = {
    "one axis too few, no batch": lambda t: t[0, 0],
    "one axis too many": lambda t: t[None],
    "no axes": lambda t: t.flatten()[0],
    "no channels": lambda t: t[:, :0],
    "one channel too many": lambda t: torch.cat([t, t[:, :1]], 1),
    "empty spatial axis": lambda t: t[..., :0],
}
WRONG_KINDS: dict[str, Callable[[Tensor], Any]] = {
    "integers": lambda t: t.long(),
    "booleans": lambda t: t.bool(),
    "another float": lambda t: t.double(),
    "complex": lambda t: t.to(torch.complex64),
    "sparse": lambda t: t.to_sparse(),
    "an array": lambda t: t.numpy(),
}


@every_layer
@pytest.mark.parametrize("wrong", WRONG_TENSORS)
def test_a_wrong_shape_is_refused_with_its_numbers(
    family: Family, sample: Sample, wrong: str
) -> None:
    layer = sample.layer().eval()
    inputs = sample.inputs(layer, torch.randn(sample.input_shape))
    with pytest.raises((RuntimeError, ValueError)) as raised:
        layer(*map(WRONG_TENSORS[wrong], inputs))
    assert re.search(r"\d|\[\]|\(\)", str(raised.value)), raised.value


@every_layer
@pytest.mark.parametrize("wrong", WRONG_KINDS)
def test_a_wrong_kind_is_refused(family: Family, sample: Sample, wrong: str) -> None:
    layer = sample.layer().eval()
    x, *others = sample.inputs(layer, torch.randn(sample.input_shape))
    with pytest.raises((*ANSWERS, AttributeError), match=r"."):  # an array lacks what tensors have
        layer(WRONG_KINDS[wrong](x), *others)


@every_layer
def test_every_small_size_is_right_or_refused(family: Family, sample: Sample) -> None:
    """Kernels larger than the padded input among them: layer and integers refuse the same."""
    layer = sample.layer().eval()
    axes = layer.geometry.spatial_axes
    for size in range(1, 6):
        shape = (*sample.input_shape[:-axes], *(size,) * axes)
        try:
            inputs = sample.inputs(layer, torch.randn(shape))
        except RuntimeError:  # no pooling of that size to take indices from
            continue
        try:
            expected = family.output_shape(layer.geometry, shape)
        except ShapeError:
            with pytest.raises(ANSWERS, match=r"\d"):
                layer(*inputs)
        else:
            assert tuple(layer(*inputs).shape) == expected


@every_layer
def test_an_empty_batch_is_an_empty_result(family: Family, sample: Sample) -> None:
    layer = sample.layer().eval()
    shape = (0, *sample.input_shape[1:])
    inputs = (t[:0] for t in sample.inputs(layer, torch.randn(sample.input_shape)))
    y = layer(*inputs)
    assert tuple(y.shape) == family.output_shape(layer.geometry, shape)
    assert y.numel() == 0


FUNCTIONS = [cs.conv1d, cs.conv2d, cs.conv3d]
FUNCTIONS += [cs.depthwise_conv1d, cs.depthwise_conv2d, cs.depthwise_conv3d]
FUNCTIONS += [cs.conv_transpose1d, cs.conv_transpose2d, cs.conv_transpose3d]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stride": 0}, ShapeError, "stride: 0 must be at least 1"),
        ({"stride": NAN}, ArgumentError, "stride: nan must be an integer"),
        ({"padding": -1}, ShapeError, "padding: -1 must be at least 0"),
        ({"padding": 0.5}, ArgumentError, "padding: 0.5 must be an integer"),
        ({"padding": "full"}, ArgumentError, "padding: 'full' must be 'same', 'valid'"),
        ({"dilation": 0}, ShapeError, "dilation: 0 must be at least 1"),
        ({"dilation": True}, ArgumentError, "dilation: True must be an integer"),
    ],
)
def test_functions_refuse_the_same(
    function: Callable[..., Tensor], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    axes = int(function.__name__[-2])
    x, weight = torch.ones(1, 1, *(8,) * axes), torch.ones(1, 1, *(3,) * axes)
    with pytest.raises(error, match=re.escape(message)):
        function(x, weight, **options)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_refuse_a_dilation_that_overflows(function: Callable[..., Tensor]) -> None:
    axes = int(function.__name__[-2])
    x, weight = torch.ones(1, 1, *(8,) * axes), torch.ones(1, 1, *(3,) * axes)
    with pytest.raises(RuntimeError, match=rf"{2**63 + 1} does not fit|dilation should be greater"):
        function(x, weight, dilation=2**62)


@pytest.mark.slow
def test_huge_arguments_end_in_a_result_or_an_error_not_in_a_crash() -> None:
    """In a process of its own: a crash would take this one along."""
    script = Path(__file__).with_name("huge_arguments.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True, timeout=280
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    assert lines[-1] == "done"
    wrong = [line for line in lines if line.startswith("wrong")]
    assert not wrong, wrong
    assert sum(line.startswith("right") for line in lines) >= 100
    assert sum(line.startswith("refused") for line in lines) >= 500
