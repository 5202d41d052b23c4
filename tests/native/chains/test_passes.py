# SPDX-License-Identifier: Apache-2.0
"""Pooling, addition and concatenation inside of a program, against torch's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from convsmith import native
from convsmith.geometry import PoolingGeometry
from convsmith.native.chains import Add, Concat, Pool, Program, Step

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="the compiled core is not built"),
    pytest.mark.usefixtures("target", "poisoned"),
]

INF, NAN = float("inf"), float("nan")


def whole(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-8, 9, shape, generator=generator).float()


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest, threads_restored: None) -> None:
    torch.set_num_threads(request.param)


def computed(step: Step, *inputs: Tensor) -> Tensor:
    program = Program([step], len(inputs), [len(inputs)])
    assert program.serves(inputs)
    (y,) = program(inputs, [], [])
    return y


def layouts(x: Tensor) -> list[Tensor]:
    return [
        x,
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        torch.stack([x, x], -1)[..., 0],
    ]


WINDOWS = [
    {"kernel_size": (2, 2)},
    {"kernel_size": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))},
    {"kernel_size": (3, 2), "stride": (1, 3), "padding": ((1, 1), (0, 0))},
    {"kernel_size": (3, 3), "stride": (2, 2), "ceil_mode": True},
    {"kernel_size": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1)), "ceil_mode": True},
    {"kernel_size": (5, 4), "stride": (1, 1), "padding": ((2, 2), (2, 2))},
]
CHANNELS = [1, 3, 7, 15, 16, 17, 31, 33, 64, 65, 130]


def torch_arguments(window: PoolingGeometry) -> tuple[Any, ...]:
    assert window.padding != "same"
    return window.kernel_size, window.stride, tuple(p for p, _ in window.padding)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("given", WINDOWS)
@pytest.mark.parametrize("kind", ["max", "mean", "mean with padding"])
def test_a_pool_is_torchs(channels: int, given: dict[str, Any], kind: str) -> None:
    window = PoolingGeometry(**given)
    kernel, stride, padding = torch_arguments(window)
    step = Pool(0, kind, window)
    for n, size in ((1, (7, 5)), (3, (4, 11)), (0, (6, 6))):
        x = whole(n, channels, *size)
        if kind == "max":
            expected = functional.max_pool2d(x, kernel, stride, padding, ceil_mode=window.ceil_mode)
        else:
            expected = functional.avg_pool2d(
                x, kernel, stride, padding, window.ceil_mode, kind != "mean"
            )
        for x_laid in layouts(x):
            assert torch.equal(computed(step, x_laid), expected)


def test_a_dilated_maximum_may_miss_a_small_image() -> None:
    window = PoolingGeometry(kernel_size=(3, 3), padding=((1, 1), (1, 1)), dilation=(2, 2))
    x = whole(1, 5, 4, 3)
    expected = functional.max_pool2d(x, 3, 3, 1, 2)
    assert torch.equal(computed(Pool(0, "max", window), x), expected)


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 1), (3, 3)])
@pytest.mark.parametrize("odd", [NAN, INF, -INF])
def test_what_is_no_number_goes_where_torch_sends_it(place: tuple[int, int], odd: float) -> None:
    x = whole(1, 18, 4, 4)
    x[:, ::3, place[0], place[1]] = odd
    window = PoolingGeometry(kernel_size=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1)))
    for kind, ours in (
        ("max", functional.max_pool2d),
        ("mean with padding", functional.avg_pool2d),
    ):
        found = computed(Pool(0, kind, window), x)
        torch.testing.assert_close(found, ours(x, 3, 1, 1), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_mean_of_a_whole_image(channels: int, flat: bool) -> None:
    x = whole(2, channels, 4, 8)
    mean = functional.adaptive_avg_pool2d(x, 1)  # of 32 whole numbers: exact
    found = computed(Pool(0, "mean", flat=flat), x)
    assert torch.equal(found, mean.flatten(1) if flat else mean)


@pytest.mark.parametrize(
    ("activation", "ours"),
    [("none", lambda x: x), ("relu", functional.relu), ("relu6", functional.relu6)],
)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (0, 3, 2, 2), (1, 16, 4), (3, 33)])
def test_a_sum(activation: str, ours: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    a, b = whole(*shape, seed=1), whole(*shape, seed=2)
    assert torch.equal(computed(Add(0, 1, activation), a, b), ours(a + b))
    assert torch.equal(computed(Add(0, 0, activation), a), ours(a + a))


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (0, 3, 2, 2), (1, 16, 4), (3, 33)])
def test_a_concatenation(shape: tuple[int, ...]) -> None:
    n, _, *size = shape
    parts = [whole(n, channels, *size, seed=channels) for channels in (1, 16, 0, 33)]
    found = computed(Concat((0, 1, 2, 3, 1)), *parts)
    assert torch.equal(found, torch.cat([*parts, parts[1]], 1))


IMAGE = whole(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("step", "inputs"),
    [
        (Pool(0, "max", PoolingGeometry(kernel_size=(5, 5))), [IMAGE]),  # torch refuses it
        (Pool(0, "mean"), [IMAGE[0]]),  # (C, H, W): no batch
        (Pool(0, "mean"), [IMAGE[:, :, :0]]),
        (Add(0, 1), [IMAGE, IMAGE[:, :1]]),  # torch broadcasts
        (Add(0, 1), [IMAGE[:, :, :1], IMAGE[:, :, 0]]),
        (Concat((0, 1)), [IMAGE, IMAGE[:, :, :2]]),
        (Add(0, 1), [IMAGE, IMAGE.double()]),
    ],
)
def test_what_it_does_not_serve_is_left_to_torch(step: Step, inputs: list[Tensor]) -> None:
    assert not Program([step], len(inputs), [len(inputs)]).serves(inputs)
