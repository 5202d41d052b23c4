# SPDX-License-Identifier: Apache-2.0
"""Which convolutions a plan finds, what it chooses, and that the network stays the same."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith import native
from convsmith.capture import capture, spell_out
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, ChainKernel, Stage, chain_kernels
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.machine import machine
from convsmith.rewrite.planning import candidates, confirming, planner
from convsmith.rewrite.planning.confirming import confirmed_plan
from convsmith.rewrite.planning.observing import layout_changes
from convsmith.rewrite.planning.places import places, runs
from convsmith.rewrite.planning.plan import TORCH, TORCH_CONTIGUOUS
from convsmith.rewrite.planning.planner import plan_kernels
from convsmith.rewrite.planning.rounding import Rounding, Roundings, roundings
from convsmith.rewrite.verify import Difference

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


def silent(line: str) -> None:
    pass


class Residual(nn.Module):
    """Pointwise, depthwise, pointwise, and what came in added to it."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        wide = 3 * channels
        self.expand = nn.Conv2d(channels, wide, 1)
        self.deep = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.project = nn.Conv2d(wide, channels, 1)
        self.head = nn.Conv2d(channels, 5, 3, stride=2, padding="valid")

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self.expand(x))
        y = nn.functional.hardtanh(self.deep(y), 0.0, 6.0)
        return self.head(nn.functional.relu(x + self.project(y))).mean((2, 3))


def whole(model: nn.Module) -> nn.Module:
    """Small whole numbers everywhere: sums are exact, whoever computes them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
    return model.eval()


def numbers(*shape: int) -> Tensor:
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(1)).float()


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds by candidate instead of measured ones; 1 for whatever is not named."""
    chosen: dict[str, float] = {}

    def measured(problem: Any, *_: Any, math: str, **__: Any) -> dict[str, float]:
        names = [kernel.name for kernel in candidates.serving(problem, math=math)]
        names += [TORCH, TORCH_CONTIGUOUS] if len(problem.chain.stages) == 1 else []
        return {name: chosen.get(name, 1.0) for name in names}

    monkeypatch.setattr(planner, "measured", measured)
    return chosen


def planned(model: nn.Module, x: Tensor, **options: Any) -> tuple[Any, Any]:
    inputs = Inputs((x,), {})
    settings = {"math": "fast", "timing": True} | options
    return plan_kernels(capture(model, x), inputs, progress=silent, **settings)


def operators(captured: Any) -> list[str]:
    return [n.target._opname for n in captured.graph.nodes if n.op == "call_function"]


def test_a_place_takes_the_addition_and_the_activation_behind_it() -> None:
    found = places(capture(Residual(), torch.ones(1, 4, 8, 8)))
    assert [p.name for p in found] == ["expand", "deep", "project", "head"]
    assert [p.stage.activation for p in found] == ["relu6", "relu6", "relu", "none"]
    assert [p.residual is not None for p in found] == [False, False, True, False]
    assert [[p.name for p in row] for row in runs(found)] == [
        ["expand", "deep", "project"],
        ["head"],
    ]


@pytest.mark.parametrize(
    "follow",
    [
        lambda y: (torch.relu(y), y),  # somebody reads the sums themselves
        lambda y: torch.add(y, y),
        lambda y: torch.add(y, torch.ones(5, 1, 1)),  # of another shape
        lambda y: torch.add(y, torch.ones_like(y), alpha=2),
        lambda y: torch.clamp(y, 0, 5),
        lambda y: torch.sub(y, torch.ones_like(y)),
    ],
)
def test_what_a_kernel_cannot_do_stays_outside(follow: Callable[[Tensor], Any]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 1)

        def forward(self, x: Tensor) -> Any:
            return follow(self.conv(x))

    (place,) = places(capture(Net(), torch.ones(1, 3, 4, 4)))
    assert len(place.nodes) == 1
    model, x = whole(Net()), numbers(1, 3, 4, 4)
    captured, _ = planned(model, x, timing=False)
    torch.testing.assert_close(captured.module(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(3, 5, 1).double(),
        nn.Conv3d(3, 5, 1),
        nn.ConvTranspose2d(3, 5, 2),
    ],
    ids=["float64", "3-D", "transposed"],
)
def test_what_no_kernel_takes_is_no_place(model: nn.Module) -> None:
    axes = 3 if isinstance(model, nn.Conv3d) else 2
    x = torch.ones(1, 3, *[6] * axes, dtype=next(model.parameters()).dtype)
    assert places(capture(model, x)) == []


