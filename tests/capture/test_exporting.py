# SPDX-License-Identifier: Apache-2.0
"""Capturing: the graph computes what the model does at every size it accepts; the model is left
alone.
"""

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.capture import Captured, Tier, capture
from convsmith.errors import ArgumentError, CaptureError

from .networks import CASES, Case, Flattened, Residual, TwoInputs, assert_equal, randn


class Forward(nn.Module):
    """A model made of one function, with the modules and tensors it needs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def captured(case: Case) -> Captured:
    return capture(case.model(), case.example, kwargs=case.kwargs)


@torch.no_grad()
def test_captured_network_is_bit_equal_to_the_model(case: Case, captured: Captured) -> None:
    model, kwargs = case.model(), case.kwargs or {}
    for inputs in (case.example, *case.others):
        assert_equal(captured.module(*inputs, **kwargs), model(*inputs, **kwargs))


def test_graph_is_functional_with_every_argument(captured: Captured) -> None:
    for node in captured.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            assert not node.target._schema.is_mutable
            assert len(node.args) + len(node.kwargs) == len(node.target._schema.arguments)


def test_parameters_keep_their_names(case: Case, captured: Captured) -> None:
    expected = dict(case.model().named_parameters(remove_duplicate=False))
    for name, parameter in captured.module.named_parameters():
        assert torch.equal(parameter, expected[name])


def test_model_is_not_changed() -> None:
    model = Residual().train()
    before = copy.deepcopy(model.state_dict())
    captured = capture(model, randn(2, 3, 8, 8))
    captured.module.conv.weight.data.zero_()
    assert model.training
    assert captured.was_training
    assert not captured.module.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def mirrored(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x + x.transpose(2, 3)


def doubled_if_tall(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return x * 2 if x.shape[2] > 5 else x


@pytest.mark.parametrize(
    ("model", "example", "tier", "guards"),
    [
        (nn.Conv2d(3, 4, 3), randn(1, 3, 8, 8), Tier.BATCH_AND_SPACE, ()),
        (Flattened(), randn(1, 3, 8, 8), Tier.BATCH, ()),
        (Forward(lambda _, x: x.view(2, -1)), randn(2, 3, 4), Tier.SPACE, ()),
        (
            Forward(lambda s, x: s.fc(x.view(1, -1)), fc=nn.Linear(12, 2)),
            randn(1, 3, 4),
            Tier.NOTHING,
            (),
        ),
        (
            Forward(mirrored),
            randn(2, 3, 8, 8),
            Tier.BATCH_AND_SPACE,
            ("input_1.size(3) == input_1.size(2)",),
        ),
        (
            Forward(doubled_if_tall),
            randn(2, 3, 8, 8),
            Tier.BATCH_AND_SPACE,
            ("input_1.size(2) > 5",),
        ),
    ],
    ids=["conv", "flatten", "batch in view", "one row", "square", "branch"],
)
def test_tier_and_guards(
    model: nn.Module, example: torch.Tensor, tier: Tier, guards: tuple[str, ...]
) -> None:
    captured = capture(model, example)
    name = captured.contract.inputs[0].name
    assert captured.dynamic is tier
    assert captured.contract.guards == tuple(g.replace("input_1", name) for g in guards)


def test_example_of_one_is_repeated_and_made_contiguous() -> None:
    example = randn(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    captured = capture(Forward(lambda _, x: x.view(x.size(0), -1)), example)
    assert captured.example[0].shape == (2, 3, 8, 8)
    assert captured.example[0].is_contiguous()
    assert captured.module(randn(7, 3, 8, 8)).shape == (7, 192)


def test_half_precision_and_no_grad_regions() -> None:
    def scaled(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.conv(x) * 2

    model = Forward(scaled, conv=nn.Conv2d(3, 4, 3)).to(torch.bfloat16)
    captured = capture(model, randn(2, 3, 8, 8).to(torch.bfloat16))
    assert captured.module(*captured.example).dtype is torch.bfloat16
    assert [str(node.target) for node in captured.graph.nodes if node.op == "call_function"] == [
        "aten.conv2d.default",
        "aten.mul.Tensor",
    ]


def test_keyword_inputs_come_in_any_order() -> None:
    x, mask = randn(2, 2, 6, 6), randn(2, 4, 6, 6)
    model = TwoInputs()
    module = capture(model, x, kwargs={"extra": {"mask": mask}, "gain": 2.0}).module
    assert_equal(
        module(x, gain=2.0, extra={"mask": mask}), model(x, extra={"mask": mask}, gain=2.0)
    )


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda _, x: F.relu_(x),
            r"aten::relu_ in module '' \(test_exporting.py:\d+\) changes the model's input",
        ),
        (lambda s, x: x + s.count.add_(1), "changes the parameter or buffer count in place"),
        (lambda s, x: s.norm.train()(x), "batch_norm in module 'norm' .* stays in training mode"),
        (lambda _, x: torch.max(x, 1, out=(x + 1, x.long())), "writes to max, max_values"),
        (
            lambda _, x: (x + 1).normal_(),
            "aten::normal_ .* has no form that leaves its input alone",
        ),
    ],
    ids=["input", "buffer", "batch-norm", "two outs", "no twin"],
)
def test_side_effects_are_refused(function: Callable[..., Any], message: str) -> None:
    model = Forward(function, norm=nn.BatchNorm2d(3))
    model.register_buffer("count", torch.zeros(1))
    with pytest.raises(CaptureError, match=message):
        capture(model, randn(2, 3, 6, 6))


def test_change_that_a_view_still_sees_is_refused() -> None:
    def halves(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        left, right = (x + 1).chunk(2, 1)
        left.relu_()
        return left + right

    with pytest.raises(
        CaptureError, match=r"relu_ .* changes memory in place that getitem_1 .* still reads"
    ):
        capture(Forward(halves), randn(2, 4, 6, 6))


def test_sizes_share_no_memory() -> None:
    def cropped(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        return F.relu_(y[:, :, : x.shape[2] // 2]) * x.shape[2]

    model = Forward(cropped)
    x = randn(2, 4, 6, 6)
    assert torch.equal(capture(model, x).module(x), model(x))


def test_dropout_at_inference_returns_its_input_itself() -> None:
    def skip(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        return F.relu_(F.dropout(y, training=False)) + y

    with pytest.raises(CaptureError, match=r"changes memory in place that add"):
        capture(Forward(skip), randn(2, 4, 6, 6))


def test_autocast_is_refused() -> None:
    def mixed(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.conv(x)

    with pytest.raises(CaptureError, match=r"wrap_with_autocast .* a graph of its own"):
        capture(Forward(mixed, conv=nn.Conv2d(3, 4, 3)), randn(2, 3, 6, 6))


def test_a_line_is_named_in_a_checkout_that_has_our_name(tmp_path):
    file = tmp_path / "convsmith" / "net.py"
    file.parent.mkdir()
    file.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x if x.sum() > 0 else -x\n"
    )
    found = {}
    exec(compile(file.read_text(), str(file), "exec"), found)
    with pytest.raises(CaptureError, match=r"Net: .* \(net\.py:4\)"):
        capture(found["Net"](), torch.ones(1, 3))


def test_data_dependent_path_names_module_and_line() -> None:
    def choose(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Forward(choose))
    message = (
        r"Sequential: .* at module '1' \(test_exporting.py:\d+\): .*data-dependent.*torch.where"
    )
    with pytest.raises(CaptureError, match=message):
        capture(model, randn(2, 3, 6, 6))


def test_model_that_fails_by_itself_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3))
    with pytest.raises(CaptureError, match=r"module '1'.* 5 channels.*does not run on the example"):
        capture(model, randn(2, 3, 8, 8))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 4, 3, device="meta"), "Conv2d: weight is on the meta device"),
        (nn.LazyConv2d(4, 3), "LazyConv2d: weight is not initialised"),
        (
            Forward(lambda s, x: s.graph(x), graph=nn.Conv2d(3, 4, 3)),
            "graph.weight would hide `graph`",
        ),
        (Forward(lambda s, x: x, lock=threading.Lock()), "Forward cannot be deep-copied: .*lock"),
    ],
    ids=["meta", "lazy", "reserved", "lock"],
)
def test_models_refused_by_name(model: nn.Module, message: str) -> None:
    with pytest.raises(CaptureError, match=message):
        capture(model, randn(2, 3, 8, 8))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_module_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"scripted module, whose source is gone"):
        capture(torch.jit.script(nn.ReLU()), randn(2, 3))


def test_arguments_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"model is a function"):
        capture(F.relu, randn(2, 3))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"the example of ReLU holds no tensor \(\(3,\)\)"):
        capture(nn.ReLU(), 3)


def test_parameters_are_copies_unless_they_are_to_be_shared() -> None:
    model = Residual().eval()
    for shared in (False, True):
        captured = capture(model, randn(2, 3, 8, 8), shared=shared)
        assert (captured.module.fc.weight is model.fc.weight) == shared


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pooling_leaves_sizes_free_over_one_axis_as_over_more(ceil_mode: bool) -> None:
    for axes, conv, pool in ((1, nn.Conv1d, nn.MaxPool1d), (2, nn.Conv2d, nn.MaxPool2d)):
        model = nn.Sequential(conv(2, 3, 3), pool(3, 2, 1, ceil_mode=ceil_mode), conv(3, 2, 2))
        captured = capture(model.eval(), randn(1, 2, *[41] * axes))
        assert captured.dynamic is Tier.BATCH_AND_SPACE
        for size in (20, 77):
            x = randn(3, 2, *[size] * axes)
            assert torch.equal(captured.module(x), model(x))
