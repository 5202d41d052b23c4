# SPDX-License-Identifier: Apache-2.0
"""The border: what is refused before a kernel runs, and what `info` tells."""

import pytest
import torch

from convsmith import native
from convsmith.errors import NativeError
from convsmith.native import core

needs_core = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


def test_info_is_plain_data() -> None:
    info = native.info()
    assert info["available"] == native.available()
    assert info["threads"] == torch.get_num_threads()
    assert set(info["targets_supported"]) <= set(info["targets_compiled"])
    if native.available():
        assert info["target"] in info["targets_supported"]
        assert info["extension"]


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(NativeError, match=r"no kernel 'convolve9d' \(there are: "):
        native.run("convolve9d", 1, 2)


def test_without_the_core_every_kernel_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_core", None)
    assert not native.available()
    assert native.info()["target"] is None
    with pytest.raises(NativeError, match=r"no kernel 'involution2d' .*available\(\) first"):
        native.run("involution2d")


@needs_core
def test_a_wrong_number_of_integers_is_refused() -> None:
    with pytest.raises(NativeError, match=r"involution2d was called with \(1, 2\): wrong number"):
        native.run("involution2d", 1, 2)


# x, kernels, y, n, c, h, w, groups, kernel, out, stride, top and left, dilation
GOOD = [0, 0, 0, 0, 4, 5, 5, 2, 3, 3, 5, 5, 1, 1, 1, 1, 1, 1]


@needs_core
def test_an_empty_batch_touches_no_memory() -> None:
    native.run("involution2d", *GOOD)


@needs_core
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (4, 5, "the sizes do not fit together"),  # five channels in two groups
        (5, -1, "the sizes do not fit together"),
        (7, 0, "the sizes do not fit together"),
        (12, 0, "the sizes do not fit together"),
        (3, 2**62, "the sizes overflow 64-bit integers"),
        (14, 2**63 - 1, "the sizes overflow 64-bit integers"),
        (16, 2**62, "the sizes overflow 64-bit integers"),
    ],
)
def test_bad_sizes_are_refused_by_value(position: int, value: int, message: str) -> None:
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"refused .*{value}.*: {message}"):
        native.run("involution2d", *integers)


@needs_core
def test_an_integer_beyond_64_bits_is_refused() -> None:
    with pytest.raises(NativeError, match=f"was called with .*{2**64}"):
        native.run("involution2d", *GOOD[:-1], 2**64)