def test_the_fastest_is_taken_and_the_report_says_why(times: dict[str, float]) -> None:
    times |= {"pointwise": 0.25, TORCH: 0.5}
    model, x = whole(nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU())), numbers(1, 3, 4, 4)
    captured, plan = planned(model, x)
    (choice,) = plan.choices
    assert (choice.kernel, choice.where, choice.what) == ("pointwise", ("0",), "1x1 3->5, relu")
    assert choice.why == f"0.25 ms; next is {TORCH} with 0.5 ms"
    assert choice.macs == 3 * 5 * 16
    assert operators(captured) == ["convolutions"]
    assert torch.equal(captured.module(x), model(x))


def test_torch_is_kept_where_it_is_faster(times: dict[str, float]) -> None:
    times |= {TORCH: 0.5}
    model, x = whole(nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU())), numbers(1, 3, 4, 4)
    captured, plan = planned(model, x)
    assert [choice.kernel for choice in plan.choices] == [TORCH]
    assert operators(captured) == ["conv2d", "relu"]
    weight = captured.module.get_parameter("0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(captured.module(x), model(x))


def test_torch_in_contiguous_order_is_a_choice(times: dict[str, float]) -> None:
    times |= {TORCH_CONTIGUOUS: 0.5}
    model, x = whole(nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3))), numbers(1, 3, 9, 9)
    captured, plan = planned(model, x)
    assert [choice.kernel for choice in plan.choices] == [TORCH_CONTIGUOUS] * 2
    assert operators(captured) == ["contiguous", "conv2d", "contiguous"] * 2
    assert torch.equal(captured.module(x), model(x))
    assert plan.layout_changes == 3


def test_a_row_is_cut_where_that_is_cheapest(times: dict[str, float]) -> None:
    model, x = whole(Residual()), numbers(1, 4, 8, 8)
    longest = {name for name, k in chain_kernels().items() if k.serves(*_three())}
    if not longest:
        pytest.skip("no kernel computes three convolutions in one pass")
    for cost, lengths in ((1.5, [3, 1]), (3.5, None)):
        times |= dict.fromkeys(longest, cost)
        captured, plan = planned(model, x)
        found = [len(choice.where) for choice in plan.choices]
        assert (found == lengths) if lengths else (3 not in found)
        assert torch.equal(captured.module(x), model(x))


def _three() -> tuple[Chain, tuple[int, ...]]:
    found = places(capture(Residual(), torch.ones(1, 4, 8, 8)))[:3]
    return Chain(tuple(p.stage for p in found), has_residual=True), (1, 4, 8, 8)


def test_measured_times_are_positive_and_complete() -> None:
    model, x = whole(Residual()), numbers(1, 4, 8, 8)
    captured, plan = planned(model, x)
    singles = [c for c in plan.choices if len(c.where) == 1]
    assert all({TORCH, TORCH_CONTIGUOUS} <= c.ms.keys() for c in singles)
    assert all(ms > 0 for c in plan.choices for ms in c.ms.values())
    assert all(c.kernel == min(c.ms, key=lambda n: c.ms[n]) for c in plan.choices if not c.error)
    assert torch.equal(captured.module(x), model(x))


def test_without_timing_the_fixed_rule_takes_direct_kernels() -> None:
    model, x = whole(Residual()), numbers(1, 4, 8, 8)
    captured, plan = planned(model, x, timing=False)
    kernels = chain_kernels()
    assert all(c.kernel == TORCH or kernels[c.kernel].is_direct for c in plan.choices)
    assert any(c.kernel != TORCH for c in plan.choices)
    assert {c.why for c in plan.choices} == {"the fixed rule"}
    assert torch.equal(captured.module(x), model(x))


