# SPDX-License-Identifier: Apache-2.0
"""Reading nodes, copying, and refreshing after a change."""

from typing import Any

import pytest
import torch
from torch import fx, nn

from convsmith.capture import (
    Captured,
    Tier,
    arguments,
    capture,
    module_path,
    source_line,
    weight_of,
)
from convsmith.capture.shapes import _Shapes
from convsmith.errors import ArgumentError

from .networks import EncoderDecoder, Flattened, Functional, Residual, assert_equal, randn

aten = torch.ops.aten


def nodes(captured: Captured, target: object) -> list[fx.Node]:
    return [node for node in captured.graph.nodes if node.target is target]


def test_reused_layer_is_one_parameter_with_two_uses() -> None:
    captured = capture(Residual(), randn(2, 3, 8, 8))
    stem, first, second = nodes(captured, aten.conv2d.default)
    assert [module_path(node) for node in (stem, first, second)] == ["stem", "conv", "conv"]
    weight = arguments(first)["weight"]
    assert weight is arguments(second)["weight"]
    assert len(weight.users) == 2
    assert weight_of(captured, weight) is captured.module.conv.weight
    assert weight_of(captured.module, arguments(stem)["bias"]) is None
    assert weight_of(captured, first) is None


def test_buffers_stay_buffers_and_ties_stay_ties() -> None:
    module = capture(Functional(), randn(2, 3, 8, 8)).module
    assert "offset" in dict(module.named_buffers())
    assert "kernel" in dict(module.named_parameters())
    assert sum(name.endswith("weight") for name in module.state_dict()) == 1


def test_arguments_by_name() -> None:
    captured = capture(EncoderDecoder(), randn(2, 1, 8, 8))
    (up,) = nodes(captured, aten.conv_transpose2d.input)
    read = arguments(up)
    assert (read["stride"], read["padding"], read["output_padding"]) == ([2, 2], [0, 0], [0, 0])
    (down,) = nodes(captured, aten.conv2d.padding)
    assert arguments(down)["padding"] == "same"
    placeholder = next(node for node in captured.graph.nodes if node.op == "placeholder")
    with pytest.raises(ArgumentError, match=r"x \(placeholder x\) is not a call"):
        arguments(placeholder)


def test_source_line_is_the_users_own() -> None:
    captured = capture(EncoderDecoder(), randn(2, 1, 8, 8))
    (cat,) = nodes(captured, aten.cat.default)
    assert source_line(cat).startswith("networks.py:")
    assert module_path(cat) == ""
    assert source_line(captured.graph.output_node()) == "an unknown line"


def test_copy_is_independent() -> None:
    captured = capture(Residual().eval(), randn(2, 3, 8, 8))
    expected = captured.module(*captured.example)
    twin = captured.copy()
    twin.module.fc.weight.data.zero_()
    twin.graph.erase_node(twin.graph.output_node())
    assert_equal(captured.module(*captured.example), expected)
    assert twin.contract == captured.contract
    assert twin.dynamic is Tier.BATCH_AND_SPACE


def test_a_copy_may_hold_the_same_numbers_or_what_is_made_of_them() -> None:
    captured = capture(Residual().eval(), randn(2, 3, 8, 8))
    expected = captured.module(*captured.example)
    own = dict(captured.module.named_parameters())
    same, doubled = captured.copy(lambda t: t), captured.copy(lambda t: 2 * t)
    for name, parameter in doubled.module.named_parameters():
        assert torch.equal(parameter, 2 * own[name])
        assert parameter.requires_grad == own[name].requires_grad
    assert all(p is own[name] for name, p in same.module.named_parameters())
    same.graph.erase_node(same.graph.output_node())
    assert_equal(captured.module(*captured.example), expected)


