# SPDX-License-Identifier: Apache-2.0
import copy
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.capture import load
from convsmith.errors import ArgumentError
from convsmith.rewrite import optimize, optimizing
from convsmith.rewrite.rules import fold_batchnorm


def network():
    layers = [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout()]
    layers += [nn.Conv2d(8, 16, 1), nn.Conv2d(16, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(4, 7))
    for name, buffer in model[1].named_buffers():
        if name != "num_batches_tracked":
            buffer.uniform_(0.5, 2)
    return model


def test_the_report_says_what_was_done_and_what_it_costs():
    model, x, y = network().eval(), torch.randn(11, 3, 9, 9), torch.arange(11) % 7
    lines = []
    settings = {"batch_size": 4, "seed": 3, "math": "strict", "progress": lines.append}
    optimized = optimize(model, x[:1], images=(x, y), **settings)
    report = json.loads(json.dumps(optimized.report.to_json()))
    rules = [certificate["rule"] for certificate in report["certificates"]]
    assert sorted(rules) == ["drop_inference_noops", "fold_batchnorm", "merge_pointwise"]
    first, pair, merged = 27 * 8 * 49, (8 * 16 + 16 * 4) * 49, 8 * 4 * 49
    assert report["before"]["macs"] == first + pair + 28
    assert report["after"]["macs"] == first + merged + 28
    assert report["before"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert report["after"]["parameters"] == 27 * 8 + 8 + 8 * 4 + 4 + 35
    with torch.no_grad():
        order = model(x).argsort(dim=1, descending=True)
    for which in ("before", "after"):
        assert report[which]["top1"] == int((order[:, 0] == y).sum())
        assert report[which]["top5"] == int((order[:, :5] == y[:, None]).sum())
        assert report[which]["images"] == 11
        assert report[which]["ms"] > 0
    assert 0 < report["max_rel_error"] <= report["bound"]
    assert report["proof_error"] <= report["proof_bound"] < 1e-12
    assert report["machine"]["threads"] == torch.get_num_threads()
    assert report["settings"]["seed"] == 3
    assert report["notes"] == []
    assert lines[0] == "capturing the graph"
    assert lines[-1] == "timing before and after"


def test_costs_are_those_of_the_example_as_given():
    model = network().eval()
    one, six = (optimize(model, torch.zeros(n, 3, 9, 9), timing=False).report for n in (1, 6))
    assert six.before.macs == 6 * one.before.macs
    for report, n in ((one, 1), (six, 6)):
        (fold,) = (c for c in report.certificates if c.rule == "fold_batchnorm")
        assert fold.before.macs == n * 27 * 8 * 49
    assert one.before.ms is None


def test_the_model_given_is_never_changed_and_train_mode_is_reported():
    model = network().train()
    state = copy.deepcopy(model.state_dict())
    report = optimize(model, torch.zeros(1, 3, 9, 9), timing=False).report
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert report.notes[0] == "the model was in training mode: its inference path was optimized"
    assert report.notes[1].endswith("random inputs, seed 0")


def test_the_result_takes_other_sizes_and_is_saved_and_loaded(tmp_path):
    model = network().eval()
    optimized = optimize(model, torch.zeros(1, 3, 9, 9), timing=False)
    for other in (optimized.model, copy.deepcopy(optimized.model)):
        x = torch.randn(3, 3, 12, 10)
        torch.testing.assert_close(other(x), model(x), rtol=1e-5, atol=1e-5)
    optimized.save(tmp_path / "network", about={"labels": ["a", "b"]})
    loaded = load(tmp_path / "network")
    assert torch.equal(loaded(x), optimized.model(x))
    assert loaded.about["labels"] == ["a", "b"]
    assert loaded.about["optimized"]["after"]["macs"] == optimized.report.after.macs
    again = optimize(loaded, torch.zeros(1, 3, 9, 9), timing=False)
    assert again.certificates == ()
    assert again.model.about["labels"] == ["a", "b"]


def test_nothing_to_do_is_an_answer():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    report = optimize(model, torch.zeros(1, 3, 6, 6), math="strict").report
    assert report.certificates == ()
    assert report.before.macs == report.after.macs
    assert any("no batch-norm (folded already, or never there)" in note for note in report.notes)
    assert "nothing was rewritten: no exact rule applies" in report.notes
    assert report.max_rel_error <= report.bound


class Two(nn.Module):
    """Two inputs, one by keyword, and a dictionary back."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x, *, scale):
        y = self.norm(self.a(x)) * scale
        return {"map": y, "best": y.argmax(1), "pair": (y.mean((2, 3)), 3)}


def test_several_inputs_and_dictionaries_work():
    model, x, scale = Two().eval(), torch.randn(2, 3, 6, 6), torch.tensor(2.0)
    optimized = optimize(model, x, kwargs={"scale": scale}, math="strict")
    assert len(optimized.certificates) == 1
    before, after = model(x, scale=scale), optimized.model(x, scale=scale)
    assert after["pair"][1] == 3
    torch.testing.assert_close(after["map"], before["map"])
    with pytest.raises(ArgumentError, match="images were given, but the model takes 2 inputs"):
        optimize(model, x, kwargs={"scale": scale}, images=x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_work(dtype):
    model = network().eval().to(dtype)
    report = optimize(model, torch.zeros(2, 3, 9, 9, dtype=dtype), timing=False).report
    assert {c.rule for c in report.certificates} >= {"fold_batchnorm", "merge_pointwise"}
    assert 0 <= report.max_rel_error <= report.bound
    assert report.proof_error <= report.proof_bound < 1e-12


def test_a_network_of_a_fixed_batch_is_compared_batch_by_batch():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.layer(x).reshape(2, 64)

    model, x = Fixed().eval(), torch.randn(6, 3, 6, 6)
    assert optimize(model, x[:2], images=x, timing=False).report.before.images == 6
    with pytest.raises(
        ArgumentError, match="5 images do not divide into the model's fixed batch of 2"
    ):
        optimize(model, x[:2], images=x[:5])


def test_what_fails_on_all_images_is_rolled_back(monkeypatch):
    # A rule that is right for the two images of the proof and wrong for the third: it drops a clamp
    # that only the third image reaches.
    rule = replace(
        fold_batchnorm.RULE,
        name="drop_clamp",
        match=lambda captured, node: (
            fold_batchnorm.Site((node,), ("clamp",), "dropped")
            if "clamp" in str(node.target)
            else None
        ),
        apply=_drop,
    )
    monkeypatch.setattr(optimizing, "EXACT_RULES", (rule,))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model.forward = lambda x: F.relu(model[0](x.clamp(max=10)))
    x = torch.randn(3, 3, 6, 6)
    assert len(optimize(model.eval(), x[:1], images=x, timing=False).certificates) == 1
    x[2] += 100
    optimized = optimize(model, x[:1], images=x, timing=False)
    assert optimized.certificates == ()
    assert "rolled back after all inputs: outputs moved by" in optimized.report.refused[-1].why
    assert optimized.report.max_rel_error <= optimized.report.bound
    torch.testing.assert_close(optimized.model(x), model(x))  # a kernel may have been chosen


def _drop(captured, site):
    (node,) = site.nodes
    node.replace_all_uses_with(node.args[0])
    captured.module.graph.erase_node(node)
    return []


WRONG = [
    ({"max_drop": -0.1}, "max_drop is -0.1; it is a share, from 0 to 1"),
    ({"max_drop": float("nan")}, "max_drop is nan"),
    ({"math": "quick"}, "math is 'quick'; choose"),
    ({"batch_size": 0}, "batch_size is 0; it is a whole number >= 1"),
    ({"seed": 1.5}, "seed is 1.5; it is a whole number"),
    ({"images": torch.zeros(0, 3, 9, 9)}, r"images are \(0, 3, 9, 9\); they must be a tensor"),
    ({"images": [1, 2, 3]}, "images are list; they must be a tensor"),
    ({"images": torch.zeros(3, 9, 9)}, r"images are \(3, 9, 9\), the example \(2, 3, 9, 9\)"),
    (
        {"images": torch.zeros(3, 3, 9, 9, dtype=torch.uint8)},
        "images are torch.uint8, the example torch.float32; give images as the model takes them",
    ),
    (
        {"images": (torch.zeros(4, 3, 9, 9), torch.zeros(3))},
        r"labels are torch.float32 of shape \(3,\); .* one for each of the 4 images",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        optimize(network().eval(), torch.zeros(2, 3, 9, 9), **wrong)


def test_labels_need_one_score_per_class():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), torch.zeros(2, 3, 6, 6)
    with pytest.raises(ArgumentError, match=r"output is \(2, 4, 4, 4\), not one score per class"):
        optimize(model, x, images=(x, torch.tensor([0, 1])))


def test_max_drop_is_recorded_and_not_spent():
    report = optimize(network().eval(), torch.zeros(1, 3, 9, 9), max_drop=0.01, timing=False).report
    assert report.settings["max_drop"] == 0.01
    assert report.notes[-1] == "max_drop was not spent: every rule is exact"
