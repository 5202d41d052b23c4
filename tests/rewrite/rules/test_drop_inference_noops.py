# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.rewrite.rules.drop_inference_noops import RULE


class Applied(nn.Module):
    """A function between two layers that stay, so that nothing escapes as an output."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x * 2) - 1


DROPPED = {
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "dropout2d": lambda x: F.dropout2d(x, 0.5, training=False),
    "contiguous": lambda x: x.contiguous(memory_format=torch.channels_last),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "same shape": lambda x: x.reshape(x.size(0), 3, x.size(2), -1),
    "flatten one axis": lambda x: x.flatten(3),
    "same dtype": lambda x: x.to(torch.float32),
    "no padding": lambda x: F.pad(x, (0, 0, 0, 0)),
    "max over single pixels": lambda x: F.max_pool2d(x, 1),
    "mean over single pixels": lambda x: F.avg_pool2d(x, 1, 1),
    "cancelling permutations": lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    "cancelling transpositions": lambda x: x.transpose(1, 3).transpose(3, 1),
    "minus nothing": lambda x: x - 0,
    "times one": lambda x: x * 1.0,
}


@pytest.mark.parametrize("name", DROPPED)
def test_drops_what_does_nothing(name, rewritten, whole_numbers):
    model, x = Applied(DROPPED[name]), whole_numbers(2, 3, 5, 4)
    result = rewritten(model, x, RULE)
    assert result.operators == ["mul", "sub"]
    assert torch.equal(result.captured.module(x), model(x))


LEFT = {
    "reshape": lambda x: x.reshape(x.size(0), -1),
    "half": lambda x: x.to(torch.float16),
    "padding": lambda x: F.pad(x, (1, 0)),
    "subsampling": lambda x: F.max_pool2d(x, 1, 2),
    "permutation": lambda x: x.permute(0, 2, 3, 1),
    "two permutations": lambda x: x.permute(0, 2, 3, 1).permute(0, 2, 3, 1),
    "relu": lambda x: x.relu(),
    "shifted": lambda x: x + 1,
    "plus nothing, which changes -0.0": lambda x: x + 0,
    "broadcast": lambda x: x.unsqueeze(0) + torch.zeros(2, 1, 1, 1, 1),
}


@pytest.mark.parametrize("name", LEFT)
def test_leaves_what_does_something(name, rewritten, whole_numbers):
    model, x = Applied(LEFT[name]), whole_numbers(2, 3, 5, 4)
    result = rewritten(model, x, RULE)
    assert result.certificates == []
    assert torch.equal(result.captured.module(x), model(x))


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (F.relu, F.relu, ["relu"]),
        (F.relu6, F.relu, ["relu6"]),
        (nn.ReLU6(), nn.ReLU6(), ["hardtanh"]),
        (torch.sigmoid, F.relu, ["sigmoid"]),
        (F.relu, F.relu6, ["relu", "relu6"]),
        (F.hardtanh, F.relu, ["hardtanh", "relu"]),
    ],
)
def test_a_relu_behind_values_never_negative_goes(first, second, left, rewritten, whole_numbers):
    model, x = Applied(lambda x: second(first(x))), whole_numbers(2, 3, 5, 4)
    result = rewritten(model, x, RULE)
    assert result.operators == ["mul", *left, "sub"]
    assert torch.equal(result.captured.module(x), model(x))


def test_an_output_never_begins_to_share_memory(rewritten, whole_numbers):
    model, x = Applied(lambda x: x), whole_numbers(2, 3)
    model.forward = lambda x: (x.clone(), (x * 2).clone().view(-1))
    result = rewritten(model, x, RULE)
    assert result.operators == ["clone", "mul", "clone", "view"]
    copied, _ = result.captured.module(x)
    assert copied.data_ptr() != x.data_ptr()


def test_a_view_behind_a_dropped_copy_takes_any_layout(rewritten, whole_numbers):
    model = Applied(lambda x: x.permute(0, 2, 3, 1).contiguous().view(x.size(0), -1))
    x = whole_numbers(2, 3, 5, 4)
    result = rewritten(model, x, RULE)
    assert result.operators == ["mul", "permute", "reshape", "sub"]
    striped = x.to(memory_format=torch.channels_last)
    assert torch.equal(result.captured.module(striped), model(x))
