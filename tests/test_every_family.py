# SPDX-License-Identifier: Apache-2.0
"""The contract, asked of every registered family on its own samples: a family that registers is
tested.
"""

import copy
import io
import pickle
import re
from importlib.resources import files
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import convsmith.convs
from convsmith.family import Family, Sample, families, recognize

CASES = [(family, sample) for family in families().values() for sample in family.samples()]
every_case = pytest.mark.parametrize(
    ("family", "sample"), CASES, ids=[f"{family.name}: {sample.name}" for family, sample in CASES]
)
every_family = pytest.mark.parametrize("family", families().values(), ids=families().keys())


def integers(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Small integers: every product and sum of a sample is exact in float32."""
    return torch.randint(-4, 5, shape).to(dtype)


def with_integer_weights(sample: Sample, dtype: torch.dtype = torch.float32) -> nn.Module:
    layer = sample.layer(dtype=dtype).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(integers(tuple(parameter.shape)))
    return layer


def inputs_of(sample: Sample, layer: nn.Module, dtype: torch.dtype = torch.float32) -> tuple:
    return sample.inputs(layer, integers(sample.input_shape, dtype))


def is_exact(family: Family) -> bool:
    """Whether small integers stay integers all the way: not where a layer generates its kernels
    through a norm.
    """
    return not any(
        isinstance(m, nn.modules.batchnorm._BatchNorm)
        for s in family.samples()
        for m in s.layer().modules()
    )


def assert_same(family: Family, actual: Tensor, expected: Tensor) -> None:
    """Bit for bit where the numbers are integers, else within the rounding of another order of
    summation.
    """
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if is_exact(family):
        assert torch.equal(actual, expected)
    else:
        torch.testing.assert_close(actual, expected)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_op_is_its_reference(family: Family, sample: Sample, dtype: torch.dtype) -> None:
    layer = with_integer_weights(sample, dtype)
    inputs = inputs_of(sample, layer, dtype)
    expected = family.apply(family.reference, layer, *inputs)
    axes = layer.geometry.spatial_axes
    assert_same(family, family.apply(family.ops[axes], layer, *inputs), expected)
    assert_same(family, layer(*inputs), expected)
    assert expected.abs().max() > 0


@every_case
def test_bfloat16_is_the_rounded_result(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample, torch.bfloat16)
    inputs = inputs_of(sample, layer, torch.bfloat16)
    y = layer(*inputs)
    assert y.dtype == torch.bfloat16
    exact = copy.deepcopy(layer).double()(
        *(t.double() if t.is_floating_point() else t for t in inputs)
    )
    # Each stage rounds its result to 8 bits (at most half an ulp: 2^-9 of the largest value).
    stages = sum(1 for _ in layer.parameters())
    scale = exact.abs().max().item()
    assert (y.double() - exact).abs().max().item() <= stages * 2**-8 * max(scale, 1.0)


@every_case
def test_gradients(family: Family, sample: Sample) -> None:
    layer = sample.layer(dtype=torch.float64).eval()
    x, *others = inputs_of(sample, layer, torch.float64)
    x = torch.randn_like(x).requires_grad_()
    x, *others = sample.inputs(layer, x)
    parameters = list(layer.parameters())

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        names = [name for name, _ in layer.named_parameters()]
        return torch.func.functional_call(
            layer, dict(zip(names, weights, strict=True)), (x, *others)
        )

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


@every_case
def test_output_shape_from_integers(family: Family, sample: Sample) -> None:
    layer = sample.layer()
    inputs = inputs_of(sample, layer)
    assert family.output_shape(layer.geometry, sample.input_shape) == tuple(layer(*inputs).shape)


class CountedLoop(TorchDispatchMode):
    """Keeps, of every multiplication a reference makes, whether both operands are not zero (not
    padding).
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: list[Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul.Tensor and result.is_floating_point():
            self.live.append(result != 0)
        return result


def draws(sample: Sample) -> range:
    """Once; but where further inputs (indices) may be drawn anew each time, often enough that they
    point to every place they can.
    """
    return range(64 if sample.further_inputs else 1)


@every_case
def test_macs_are_those_of_a_counted_loop(family: Family, sample: Sample) -> None:
    layer = sample.layer().eval()
    live: list[Tensor] = []
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
        for _ in draws(sample):
            inputs = sample.inputs(layer, torch.ones(sample.input_shape))
            with FlopCounterMode(display=False) as torch_flops, CountedLoop() as counted:
                family.apply(family.reference, layer, *inputs)
            live = [a | b for a, b in zip(live or counted.live, counted.live, strict=True)]
    elsewhere = (
        torch_flops.get_total_flops() // 2
    )  # a kernel generator's own convolutions, as torch counts them
    macs = family.macs(layer.geometry, sample.input_shape)
    assert macs.all == sum(taps.numel() for taps in live) + elsewhere
    assert macs.live == sum(int(taps.sum()) for taps in live) + elsewhere
    assert 0 < macs.live <= macs.all


@every_case
def test_the_cone_holds_all_that_a_nan_reaches(family: Family, sample: Sample) -> None:
    if family.cone is None:
        pytest.skip(family.unsupported["cone"])
    layer = sample.layer().eval()
    axes = layer.geometry.spatial_axes
    sizes = sample.input_shape[-axes:]
    cones = family.cone(layer.geometry, sample.input_shape)
    assert len(cones) == axes
    for axis, (size, cone) in enumerate(zip(sizes, cones, strict=True)):
        reached: dict[int, set[int]] = {}
        for _, position in product(draws(sample), range(size)):
            x = torch.zeros(sample.input_shape)
            inputs = sample.inputs(
                layer, x
            )  # made before the NaN: indices of a pooling stay what they were
            x.movedim(axis - axes, 0)[position] = float("nan")
            y = layer(*inputs).detach()
            others = [d for d in range(y.ndim) if d != y.ndim + axis - axes]
            for j in y.isnan().any(dim=others).nonzero().flatten().tolist():
                reached.setdefault(j, set()).add(position)
        outputs = y.shape[axis - axes]
        assert reached
        for j in range(outputs):
            interval = cone.inputs(j)
            seen = reached.get(j, set())
            if interval is None:
                assert not seen
                continue
            first, last = interval
            assert cone.stride * j + cone.a <= first
            assert last <= cone.stride * j + cone.b
            assert all(first <= position <= last for position in seen)
            if first >= 0 and last < size:  # nothing lies in padding: both ends are read
                assert {first, last} <= seen, (j, interval, seen)


@every_case
def test_the_most_specific_family_recognizes_its_geometry(family: Family, sample: Sample) -> None:
    assert recognize(sample.layer().geometry).name == family.name


@every_case
def test_layers_behave_as_torch_layers(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample)
    inputs = inputs_of(sample, layer)
    expected = layer(*inputs)
    assert torch.equal(copy.deepcopy(layer)(*inputs), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(*inputs), expected)
    other = sample.layer().eval()
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(*inputs), expected)
    assert next(sample.layer(dtype=torch.float64).parameters()).dtype == torch.float64
    assert sample.layer(device="meta").to_empty(device="cpu")(*inputs).shape == expected.shape
    assert repr(layer).startswith(type(layer).__name__)
    assert type(layer) in family.layers.values() or isinstance(layer, tuple(family.layers.values()))


@every_case
def test_the_twin_of_torch_has_the_same_state_dict(family: Family, sample: Sample) -> None:
    if sample.twin is None:
        pytest.skip("torch has no layer for this case")
    layer, twin = with_integer_weights(sample), sample.twin()
    assert [(k, v.shape) for k, v in layer.state_dict().items()] == [
        (k, v.shape) for k, v in twin.state_dict().items()
    ]
    twin.load_state_dict(layer.state_dict())
    inputs = inputs_of(sample, layer)
    assert torch.equal(twin(*inputs), layer(*inputs))
    again = sample.layer()
    again.load_state_dict(twin.state_dict())
    assert torch.equal(again(*inputs), layer(*inputs))


@every_case
def test_any_layout_gives_the_same_result(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample)
    x, *others = inputs_of(sample, layer)
    expected = layer(x, *others)
    strided = torch.empty(*x.shape[:-1], 2 * x.shape[-1])[..., ::2].copy_(x)
    assert_same(family, layer(strided, *others), expected)
    expanded = x[:1].expand_as(x)
    assert_same(family, layer(expanded, *others), layer(expanded.contiguous(), *others))
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    if layout is not None:
        assert_same(
            family,
            copy.deepcopy(layer).to(memory_format=layout)(x.to(memory_format=layout), *others),
            expected,
        )


@every_case
def test_unbatched_and_empty_batches(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample)
    x, *others = inputs_of(sample, layer)
    expected = layer(x, *others)
    assert_same(family, layer(x[0], *(t[0] for t in others)), expected[0])
    empty = layer(x[:0], *(t[:0] for t in others))
    assert empty.shape == (0, *expected.shape[1:])


@every_case
def test_threads_do_not_change_the_result(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample)
    inputs = inputs_of(sample, layer)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(layer(*inputs))
    finally:
        torch.set_num_threads(threads)
    assert_same(family, *results)


@every_case
def test_compile_takes_the_whole_graph(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample)
    inputs = inputs_of(sample, layer)
    torch._dynamo.reset()
    assert_same(
        family, torch.compile(layer, fullgraph=True, backend="aot_eager")(*inputs), layer(*inputs)
    )


@every_case
def test_export_gives_the_same_result(family: Family, sample: Sample) -> None:
    layer = with_integer_weights(sample)
    inputs = inputs_of(sample, layer)
    assert_same(
        family, torch.export.export(layer, inputs, strict=False).module()(*inputs), layer(*inputs)
    )


@every_case
def test_wrong_input_is_a_clear_error(family: Family, sample: Sample) -> None:
    layer = sample.layer()
    x, *others = inputs_of(sample, layer)
    wrong_channels = torch.zeros(x.shape[0], x.shape[1] + 1, *x.shape[2:])
    for wrong in (wrong_channels, x[0, 0], x[None, None]):
        with pytest.raises((RuntimeError, ValueError)) as raised:
            layer(wrong, *others)
        assert re.search(r"\d", str(raised.value)), f"an error without a number: {raised.value}"


@every_family
def test_the_contract_is_whole(family: Family) -> None:
    assert family.samples(), "a family shows itself on samples"
    axes_shown = {sample.layer().geometry.spatial_axes for sample in family.samples()}
    assert axes_shown == set(family.layers), "every layer has a sample"
    assert re.search(r"\d{4}", family.source), "the source has a year"
    for public in (*family.layers.values(), *family.ops.values()):
        assert public.__name__ in convsmith.convs.__all__
        assert ">>>" in (public.__doc__ or ""), f"{public.__name__} has no runnable example"
    picture = family.picture and family.picture(family.samples()[0].layer().geometry)
    assert picture is None or (picture.channels and all(picture.taps))


@every_family
def test_the_readme_explains_the_family(family: Family) -> None:
    module = family.reference.__module__.rsplit(".", 1)[0]
    text = files(module).joinpath("README.md").read_text()
    for heading in ("## Formula", "## Drawing", "## When to use it", "## Cost", "## Source"):
        assert heading in text
    for op in family.ops.values():
        assert op.__name__ in text
