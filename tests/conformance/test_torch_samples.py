# SPDX-License-Identifier: Apache-2.0
"""torch's own operator samples, run through convsmith's functions.

torch's test collection takes seconds to import, so all of it is marked slow.
"""

import re
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import convsmith as cs
from convsmith.errors import ConvsmithError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]
DTYPES = [torch.float32, torch.float64]
STRIDED_SAME = "padding='same' is not supported for strided convolutions"


@pytest.fixture(scope="module")
def operators() -> dict[str, Any]:
    """torch's descriptions of its operators, by name."""
    pytest.importorskip("expecttest", reason="torch's own test collection needs expecttest")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, not ours
        from torch.testing._internal.common_methods_invocations import op_db
    return {
        operator.name.removeprefix("nn.functional."): operator
        for operator in op_db
        if operator.name.startswith("nn.functional.") and not operator.variant_test_name
    }


def samples(operator: Any, dtype: torch.dtype) -> list[SimpleNamespace]:
    return list(operator.sample_inputs("cpu", dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d"])
def test_convolution_samples(operators: dict, name: str, dtype: torch.dtype) -> None:
    operator = operators[name]
    seen = samples(operator, dtype)
    for sample in seen:
        expected = operator.op(sample.input, *sample.args, **sample.kwargs)
        y = getattr(cs, name)(sample.input, *sample.args, **sample.kwargs)
        assert y.dtype == dtype
        torch.testing.assert_close(y, expected)
    assert len(seen) >= 10
    paddings = [sample.kwargs.get("padding") for sample in seen]
    assert "same" in paddings
    assert "valid" in paddings
    assert any(sample.kwargs.get("groups", 1) > 1 for sample in seen)
    assert any(sample.input.ndim == int(name[4]) + 1 for sample in seen), "unbatched"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_convolution_samples(operators: dict, axes: int, dtype: torch.dtype) -> None:
    name = f"conv_transpose{axes}d"
    operator = operators[name]
    seen = samples(operator, dtype)
    for sample in seen:
        expected = operator.op(sample.input, *sample.args, **sample.kwargs)
        y = getattr(cs, name)(sample.input, *sample.args, **sample.kwargs)
        assert y.dtype == dtype
        torch.testing.assert_close(y, expected)
    assert len(seen) >= 10
    assert any(sample.kwargs.get("groups", 1) > 1 for sample in seen)
    assert any(sample.input.ndim == axes + 1 for sample in seen), "unbatched"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_samples(operators: dict, axes: int, dtype: torch.dtype) -> None:
    """Unpooling is `unpool_conv` with a 1x1 identity kernel."""
    operator = operators[f"max_unpool{axes}d"]
    seen = samples(operator, dtype)
    for sample in seen:
        (indices,) = sample.args
        expected = operator.op(sample.input, indices, **sample.kwargs)
        assert torch.equal(unpool(axes, sample.input, indices, sample.kwargs), expected)
    assert len(seen) >= 90


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d"])
def test_convolution_error_inputs(operators: dict, name: str) -> None:
    """The same type of exception; the text is torch's where the error is, else it has numbers."""
    seen = list(operators[name].error_inputs("cpu"))
    for wrong in seen:
        sample = wrong.sample_input
        if STRIDED_SAME in wrong.error_regex:  # convsmith has what torch refuses
            y = getattr(cs, name)(sample.input, *sample.args, **sample.kwargs)
            stride = sample.kwargs["stride"]
            assert all(
                m == -(-n // stride)
                for m, n in zip(y.shape[2:], sample.input.shape[2:], strict=True)
            )
            continue
        with pytest.raises(wrong.error_type) as raised:
            getattr(cs, name)(sample.input, *sample.args, **sample.kwargs)
        ours = isinstance(raised.value, ConvsmithError)
        assert re.search(r"\d" if ours else wrong.error_regex, str(raised.value)), wrong.error_regex
    assert len(seen) >= 10


def unpool(axes: int, x: Tensor, indices: Tensor, options: dict[str, Any]) -> Tensor:
    channels = x.shape[-axes - 1]
    identity = torch.eye(channels, dtype=x.dtype).reshape(channels, channels, *(1,) * axes)
    return getattr(cs, f"unpool_conv{axes}d")(
        x,
        indices,
        identity,
        pool=options["kernel_size"],
        pool_stride=options["stride"],
        pool_padding=options["padding"],
        output_size=options.get("output_size"),
    )
