# SPDX-License-Identifier: Apache-2.0
"""What the core sees of torch's tensors and modules without computing with them."""

from array import array

import pytest
import torch
from torch import Tensor, nn

from convsmith import native
from convsmith.native.core import layouts, look_up, states, states_at

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


def test_a_layout_is_device_dtype_sizes_and_strides() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert layouts([x]) == layouts([torch.ones(2, 3, 4, 5)])
    others = [
        x.double(),
        x.to(torch.bfloat16),
        x.half(),
        x.int(),
        x[:1],
        x[0],
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x.to(memory_format=torch.channels_last),
    ]
    found = [layouts([other]) for other in (x, *others)]
    assert len(set(found)) == len(found)
    assert layouts([x, x[0]]) != layouts([x[0], x])
    assert layouts([]) == b""


def test_tensors_without_memory_have_a_layout_that_is_no_others() -> None:
    """Not even their own, since nobody knows what it is."""
    hidden = torch.empty(2, 3, device="meta")
    found = [layouts([x]) for x in (hidden, hidden, torch.empty(2, 3).to_sparse())]
    assert len({*found, layouts([torch.empty(2, 3)]), layouts([])}) == 5


def _add(weight: Tensor) -> None:
    weight.add_(1)


def _turn(weight: Tensor) -> None:
    weight.data = weight.data.t()


def _move(weight: Tensor) -> None:
    weight.data = weight.data.clone()


def _convert(weight: Tensor) -> None:
    weight.data = weight.data.view(torch.int32)


@pytest.mark.parametrize("change", [_add, _turn, _move, _convert])
def test_a_state_is_another_after_every_change_that_torch_knows_of(change: object) -> None:
    weight = torch.zeros(4, 4)
    before = states([weight, None])
    assert before == states([weight, None])
    assert callable(change)
    change(weight)
    assert before != states([weight, None])


def test_parameters_and_tensors_of_inference_mode_have_states() -> None:
    with torch.inference_mode():
        unversioned = torch.zeros(4, 4)
        assert states([unversioned]) == states([unversioned])
    assert states([nn.Parameter(torch.zeros(4))]) != states([None])
    assert states([None]) != states([])


def network() -> nn.Sequential:
    layers = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Sequential(nn.BatchNorm2d(2)))
    return layers


def test_look_up_finds_what_is_there_now() -> None:
    layers, paths = network(), (("0", "weight"), (), ("1", "0", "running_mean"))
    assert layers[0].bias is not None
    weight, nothing, mean = look_up(layers, paths)
    assert weight is layers[0].weight
    assert nothing is None
    assert mean is layers[1][0].running_mean
    layers[0] = nn.Conv2d(2, 2, 1)
    assert look_up(layers, paths)[0] is layers[0].weight


@pytest.mark.parametrize(
    ("path", "name"), [(("2", "weight"), "2"), (("0", "scale"), "scale"), (("0", "bias"), "bias")]
)
def test_what_is_not_there_is_named(path: tuple[str, ...], name: str) -> None:
    layers = network()
    layers[0].bias = None
    with pytest.raises(KeyError, match=name):
        look_up(layers, (path,))


def test_states_at_paths_are_those_of_what_is_found() -> None:
    layers, paths = network(), (("0", "weight"), (), ("1", "0", "running_mean"))
    addresses = array("q", [0, 8, id(layers)])  # fetched, whatever they are
    for _ in range(2):
        assert states_at(layers, paths, addresses) == states(look_up(layers, paths))
        layers[0].weight.data.add_(1)
        layers[0] = nn.Conv2d(2, 2, 1)
    with pytest.raises(KeyError, match="7"):
        states_at(layers, (("7", "weight"),), addresses)
