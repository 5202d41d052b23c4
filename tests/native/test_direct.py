# SPDX-License-Identifier: Apache-2.0
"""call_directly is True for plain tensors and False as soon as anything would see the call."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.overrides import BaseTorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from convsmith.native import call_directly

X = torch.ones(2, 3)


@pytest.mark.parametrize(
    "plain",
    [X, X.t(), X[:, ::2], torch.ones(0), X.bfloat16(), torch.nn.Parameter(X, requires_grad=False)],
    ids=["contiguous", "transposed", "strided", "empty", "bfloat16", "parameter"],
)
def test_plain_tensors(plain: Tensor) -> None:
    assert call_directly(plain)
    assert call_directly(plain, plain)


class Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "tensor",
    [
        X.clone().requires_grad_(),
        X.as_subclass(Subclass),
        X.to("meta"),
        X.to_sparse(),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.complex64).conj().imag,  # a real view with the neg bit
        FakeTensorMode().from_tensor(X),
    ],
    ids=["grad", "subclass", "meta", "sparse", "complex", "neg bit", "fake"],
)
def test_other_tensors(tensor: Tensor) -> None:
    assert not call_directly(tensor)
    assert not call_directly(X, tensor)


def test_gradients_matter_only_while_they_are_recorded() -> None:
    parameter = torch.nn.Parameter(X)
    assert not call_directly(parameter)
    with torch.no_grad():
        assert call_directly(parameter)
    with torch.inference_mode():
        assert call_directly(parameter, torch.ones(1))


@pytest.mark.parametrize(
    "watcher",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: FlopCounterMode(display=False),
        BaseTorchFunctionMode,
        forward_ad.dual_level,
        lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
    ],
    ids=["autocast", "dispatch mode", "function mode", "forward mode", "profiler"],
)
def test_nothing_may_watch(watcher: Callable[[], AbstractContextManager[object]]) -> None:
    with watcher():
        assert not call_directly(X)
    assert call_directly(X)


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad, torch.func.jacrev])
def test_functorch_watches(transform: Callable[..., Callable[[Tensor], Tensor]]) -> None:
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(call_directly(X))
        return x.sum()

    transform(function)(torch.ones(3))
    assert seen == [False]


def test_compile_and_export_watch() -> None:
    class Branch(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + (1 if call_directly(x) else 2)

    module = Branch()
    assert torch.equal(module(X), X + 1)
    assert torch.equal(torch.compile(module, fullgraph=True, backend="eager")(X), X + 2)
    assert torch.equal(torch.export.export(module, (X,)).module()(X), X + 2)
