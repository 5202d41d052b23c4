# SPDX-License-Identifier: Apache-2.0
"""`torch.ops.convsmith.convolutions`: one operator for every kernel, right in every case."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import convsmith.convs
from convsmith import native
from convsmith.errors import NativeError, ShapeError
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, ChainCall, Stage, by_torch, chain_kernels, run_chain
from convsmith.native.core import index_of

needs_core = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")
assert convsmith.convs  # its import registers the kernels

POINTWISE = Geometry(in_channels=5, out_channels=7, kernel_size=(1, 1))


def whole(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).float()


def separable(
    x: Tensor, w: list[Tensor], b: list[Tensor | None], residual: Tensor | None
) -> Tensor:
    options = ([1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1], [4, 1], ["relu", "none"])
    given, has_bias = [bias for bias in b if bias is not None], [bias is not None for bias in b]
    return torch.ops.convsmith.convolutions(x, w, given, residual, has_bias, *options, "separable")


def tensors(dtype: torch.dtype = torch.float32) -> tuple[Tensor, list[Tensor], list[Tensor | None]]:
    weights = [whole(4, 1, 3, 3, seed=1).to(dtype), whole(6, 4, 1, 1, seed=2).to(dtype)]
    return whole(2, 4, 6, 5).to(dtype), weights, [None, whole(6, seed=3).to(dtype)]


def spelt_out(
    x: Tensor, w: list[Tensor], b: list[Tensor | None], residual: Tensor | None
) -> Tensor:
    y = functional.conv2d(functional.relu(functional.conv2d(x, w[0], b[0], 1, 1, 1, 4)), w[1], b[1])
    return y if residual is None else y + residual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_torch_in_every_dtype(dtype: torch.dtype) -> None:
    x, weights, biases = tensors(dtype)
    residual = whole(2, 6, 6, 5, seed=4).to(dtype)
    y = separable(x, weights, biases, residual)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, spelt_out(x, weights, biases, residual))


def test_an_unknown_kernel_is_left_to_torch() -> None:
    x, weights, _ = tensors()
    options = ([1, 1], [1, 1, 1, 1], [1, 1], [4], ["silu"])
    y = torch.ops.convsmith.convolutions(x, weights[:1], [], None, [False], *options, "of tomorrow")
    wanted = functional.silu(functional.conv2d(x, weights[0], None, 1, 1, 1, 4))
    torch.testing.assert_close(y, wanted)


def test_asymmetric_padding_by_torch() -> None:
    x, weight = whole(1, 2, 5, 5), whole(3, 2, 3, 3, seed=1)
    y = by_torch(x, [weight], [None], None, [2, 2], [0, 1, 2, 0], [1, 1], [1], ["none"])
    wanted = functional.conv2d(functional.pad(x, (2, 0, 0, 1)), weight, stride=2)
    assert torch.equal(y, wanted)


def test_gradients_are_those_of_the_formula() -> None:
    results = []
    for function in (separable, spelt_out):
        x, weights, biases = tensors()
        residual = whole(2, 6, 6, 5, seed=4)
        leaves = [x, *weights, biases[1], residual]
        for leaf in leaves:
            assert leaf is not None
            leaf.requires_grad_()
        function(x, weights, biases, residual).square().sum().backward()
        results.append([leaf.grad for leaf in leaves if leaf is not None])
    for ours, theirs in zip(*results, strict=True):
        assert ours is not None
        assert torch.equal(ours, theirs)


def test_opcheck() -> None:
    x, weights, biases = tensors()
    options = ([1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1], [4, 1], ["relu", "none"])
    torch.library.opcheck(
        torch.ops.convsmith.convolutions.default,
        (x, weights, biases[1:], None, [False, True], *options, "separable"),
    )


def test_flops_are_two_for_each_multiply_add() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x, weights, biases = tensors()
    with FlopCounterMode(display=False) as counter:
        separable(x, weights, biases, None)
    assert counter.get_total_flops() == 2 * (2 * 4 * 6 * 5 * 9 + 2 * 6 * 6 * 5 * 4)


def call() -> ChainCall:
    return ChainCall(chain_kernels()["pointwise"], Chain((Stage(POINTWISE),), has_residual=True))


@needs_core
@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.mul_(2),
        lambda w: w.data.mul_(2),
        lambda w: w.data.copy_(whole(*w.shape, seed=9)),
        lambda w: w.detach().numpy().fill(3),
        lambda w: setattr(w, "data", whole(*w.shape, seed=8)),
    ],
    ids=["in place", "through data", "copied", "numpy", "data assigned"],
)
def test_packed_weights_are_never_stale(change: object) -> None:
    run, x, weight = call(), whole(1, 5, 4, 3), whole(7, 5, 1, 1, seed=2)
    residual = torch.zeros(1, 7, 4, 3)
    assert torch.equal(run(x, [weight], [None], residual), functional.conv2d(x, weight))
    assert callable(change)
    change(weight)
    assert torch.equal(run(x, [weight], [None], residual), functional.conv2d(x, weight))


@needs_core
def test_a_deep_copy_has_packed_weights_of_its_own() -> None:
    x, weights, biases = tensors()
    separable(x, weights, biases, None)
    others = copy.deepcopy(weights)
    others[0].add_(1)
    assert torch.equal(separable(x, others, biases, None), spelt_out(x, others, biases, None))
    assert torch.equal(separable(x, weights, biases, None), spelt_out(x, weights, biases, None))


@needs_core
def test_tensors_that_do_not_fit_are_refused() -> None:
    x, weight, residual = whole(1, 5, 4, 3), whole(7, 5, 1, 1), torch.zeros(1, 7, 4, 3)
    with pytest.raises(ShapeError, match=r"a weight has shape \(7, 4, 1, 1\), torch.float32"):
        call()(x, [whole(7, 4, 1, 1)], [None], residual)
    with pytest.raises(ShapeError, match=r"a weight has shape \(7, 5, 1, 1\), torch.float64"):
        call()(x, [weight.double()], [None], residual)
    with pytest.raises(ShapeError, match=r"a bias has shape \(6,\), torch.float32, on cpu"):
        call()(x, [weight], [whole(6)], residual)
    with pytest.raises(ShapeError, match=r"the residual has shape \(1, 7, 4, 4\); it is added"):
        call()(x, [weight], [None], torch.zeros(1, 7, 4, 4))


@needs_core
def test_a_kernel_that_the_core_lacks_is_refused_by_name() -> None:
    with pytest.raises(NativeError, match="no kernel 'of_tomorrow'"):
        index_of("of_tomorrow")


@needs_core
def test_many_sizes_do_not_pile_up() -> None:
    run, weight = call(), whole(7, 5, 1, 1)
    for width in range(1, 300):
        run(torch.ones(1, 5, 1, width), [weight], [None], torch.zeros(1, 7, 1, width))
    assert run._program._packed is not None
    assert len(run._program._packed.ready) <= 8


@needs_core
def test_it_compiles_and_exports() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            _, (first, second), (_, bias) = tensors()
            self.first, self.second = nn.Parameter(first), nn.Parameter(second)
            assert bias is not None
            self.bias = nn.Parameter(bias)

        def forward(self, x: Tensor) -> Tensor:
            return separable(x, [self.first, self.second], [None, self.bias], None)

    net, (x, _, _) = Net().eval(), tensors()
    with torch.no_grad():
        wanted = net(x)
        exported = torch.export.export(net, (x,), strict=False)
        assert torch.equal(exported.module()(x), wanted)
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x), wanted)
        assert torch.equal(compiled(whole(2, 4, 7, 9)), net(whole(2, 4, 7, 9)))


@needs_core
def test_run_chain_needs_no_network() -> None:
    x, weight = whole(1, 5, 4, 3), whole(7, 5, 1, 1)
    kernel, chain = chain_kernels()["pointwise"], Chain((Stage(POINTWISE, "relu"),))
    y = run_chain(kernel, chain, x, [weight], [None])
    assert torch.equal(y, functional.relu(functional.conv2d(x, weight)))