def test_a_kernel_that_rounds_too_much_is_refused(
    times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = coarse_kernel("coarse")
    monkeypatch.setattr(candidates, "chain_kernels", lambda: {"coarse": coarse})
    model, x = whole(nn.Conv2d(3, 5, 1)), numbers(1, 3, 4, 4)
    times |= {"coarse": 0.1, TORCH: 0.5}
    for error, kernel in ((2e-5, TORCH), (1e-6, "coarse")):
        judged = Roundings({"coarse": Rounding(error, 1.0)}, Rounding(1e-7, 0.1))
        monkeypatch.setattr(planner, "roundings", lambda *_, judged=judged: judged)
        _, plan = planned(model, x)
        assert plan.choices[0].kernel == kernel
    assert (plan.choices[0].error, plan.choices[0].direct_error) == (1e-6, 1e-7)
    assert plan.amplification == pytest.approx(10)
    _, plan = planned(model, x, math="strict")
    assert plan.choices[0].kernel == TORCH


def test_whole_blocks_are_judged_too(times: dict[str, float], monkeypatch: Any) -> None:
    """The error of a chain's kernel is that of its last sums, from the first layer's input on."""
    coarse = coarse_kernel("coarse", of="separable")
    monkeypatch.setattr(candidates, "chain_kernels", lambda: {"coarse": coarse})
    block = nn.Sequential(nn.Conv2d(64, 64, 3, groups=64), nn.ReLU(), nn.Conv2d(64, 8, 1))
    times |= {"coarse": 0.1, TORCH: 0.5}
    x = torch.randn(2, 64, 9, 9)
    _, plan = planned(block, x)
    (choice,) = plan.choices
    assert (choice.kernel, choice.where) == ("coarse", ("0", "2"))
    assert choice.error is not None
    # 9 products and 64, each rounded at most twice.
    assert 0 < choice.error < 73 * 2**-24
    _, plan = planned(block, x, math="strict")
    assert [c.kernel for c in plan.choices] == [TORCH, TORCH]


def coarse_kernel(name: str, of: str = "pointwise") -> ChainKernel:
    """A direct kernel, said to round more than it does."""
    exact = chain_kernels()[of]
    return ChainKernel(
        name=name,
        function=exact.function,
        serves=exact.serves,
        pack=exact.pack,
        integers=exact.integers,
        takes_any_strides=False,
        is_direct=False,
    )


def test_rounding_is_against_float64() -> None:
    stage = places(capture(nn.Conv2d(64, 8, 1), torch.ones(1, 64, 4, 4)))[0].stage
    x, weight = torch.randn(2, 64, 9, 9), torch.randn(8, 64, 1, 1)
    found = roundings([stage], x, [weight], [None], [coarse_kernel("coarse")])
    # 64 products, each rounded at most twice: far below 64 units in the last place.
    for rounding in (found.kernels["coarse"], found.torch):
        assert 0 < rounding.relative < 64 * 2**-24
    zero = torch.zeros(1, 64, 2, 2)
    zeros = roundings([stage], zero, [weight], [None], [coarse_kernel("coarse")])
    assert zeros.kernels["coarse"].relative == 0


def confirmed(model: nn.Module, x: Tensor, moved: list[float], **options: Any) -> Any:
    settings = {"math": "fast", "timing": False, "progress": silent, "bound": 1e-6} | options
    return confirmed_plan(
        capture(model, x),
        Inputs((x,), {}),
        lambda candidate: Difference(max_rel=moved.pop(0)),
        **settings,
    )


def test_a_plan_that_moves_the_output_is_dropped() -> None:
    model, x = whole(nn.Conv2d(3, 5, 1)), numbers(1, 3, 4, 4)
    done = confirmed(model, x, [1e-3, 1e-3])
    assert done.plan is None
    whys = [refusal.why for refusal in done.refused]
    assert whys == [f"{math}: outputs moved by 0.001, allowed 1e-06" for math in ("fast", "strict")]
    assert confirmed(model, x, [1e-3, 0.0]).plan.math == "strict"
    assert confirmed(model, x, [0.0]).plan.math == "fast"


def test_a_plan_without_gain_is_dropped(
    times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    times |= {"pointwise": 0.1}
    model, x = whole(nn.Conv2d(3, 5, 1)), numbers(1, 3, 4, 4)
    real = confirming.interleaved

    def slower(before: Any, after: Any, inputs: Inputs, *, budget_s: float) -> Any:
        found = real(before, after, inputs, budget_s=0.01)
        return replace(found, after=replace(found.before, median_ms=2 * found.before.median_ms))

    monkeypatch.setattr(confirming, "interleaved", slower)
    done = confirmed(model, x, [0.0], timing=True)
    assert done.plan is None
    assert "no gain: " in done.refused[0].why


def test_spelling_out_gives_torch_s_operators_back() -> None:
    model, x = whole(Residual()), numbers(1, 4, 9, 9)
    captured, _ = planned(model, x, timing=False)
    assert "convolutions" in operators(captured)
    spell_out(captured)
    assert "convolutions" not in operators(captured)
    assert torch.equal(captured.module(x), model(x))
    assert [p.name for p in places(captured)] == ["expand", "deep", "project", "head"]


def test_an_example_in_channels_last_is_planned_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    posed: list[bool] = []

    def measured(problem: Any, *_: Any, math: str, **__: Any) -> dict[str, float]:
        posed.append(problem.is_contiguous)
        return {k.name: 1.0 for k in candidates.serving(problem, math=math)} | {TORCH: 0.5}

    monkeypatch.setattr(planner, "measured", measured)
    model, x = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3)), torch.ones(1, 3, 6, 6)
    cs.optimize(model, x)
    assert posed[:2] == [True, False]
    assert posed == posed[:2] * (len(posed) // 2)  # in each pass over the network
    posed.clear()
    cs.optimize(model, x.contiguous(memory_format=torch.channels_last))
    assert set(posed) == {False}


def test_layout_changes_are_counted() -> None:
    x = torch.ones(1, 3, 6, 6)
    inputs = Inputs((x,), {})
    assert layout_changes(capture(nn.Conv2d(3, 5, 3), x), inputs) == 0
    captured, _ = planned(nn.Conv2d(3, 5, 1), x, timing=False)
    assert layout_changes(captured, inputs) == 1
    last = Inputs((x.contiguous(memory_format=torch.channels_last),), {})
    assert layout_changes(captured, last) == 0


class TwoHeads(nn.Module):
    """Nested results, one of them read again behind an operator of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 6, 3), nn.Conv2d(6, 6, 1)
        self.third = nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        first = self.first(x).relu()
        second = self.second(first)
        return {"both": (first, second), "last": [self.third(second.mean((2, 3), keepdim=True))]}


@pytest.mark.skipif(not native.available(), reason="the compiled core is not built")
def test_results_are_nested_and_split_runs_feed_each_other() -> None:
    model, x = whole(TwoHeads()), numbers(2, 4, 6, 6)  # a mean of 16 whole numbers is exact
    captured, _ = planned(model, x, timing=False)
    assert operators(captured).count("convolutions") == 3
    with torch.no_grad():
        wanted = model(x)
        for _ in range(2):
            found = captured.module(x)
            assert found["both"][0].equal(wanted["both"][0])
            assert found["both"][1].equal(wanted["both"][1])
            assert found["last"][0].equal(wanted["last"][0])


@pytest.fixture(scope="module")
def optimized() -> tuple[nn.Module, Any]:
    model = whole(Residual())
    return model, cs.optimize(model, numbers(1, 4, 8, 8), timing=False)


def test_the_planned_network_is_an_ordinary_module(optimized: tuple[nn.Module, Any]) -> None:
    model, done = optimized
    with torch.no_grad():
        for shape in ((1, 4, 8, 8), (3, 4, 11, 7), (2, 4, 8, 30)):
            x = numbers(*shape)
            last = x.contiguous(memory_format=torch.channels_last)
            for network in (done.model, copy.deepcopy(done.model)):
                assert torch.equal(network(x), model(x))
                assert torch.equal(network(last), model(x))
        twin = pickle.loads(pickle.dumps(done.model))
        assert torch.equal(twin(x), model(x))
        wide = copy.deepcopy(done.model).double()
        assert torch.equal(wide(x.double()), copy.deepcopy(model).double()(x.double()))


def test_it_may_run_in_several_threads(optimized: tuple[nn.Module, Any]) -> None:
    model, done = optimized
    inputs = [numbers(1 + i % 3, 4, 8 + i, 9) for i in range(8)]
    results: dict[int, Tensor] = {}

    def work(i: int) -> None:
        with torch.inference_mode():
            for _ in range(20):
                results[i] = done.model(inputs[i])

    threads = [Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, x in enumerate(inputs):
        assert torch.equal(results[i], model(x))


def test_changed_weights_are_seen(optimized: tuple[nn.Module, Any]) -> None:
    _, done = optimized
    network, x = copy.deepcopy(done.model), numbers(1, 4, 8, 8)
    model = whole(Residual())
    with torch.no_grad():
        network(x)
        for change in (
            lambda m: m.expand.weight.add_(1),
            lambda m: m.project.weight.data.mul_(2),
            lambda m: m.deep.bias.fill_(1),
            lambda m: setattr(m.expand, "weight", nn.Parameter(numbers(12, 4, 1, 1))),
            lambda m: m.load_state_dict({k: 2 * v for k, v in m.state_dict().items()}),
        ):
            change(network)
            change(model)
            assert torch.equal(network(x), model(x))


def test_gradients_pass_through_a_planned_network(optimized: tuple[nn.Module, Any]) -> None:
    model, done = optimized
    network, x = copy.deepcopy(done.model), numbers(1, 4, 8, 8).requires_grad_()
    (ours,) = torch.autograd.grad(network(x).sum(), x)
    (theirs,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_hooks_are_called(optimized: tuple[nn.Module, Any]) -> None:
    network, seen = copy.deepcopy(optimized[1].model), []
    network.register_forward_hook(lambda *_: seen.append(True))
    with torch.no_grad():
        network(numbers(1, 4, 8, 8))
    assert seen == [True]


def test_a_saved_plan_comes_back_and_is_made_anew_elsewhere(
    tmp_path: Path, times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    times |= {"pointwise": 0.1, TORCH: 0.5}
    monkeypatch.setattr(confirming, "_is_slower", lambda *_: None)
    model, x = whole(Residual()), numbers(1, 4, 8, 8)
    done = cs.optimize(model, x)
    assert done.report.plan is not None
    assert done.report.plan.machine == machine()
    done.save(tmp_path / "net")

    def kernels(network: Any) -> list[str]:
        return [
            n.args[-1]
            for n in network.graph.nodes
            if "convolutions" in getattr(n.target, "name", str)()
        ]

    same = cs.load(tmp_path / "net")
    assert kernels(same) == kernels(done.model)
    assert torch.equal(same(x), model(x))
    times.clear()
    times |= {TORCH: 0.01}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - before if before < 3 else 1)
        kept = cs.load(tmp_path / "net", replan=False)
        other = cs.load(tmp_path / "net")
    finally:
        torch.set_num_threads(before)
    assert kernels(kept) == kernels(same)
    assert kernels(other) == []
    assert torch.equal(other(x), model(x))
    assert other.about["optimized"]["plan"]["machine"]["threads"] != before


def test_a_stage_is_part_of_the_chain() -> None:
    stage = places(capture(nn.Conv2d(4, 4, 3, padding="same"), torch.ones(1, 4, 5, 5)))[0].stage
    assert isinstance(stage, Stage)
    assert stage.geometry.padding == ((1, 1), (1, 1))


def test_copies_of_a_layer_s_weights_stand_for_the_rest_of_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for network_bytes, copies in [(0, 1), (512, 1), (513, 2), (1024, 2), (1 << 40, 16)]:
        used = []

        def by_torch(x: Tensor, weights: list[Tensor], *_: Any, used: list[int] = used) -> Tensor:
            used.append(weights[0].data_ptr())
            assert torch.equal(weights[0], torch.arange(128.0).view(8, 16, 1, 1))
            return x

        monkeypatch.setattr(candidates, "by_torch", by_torch)
        monkeypatch.setattr(candidates, "serving", lambda *_, **__: [])
        stage = Stage(Geometry(in_channels=16, out_channels=8, kernel_size=(1, 1)))
        problem = candidates.Problem(Chain((stage,)), (1, 16, 4, 4))
        weight = torch.arange(128.0).view(8, 16, 1, 1)
        options: Any = {"math": "fast", "budget_s": 0.01, "network_bytes": network_bytes}
        assert {"torch"} <= candidates.measured(problem, [weight], [None], **options).keys()
        assert len(set(used)) == copies, network_bytes


def test_the_lower_of_two_times_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, called = iter(range(10_000)), []

    def calls(*_: Any) -> dict[str, Callable[[], None]]:
        return {name: lambda name=name: called.append(name) for name in ("a", "b")}

    monkeypatch.setattr(candidates, "_calls", calls)
    monkeypatch.setattr(candidates, "perf_counter", lambda: float(next(clock)))  # 1 s each
    problem: Any = None

    def again(**earlier: float) -> dict[str, float]:
        called.clear()
        return candidates.measured(problem, [], [], math="fast", budget_s=0, earlier=earlier)

    assert again() == {"a": 1000.0, "b": 1000.0}
    assert again(a=500.0, b=1400.0) == {"a": 500.0, "b": 1000.0}
    assert again(a=10.0, b=2000.0) == {"a": 10.0, "b": 2000.0}  # b is hopeless
    assert set(called) == {"a"}
