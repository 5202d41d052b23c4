# SPDX-License-Identifier: Apache-2.0
"""Tracing: the same operators as a capture, without weights, the model untouched."""

import resource
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from convsmith.capture import capture, source_line, trace, written
from convsmith.errors import ArgumentError, CaptureError

from .networks import CASES, Case


def operators(graph: torch.fx.Graph) -> list[str]:
    """Names of what the graph calls; views that only rename are left out on both sides."""
    names = [str(n.target).split(".")[1] for n in graph.nodes if str(n.target).startswith("aten")]
    plain = [name.removesuffix("_") for name in names]
    return [n for n in plain if n not in ("sym_size", "detach", "alias", "lift_fresh")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_sees_what_a_capture_sees(case: Case) -> None:
    model = case.model()
    captured = capture(model, case.example, kwargs=case.kwargs)
    traced = trace(model, captured.example, captured.kwargs)
    assert Counter(operators(traced.graph)) == Counter(operators(captured.graph))
    shapes = [tuple(n.meta["val"].shape) for n in traced.graph.output_node().args[0]]
    answers = torch.utils._pytree.tree_leaves(model(*captured.example, **captured.kwargs))
    assert shapes == [tuple(answer.shape) for answer in answers]


def test_the_model_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    traced = trace(model, [torch.zeros(2, 3, 8, 8)])
    assert traced.was_training
    assert model.training
    assert not model[0]._forward_hooks
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    weight = next(n for n in traced.graph.nodes if n.target == "0.weight")
    assert traced.stored(weight) is model[0].weight
    assert traced.stored(traced.graph.output_node()) is None


def test_no_memory_for_weights_or_images() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 30_000, 33), nn.Linear(20_000, 500_000, bias=False))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # other tests' memory, too
    traced = trace(model, [torch.empty(1, 3, 20_032, 20_032, device="meta")])
    assert traced.graph.output_node().args[0][0].meta["val"].shape == (1, 30_000, 20_000, 500_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**20  # kilobytes


class WritesThroughAView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y[:, :2] += 1
        F.relu_(y)
        return y * 2


def test_whoever_reads_written_memory_reads_the_new_value() -> None:
    graph = trace(WritesThroughAView(), [torch.zeros(1, 3, 2, 2)]).graph
    nodes = {str(n.target): n for n in graph.nodes}
    assert nodes["aten.relu_.default"].args[0].target is written
    assert nodes["aten.mul.Tensor"].args[0] is nodes["aten.relu_.default"]
    with pytest.raises(NotImplementedError, match="is read, never run"):
        written(torch.zeros(1), torch.zeros(1))


def test_calls_are_told_apart() -> None:
    layer = nn.Conv2d(3, 3, 3)
    traced = trace(nn.Sequential(layer, nn.ReLU(), layer), [torch.zeros(1, 3, 9, 9)])
    convs = [n for n in traced.graph.nodes if n.target is torch.ops.aten.conv2d.default]
    assert [list(n.meta["nn_module_stack"]) for n in convs] == [["0"], ["0@2"]]
    assert traced.first_shapes == {
        "": (1, 3, 9, 9), "0": (1, 3, 9, 9), "1": (1, 3, 7, 7), "0@2": (1, 3, 7, 7),
    }  # fmt: skip


def test_the_users_own_line_is_named() -> None:
    graph = trace(WritesThroughAView(), [torch.zeros(1, 3, 2, 2)]).graph
    product = next(n for n in graph.nodes if n.target is torch.ops.aten.mul.Tensor)
    assert source_line(product).startswith("test_tracing.py:")


class Asks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_model_that_asks_for_numbers_may_be_run() -> None:
    model = nn.Sequential(nn.Linear(3, 3), Asks())
    traced = trace(model, [torch.ones(2, 3)], may_run=True)
    assert traced.was_run
    assert not trace(model[0], [torch.ones(2, 3)], may_run=True).was_run
    names = [str(n.target) for n in traced.graph.nodes if n.op == "call_function"]
    assert "aten.linear.default" in names
    assert traced.stored(next(n for n in traced.graph.nodes if n.target == "0.weight")) is not None
    with pytest.raises(CaptureError, match=r"at module '1' .*or give a model with its weights"):
        trace(model.to("meta"), [torch.ones(2, 3)], may_run=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_modules_are_named_by_their_weights() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    example = torch.zeros(1, 3, 8, 8)
    for scripted in (torch.jit.script(inner), torch.jit.trace(inner, example)):
        for model, names in ((scripted, ["0", "1"]), (nn.Sequential(scripted), ["0.0", "0.1"])):
            nodes = trace(model, [example]).graph.nodes
            calls = [n for n in nodes if n.op == "call_function"]
            assert [list(n.meta["nn_module_stack"])[-1] for n in calls] == names


@pytest.mark.filterwarnings("ignore:.*weight_norm` is deprecated:FutureWarning")
def test_weights_that_are_computed_before_each_call() -> None:
    normed = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    pruned = prune.random_unstructured(nn.Conv2d(3, 4, 3), "weight", 0.5)
    for model in (normed, pruned):
        before = model.weight
        targets = [str(n.target) for n in trace(model, [torch.zeros(1, 3, 8, 8)]).graph.nodes]
        assert "aten.conv2d.default" in targets
        assert model.weight is before


def test_hooks_work_on_the_copy() -> None:
    class Tapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.seen = {}

            def keep(module: nn.Module, args: object, result: torch.Tensor, *, key="map") -> None:
                self.seen[key] = result

            self.conv.register_forward_hook(keep)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.conv(x)
            return self.seen["map"].mean()

    model = Tapped()
    assert list(trace(model, [torch.zeros(1, 3, 8, 8)]).graph.nodes)[-2].name == "mean_default"
    assert not model.seen


def test_what_cannot_be_traced_is_named() -> None:
    with pytest.raises(ArgumentError, match="model is a str; it must be"):
        trace("resnet", [torch.zeros(1)])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="the inputs of ReLU hold no tensor"):
        trace(nn.ReLU(), [3])
    lazy = nn.LazyConv2d(3, 3)
    with pytest.raises(CaptureError, match="Conv2d: weight has no shape yet"):
        trace(lazy, [torch.zeros(1, 3, 8, 8)])
    with pytest.raises(CaptureError, match=r"stops at module '0' .*to have 3 channels, but got 1"):
        trace(nn.Sequential(nn.Conv2d(3, 4, 3)), [torch.zeros(1, 1, 8, 8)])
    with pytest.raises(CaptureError, match=r"Asks stops .*test_tracing.py.*traced by shapes alone"):
        trace(Asks(), [torch.zeros(3)])
    empty = nn.Sequential(nn.Conv2d(3, 4, 3))
    empty[0].weight = None
    with pytest.raises(CaptureError, match=r"'0' \(Conv2d\(3, 4, .*weight of it is None; give it"):
        trace(empty, [torch.zeros(1, 3, 8, 8)])
    del empty[0].weight
    with pytest.raises(CaptureError, match="no attribute 'weight'; something was taken out of it"):
        trace(empty, [torch.zeros(1, 3, 8, 8)])
    with pytest.raises(CaptureError, match=r"argument 'y'; its inputs are \(x\); give a list"):
        trace(Asks(), [], {"y": torch.zeros(3)})
    with pytest.raises(CaptureError, match=r"and dtype float64, with parameters of float16; give"):
        trace(nn.Conv2d(3, 4, 3).half(), [torch.zeros(1, 3, 8, 8, dtype=torch.float64)])
    mapped = nn.Conv2d(3, 4, 3)
    mapped.forward = torch.vmap(nn.Conv2d(3, 4, 3))
    with pytest.raises(CaptureError, match=r"torch.vmap hides the real sizes; write the batch"):
        trace(mapped, [torch.zeros(1, 3, 8, 8)])
    broken = nn.ReLU()
    broken.lock = __import__("threading").Lock()
    with pytest.raises(CaptureError, match="ReLU cannot be deep-copied: cannot pickle"):
        trace(broken, [torch.zeros(1)])
