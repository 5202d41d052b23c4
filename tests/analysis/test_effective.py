# SPDX-License-Identifier: Apache-2.0
"""What outputs listen to: where gradients are known exactly, and what is refused."""

import json

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.analysis.result import Effective
from convsmith.errors import ArgumentError


def ones(depth: int, *, in_place: bool = True) -> nn.Module:
    """3x3 sums in a row: a place's weight is the number of its paths."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        nn.init.ones_(conv.weight)
        layers += [conv, nn.ReLU(inplace=in_place)]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("in_place", [False, True])
def test_sums_listen_as_their_paths_say(in_place: bool) -> None:
    # Along one axis the paths of two layers are 1 2 3 2 1, of three 1 3 6 7 6 3 1 of 27: the
    # middle 3 have 7/9 and 19/27 of them, the middle 5 all and 25/27 (under 95 %).
    found = cs.analyze(ones(3, in_place=in_place), (1, 2, 11, 13), images=torch.rand(2, 2, 11, 13))
    measured = [layer.effective for layer in found.layers if layer.effective]
    assert measured == [
        Effective(images=2, half=(3, 3), most=(3, 3)),
        Effective(images=2, half=(3, 3), most=(5, 5)),
        Effective(images=2, half=(3, 3), most=(7, 7)),
    ]
    assert json.loads(json.dumps(found.to_json()))["layers"][0]["effective"]["most"] == [3, 3]


def test_nothing_is_listened_to_outside_the_cone() -> None:
    """The stretches lie around the cone of the very output that was followed back."""
    convs = [nn.Conv2d(1, 1, 3, stride=2, padding=p, bias=False) for p in (1, 0, 1)]
    for conv in convs:
        nn.init.ones_(conv.weight)
    found = cs.analyze(
        nn.Sequential(*convs).eval(), (1, 1, 64, 57), images=torch.rand(1, 1, 64, 57)
    )
    # 3, 7 and 15 places; of 1 1 1 no fewer than 3 hold 95 %.
    assert found.layers[0].effective.most == (3, 3)
    for layer in found.layers:
        assert all(m <= a.size for m, a in zip(layer.effective.most, layer.cone.axes, strict=True))


def test_only_what_images_reach_counts() -> None:
    """A kernel that looks to the right alone, and a branch that a ReLU shuts."""
    model = nn.Sequential(nn.Conv2d(1, 1, 5, padding=2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 0, 2, 4] = 1
    found = cs.analyze(model, (1, 1, 9, 9), images=torch.rand(1, 1, 9, 9))
    assert found.layers[0].cone.axes[0].size == 5
    # All weight lies 2 columns from the middle, in its row.
    assert found.layers[0].effective == Effective(images=1, half=(1, 5), most=(1, 5))
    nn.init.constant_(model[0].weight, -1)
    shut = nn.Sequential(model[0], nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1)).eval()
    found = cs.analyze(shut, (1, 1, 9, 9), images=torch.rand(1, 1, 9, 9))
    assert found.layers[-1].effective is None


def test_sequences_and_many_layers() -> None:
    convs = [nn.Conv1d(1, 1, 3, padding=1) for _ in range(30)]
    found = cs.analyze(nn.Sequential(*convs).eval(), (1, 1, 80), images=torch.rand(1, 1, 80))
    measured = [layer.name for layer in found.layers if layer.effective]
    assert len(measured) == 12
    assert (measured[0], measured[-1]) == ("0", "29")
    assert all(len(layer.effective.half) == 1 for layer in found.layers if layer.effective)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    images = torch.rand(1, 1, 8, 8)
    cs.analyze(model, (1, 1, 8, 8), images=images, pictures=True)
    assert model.training
    assert model[1].num_batches_tracked == 0
    assert not images.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_what_has_no_gradient_is_noted() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.detach()
            return nn.functional.conv2d(y, torch.ones(1, 1, 3, 3))

    found = cs.analyze(Rounded(), (1, 1, 8, 8), images=torch.rand(1, 1, 8, 8))
    assert found.layers[-1].effective is None
    assert any("what outputs listen to could not be measured" in note for note in found.notes)


def test_pictures_of_kernels_and_maps() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 300, 1), nn.Conv2d(300, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)
    ).eval()
    plain = cs.analyze(model, (1, 3, 8, 8), pictures=True)
    assert {i for i, drawn in plain.pictures.items() if drawn.kernels} == {0, 1, 2}
    assert not any(drawn.maps for drawn in plain.pictures.values())
    mixing, kernels = (plain.pictures[i].kernels for i in (0, 1))
    assert mixing.pixels.shape == (75, 3, 3)  # the strongest of 4 outputs, 3 inputs, colour
    assert "300 outputs (down) of 3 inputs (across); a square is the strongest" in mixing.words
    assert kernels.pixels.shape == (4 * 4 - 1, 8 * 4 - 1, 3)
    seen = cs.analyze(model, (1, 3, 8, 8), images=torch.rand(1, 3, 8, 8), pictures=True)
    assert seen.pictures[0].maps.words.startswith("16 of 300 channels")
    assert seen.pictures[1].heat.shape == (8, 8)
    strongest = model[0].weight.detach().reshape(75, 4, 3).abs().amax(1)
    row, column = divmod(int(strongest.argmax()), 3)
    assert mixing.pixels[row, column].tolist() in ([20, 70, 140], [194, 65, 12])


def test_pictures_of_volumes_say_which_slice() -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, (5, 3, 3))).eval()
    found = cs.analyze(model, (1, 1, 9, 6, 6), images=torch.rand(1, 1, 9, 6, 6), pictures=True)
    drawn = found.pictures[0]
    assert drawn.kernels.words == (
        "3 x 3 kernels, 2 of 2 outputs, the slice at depth 2 of 0 to 4; blue adds, red takes away"
    )
    assert drawn.maps.words.startswith("2 of 2 channels, the slice at depth 2 of 0 to 4, each")


def test_images_that_do_not_fit_are_refused() -> None:
    conv = nn.Conv2d(3, 4, 3)
    with pytest.raises(ArgumentError, match=r"images are torch.float32 of shape \(1, 3, 9, 9\)"):
        cs.analyze(conv, (1, 3, 8, 8), images=torch.rand(1, 3, 9, 9))
    with pytest.raises(ArgumentError, match=r"meta device and has no numbers .* leave out images"):
        cs.analyze(conv.to("meta"), (1, 3, 8, 8), images=torch.rand(1, 3, 8, 8))
    with pytest.raises(ArgumentError, match="the model takes 2 inputs; they need a model with one"):
        cs.analyze(nn.Bilinear(2, 2, 2), [(1, 2), (1, 2)], images=torch.rand(1, 2, 2))