def test_refresh_drops_what_is_unused_and_updates_shapes() -> None:
    captured = capture(Residual().eval(), randn(2, 3, 8, 8))
    (norm,) = nodes(captured, aten.batch_norm.default)
    norm.replace_all_uses_with(arguments(norm)["input"])
    (pool,) = nodes(captured, aten.adaptive_avg_pool2d.default)
    pool.update_arg(1, [1, 1])
    captured.refresh()
    assert not any(name.startswith("bn.") for name in captured.module.state_dict())
    assert captured.dynamic is Tier.BATCH_AND_SPACE
    batch, channels, *_ = pool.meta["val"].shape
    assert isinstance(batch, torch.SymInt)
    assert channels == 8
    assert captured.module(randn(3, 3, 5, 9)).shape == (3, 5)


def test_refresh_can_widen_when_nothing_fixes_the_sizes_any_more() -> None:
    captured = capture(Flattened().eval(), randn(2, 3, 8, 8))
    assert captured.dynamic is Tier.BATCH
    relu = nodes(captured, aten.relu.default)[0]
    captured.graph.output_node().args = ((relu,),)
    captured.refresh()
    assert captured.dynamic is Tier.BATCH
    captured.refresh(widen=True)
    assert captured.dynamic is Tier.BATCH_AND_SPACE
    assert captured.module(randn(1, 3, 20, 5)).shape == (1, 4, 18, 3)


def test_refresh_bakes_sizes_that_the_graph_no_longer_varies() -> None:
    captured = capture(nn.Conv2d(3, 4, 3).eval(), randn(2, 3, 8, 8))
    (conv,) = nodes(captured, aten.conv2d.default)
    with captured.graph.inserting_after(conv):
        rows = captured.graph.call_function(aten.view.default, (conv, [-1, 4 * 6 * 6]))
        fixed = captured.graph.call_function(aten.mul.Tensor, (rows, 2))
    rows.append(fixed)
    captured.graph.output_node().args = ((fixed,),)
    captured.refresh()
    assert captured.module(randn(5, 3, 8, 8)).shape == (5, 144)


def test_refresh_recomputes_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capture(Residual().eval(), randn(2, 3, 8, 8)).copy()
    computed: list[str] = []
    run = _Shapes.call_function

    def counted(self: _Shapes, target: Any, args: Any, kwargs: Any) -> Any:
        computed.append(str(target))
        return run(self, target, args, kwargs)

    monkeypatch.setattr(_Shapes, "call_function", counted)
    captured.refresh()
    assert computed == []
    (norm,) = nodes(captured, aten.batch_norm.default)
    norm.replace_all_uses_with(arguments(norm)["input"])
    captured.refresh()
    assert computed == ["aten.relu.default"]
    (head,) = nodes(captured, aten.linear.default)
    captured.module.fc.weight = nn.Parameter(torch.zeros(7, 8))
    captured.module.fc.bias = nn.Parameter(torch.zeros(7))
    captured.refresh()
    assert head.meta["val"].shape[1] == 7


def test_a_twin_takes_its_shapes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capture(Residual().eval(), randn(2, 3, 8, 8))
    twin = captured.copy()
    twin.module.double()
    monkeypatch.setattr(_Shapes, "call_function", lambda *_: pytest.fail("a shape was computed"))
    twin.refresh(twin_of=captured)
    for own, theirs in zip(twin.graph.nodes, captured.graph.nodes, strict=True):
        wide, known = own.meta.get("val"), theirs.meta.get("val")
        if isinstance(wide, torch.Tensor) and isinstance(known, torch.Tensor):
            assert wide.dtype == torch.float64
            assert wide.shape == known.shape
    twin.refresh()  # nothing has changed since
    monkeypatch.undo()
    (norm,) = nodes(twin, aten.batch_norm.default)
    norm.replace_all_uses_with(arguments(norm)["input"])
    twin.refresh(twin_of=captured)  # another graph: computed after all
    assert not nodes(twin, aten.batch_norm.default)
    assert nodes(twin, aten.relu.default)[0].meta["val"].dtype == torch.float64
