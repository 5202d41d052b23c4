# SPDX-License-Identifier: Apache-2.0
"""The captured network behaves as a module does, and says why when it refuses."""

import copy
import pickle

import pytest
import torch
from torch import nn

from convsmith.capture import capture
from convsmith.errors import ArgumentError, ShapeError

from .networks import DictOutput, EncoderDecoder, TwoInputs, randn


@torch.no_grad()
def test_module_manners() -> None:
    network = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8)).module
    x = randn(2, 3, 8, 8)
    expected = network(x)
    assert torch.equal(network.train()(x), expected)
    assert torch.equal(network.eval()(x), expected)
    assert torch.equal(copy.deepcopy(network)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(network))(x), expected)
    seen: list[torch.Size] = []
    handle = network.register_forward_hook(lambda module, args, result: seen.append(result.shape))
    network(x)
    handle.remove()
    assert seen == [expected.shape]
    assert network.class_name == "Conv2d"
    assert network.double()(x.double()).dtype is torch.float64


def test_gradients_flow() -> None:
    network = capture(DictOutput(), randn(2, 3, 9, 9)).module
    network(randn(2, 3, 9, 9))["map"].sum().backward()
    assert network.conv.weight.grad.abs().sum() > 0


def test_inputs_that_do_not_fit_are_refused() -> None:
    x, mask = randn(2, 2, 6, 6), randn(2, 4, 6, 6)
    network = capture(TwoInputs(), x, kwargs={"extra": {"mask": mask}, "gain": 2.0}).module
    with pytest.raises(
        ArgumentError, match=r"missing a required argument: 'gain'; its inputs are x"
    ):
        network(x, extra={"mask": mask})
    with pytest.raises(ArgumentError, match=r"the inputs are nested as .*other.*expected .*mask"):
        network(x, extra={"other": mask}, gain=2.0)
    with pytest.raises(ArgumentError, match=r"gain is 3.0, but 2.0 was baked"):
        network(x, extra={"mask": mask}, gain=3.0)


def test_a_skip_by_cat_needs_even_sizes() -> None:
    network = capture(EncoderDecoder(), randn(2, 1, 8, 8)).module
    message = r"inputs x \(1, 1, 8, 9\) do not satisfy `.*2\*\(x.size\(3\) // 2\).*`"
    with pytest.raises(ShapeError, match=message):
        network(randn(1, 1, 8, 9))


def test_failure_at_a_new_size_says_what_was_captured() -> None:
    network = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8)).module
    message = r"fails on inputs of shape \(2, 3, 2, 8\): .*captured at input_1 \(2\*, 3, 8\*, 8\*\)"
    with pytest.raises(ShapeError, match=message):
        network(randn(2, 3, 2, 8))


def test_failure_at_the_size_of_capture_is_torchs_own() -> None:
    network = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8)).module
    with pytest.raises(RuntimeError, match=r"should be the same") as caught:
        network(randn(2, 3, 8, 8).double())
    assert not isinstance(caught.value, ShapeError)


def test_a_network_compiles_and_exports_whole() -> None:
    x = torch.randn(2, 3, 9, 9)
    network = capture(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), x).module
    expected = network(x)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), expected)
    assert torch.equal(torch.export.export(network, (x,), strict=False).module()(x), expected)
