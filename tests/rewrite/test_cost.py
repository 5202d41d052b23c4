# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith.capture import capture
from convsmith.convs.involution import involution2d
from convsmith.rewrite.cost import cost


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


IMAGE = (2, 4, 5, 7)
COUNTED = [
    (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 7), 2 * 6 * 35 * 2 * 9),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 5, 7), 2 * 6 * 35 * 4 * 9),
    (nn.Conv1d(4, 6, 3, stride=2), (2, 4, 9), 2 * 6 * 4 * 4 * 3),
    (nn.Conv3d(2, 3, 2), (2, 2, 3, 3, 3), 2 * 3 * 8 * 2 * 8),
    # every input element meets every tap of each of its group's outputs
    (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 7), 2 * 4 * 35 * 3 * 9),
    (nn.Linear(3, 5), (2, 4, 3), 2 * 4 * 5 * 3),
    (Call(lambda x: x @ x.transpose(1, 2)), (2, 4, 3), 2 * 4 * 4 * 3),
    (Call(lambda x: torch.bmm(x, x.transpose(1, 2))), (2, 4, 3), 2 * 4 * 4 * 3),
    (Call(lambda x: F.scaled_dot_product_attention(x, x, x)), (2, 4, 6, 3), 2 * 4 * 6 * 6 * 6),
    # n * c * taps * h' * w', as the operator registered
    (Call(lambda x: involution2d(x, x[:, :1, None].repeat(1, 2, 9, 1, 1))), IMAGE, 2 * 4 * 9 * 35),
    (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), (2, 3, 4, 4), 0),
]


@pytest.mark.parametrize(("model", "shape", "macs"), COUNTED)
def test_macs_are_counted_from_shapes(model, shape, macs):
    assert cost(capture(model.eval(), torch.zeros(shape))).macs == macs


def test_a_layer_used_twice_works_twice_and_is_stored_once():
    layer = nn.Linear(3, 3)
    counted = cost(capture(Call(lambda x: layer(layer(x))), torch.zeros(2, 3)))
    assert counted.macs == 36
    twice = nn.Sequential(layer, nn.ReLU(), layer)
    assert cost(capture(twice.eval(), torch.zeros(2, 3))).parameters == 12


def test_padding_computed_from_a_free_size():
    layer = nn.Conv2d(3, 4, 3, stride=2)

    def padded(x):
        width = 1 + x.shape[-1] % 2
        return layer(F.pad(x, (0, width, 0, width)))

    x = torch.zeros(2, 3, 8, 8)
    captured = capture(Call(padded).eval(), x)
    assert any(n.op == "call_function" and "pad" in str(n.target) for n in captured.graph.nodes)
    assert cost(captured).macs == 2 * 4 * 16 * 3 * 9
