# SPDX-License-Identifier: Apache-2.0
"""Slices of images and channels of zeros inside of a program, against torch's own."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from convsmith import native
from convsmith.errors import NativeError
from convsmith.native.chains import Program, Subsample

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="the compiled core is not built"),
    pytest.mark.usefixtures("target", "poisoned"),
]

ALL = slice(None)
CUTS = [
    (ALL, ALL),
    (slice(None, None, 2), slice(None, None, 2)),
    (slice(1, None, 2), slice(0, -1, 3)),
    (slice(-3, None), slice(-100, 2)),
    (slice(2, 100, 100), slice(1, 2)),
]
CHANNELS = [1, 3, 7, 15, 16, 17, 31, 33, 64, 65, 130]
SIZES = [(1, (7, 5)), (3, (4, 11)), (0, (6, 6)), (2, (3, 2))]


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest, threads_restored: None) -> None:
    torch.set_num_threads(request.param)


def whole(*shape: int) -> Tensor:
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(0)).float()


def computed(step: Subsample, x: Tensor) -> Tensor:
    program = Program([step], 1, [1])
    assert program.serves([x])
    (y,) = program([x], [], [])
    return y


def layouts(x: Tensor) -> Iterator[Tensor]:
    yield x
    yield x.contiguous(memory_format=torch.channels_last)
    yield torch.stack([x, x], -1)[..., 0]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("rows", "columns"), CUTS)
def test_it_is_torchs(rows: slice, columns: slice, channels: int) -> None:
    for n, size in SIZES:
        values = whole(n, channels, *size)
        for before, after in ((0, 0), (channels, 0), (0, 3), (17, 33)):
            step = Subsample(0, (rows,), (columns,), before, after)
            expected = functional.pad(values[:, :, rows, columns], (0, 0, 0, 0, before, after))
            if 0 in expected.shape[2:]:
                assert not Program([step], 1, [1]).serves([values])
                continue
            for x in layouts(values):
                found = computed(step, x)
                assert torch.equal(found, expected)
                assert found.is_contiguous(memory_format=torch.channels_last)


def test_slices_of_slices_and_steps_beyond_every_image() -> None:
    x, far = whole(2, 5, 9, 8), slice(None, None, 2**62)
    step = Subsample(0, (slice(1, None), slice(0, -1, 3)), (far, far))
    assert torch.equal(computed(step, x), x[:, :, 1:][:, :, :-1:3, ::100])


def test_every_bit_of_a_number_stays() -> None:
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-40, -1e-45])
    x = odd.repeat(8).view(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    found = computed(Subsample(0, (slice(None, None, 2),), (slice(1, None),)), x)
    assert torch.equal(found.view(torch.int32), x[:, :, ::2, 1:].view(torch.int32))


@pytest.mark.parametrize("channels", [1, 5, 16, 33])
def test_nothing_around_input_and_output_is_touched(channels: int, between_guards: Tensor) -> None:
    values = whole(2, 6, 7, channels)
    count, y_channels = values.numel(), 3 + channels + 18
    expected = functional.pad(values[:, 1::2, ::3], (3, 18))
    begin, end = between_guards[: expected.numel()], between_guards[-expected.numel() :]
    x_begin, x_end = between_guards[:count], between_guards[-count:]
    for x, y in ((x_begin, end), (x_end, begin)):
        x.copy_(values.flatten())
        y.fill_(float("nan"))
        integers = (2, channels, 6, 7, 1, 0, 2, 3, 3, 3, 3, 18)
        native.run("subsample2d", x.data_ptr(), y.data_ptr(), *integers)
        assert torch.equal(y.view(2, 3, 3, y_channels), expected)


def test_other_numbers_of_axes_and_empty_images_are_left_to_torch() -> None:
    def serves(x: Tensor) -> bool:
        return Program([Subsample(0, (slice(None, None, 2),))], 1, [1]).serves([x])

    x = whole(1, 3, 4, 4)
    assert serves(x)
    assert not serves(x[0])
    assert not serves(x[0, 0])
    assert not serves(x[:, :, :0])
    assert not serves(x.double())


# x, y, n, c, h, w, first_h, first_w, step_h, step_w, out_h, out_w, before, after
GOOD = [0, 0, 0, 4, 5, 5, 0, 1, 2, 2, 3, 2, 1, 1]
MOST = 2**63 - 1


def check_refused(integers: list[int], position: int, value: int, message: str) -> None:
    changed = [*integers[:position], value, *integers[position + 1 :]]
    with pytest.raises(NativeError, match=f"subsample2d refused .*{value}.*: {message}"):
        native.run("subsample2d", *changed)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        *((position, -1) for position in range(2, 14)),
        *((position, 0) for position in (8, 9)),
        *((position, 5) for position in (6, 7)),
        *((position, 4) for position in (10, 11)),  # one more than there are, or two
        *((position, MOST) for position in range(6, 12)),
        (2, 1),  # there is no memory at all
    ],
)
def test_bad_sizes_are_refused_by_value(position: int, value: int) -> None:
    native.run("subsample2d", *GOOD)
    check_refused(GOOD, position, value, "the sizes do not fit together")


@pytest.mark.parametrize("value", [MOST, 2**61])
@pytest.mark.parametrize("position", [2, 3, 4, 5, 12, 13])
def test_sizes_beyond_64_bits_are_refused_by_value(position: int, value: int) -> None:
    of_one_image = [*GOOD[:2], 1, *GOOD[3:]]
    check_refused(of_one_image, position, value, "the sizes overflow 64-bit integers")


def test_sizes_of_which_one_is_zero_touch_no_memory() -> None:
    native.run("subsample2d", 0, 0, 2**40, 0, 2**20, 1, 0, 0, 1, 1, 2**20, 1, 0, 0)
