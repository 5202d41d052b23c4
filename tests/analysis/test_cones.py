# SPDX-License-Identifier: Apache-2.0
"""Cones against the probe: put one NaN in, see which outputs turn NaN."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convsmith as cs
from convsmith.analysis.cones import along, cones
from convsmith.analysis.footprint import Footprint
from convsmith.analysis.reach import Reach, Seen
from convsmith.capture import trace
from convsmith.errors import ShapeError

from .random_networks import CHANNELS, RandomNetwork


def last_seen(model: nn.Module, shape: tuple[int, ...], axis: int = 2) -> tuple[Reach, Seen]:
    """How the (first) result sees one axis of the input."""
    traced = trace(model, [torch.empty(shape, dtype=torch.float64, device="meta")])
    (found,) = cones(traced.graph, lambda node: node.name)[1].values()
    reach = found[traced.graph.output_node().args[0][0]]
    assert isinstance(reach, Reach)
    return reach, reach.seen[axis]


def predicted(reach: Reach, seen: Seen, output: int) -> set[int]:
    footprints = [along(strand, reach) for strand in seen.strands]
    return {int(p) for f in footprints for p in f.at(output).positions()}


def probe(model: nn.Module, size: int) -> np.ndarray:
    """[i, j]: whether a NaN at input i reaches output j, along one axis."""
    x = torch.rand(size, CHANNELS, size, dtype=torch.float64)
    x[torch.arange(size), :, torch.arange(size)] = float("nan")
    with torch.no_grad():
        return model(x).isnan().any(1).numpy()


def check(seed: int, steps: int) -> bool:
    """Whether outputs far from the edges were there to compare exactly; the others read no more
    than is said.
    """
    model = RandomNetwork(seed, steps).eval()
    size, is_exact = 80 + seed % 7, False
    try:
        reached = probe(model, size)
    except RuntimeError:  # the map became too small for a window
        return False
    outputs = reached.shape[1]
    reach, seen = last_seen(model, (1, CHANNELS, size))
    assert seen.whole is None, model.words
    # A slice and padding behind it put zeros where the image had a few more places.
    margin = 8 + max(along(strand, reach).cone().size for strand in seen.strands)
    for j in range(outputs):
        positions = predicted(reach, seen, j)
        found = set(np.flatnonzero(reached[:, j]).tolist())
        assert found <= positions | edges(model), (model.words, j, found - positions)
        if positions and min(positions) >= margin and max(positions) < size - margin:
            assert found == positions, (model.words, j, found ^ positions)
            is_exact = True
    return is_exact


def edges(model: RandomNetwork) -> set[int]:
    """Repeating the edge, or blending towards it, reads places that the middle does not."""
    far = any("replicate" in word or "linear" in word for word in model.words)
    return set(range(-100, 200)) if far else set()


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """The networks are small: a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("block", range(5))
def test_hundreds_of_random_graphs(block: int) -> None:
    exact = [check(seed, steps=1 + seed % 3) for seed in range(60 * block, 60 * block + 60)]
    assert sum(exact) > 45


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("block", range(40))
def test_thousands_of_random_graphs(block: int) -> None:
    seeds = range(10_000 + 100 * block, 10_100 + 100 * block)
    assert sum(check(seed, steps=1 + seed % 5) for seed in seeds) > 50


class Image(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def smoothed(size: int, mode: str) -> nn.Module:
    return Image(lambda self, x: F.interpolate(x, (size, 6), mode=mode, antialias=True))


def folded(self, x):
    """Patches of 3 x 3, 2 apart, made by a 1x1 and added up."""
    return F.fold(self.conv(x).flatten(2), (49, 13), 3, stride=2)


def shuffled(self, x):
    y = F.max_pool2d(x, 3, 1, 1)
    return y[:, self.order] + x[:, :1]


PROBED = {
    **{f"smoothed to {n} by {m}": smoothed(n, m) for n in (9, 36) for m in ("bilinear", "bicubic")},
    "folded": Image(folded, conv=nn.Conv2d(CHANNELS, 18, 1).double()),
    "picked by index": Image(shuffled, order=torch.tensor([2, 0, 3, 1])),
}


@pytest.mark.parametrize("name", PROBED)
def test_operators_of_images_against_the_probe(name: str) -> None:
    model, size = PROBED[name], 24
    x = torch.rand(size, CHANNELS, size, 6, dtype=torch.float64)
    x[torch.arange(size), :, torch.arange(size)] = float("nan")
    with torch.no_grad():
        reached = model(x).isnan().any(3).any(1).numpy()
    reach, seen = last_seen(model, (1, CHANNELS, size, 6))
    assert seen.whole is None
    for j in range(reached.shape[1]):
        inside = predicted(reach, seen, j) & set(range(size))
        assert set(np.flatnonzero(reached[:, j]).tolist()) == inside, (name, j)


def test_patches_put_together_again_and_picked_places_are_not_followed() -> None:
    def again(self, x):
        return F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1)

    def picked(self, x):
        return x[:, :, self.order]

    for model, why in (
        (Image(again), "col2im: puts patches together that were cut before"),
        (Image(picked, order=torch.tensor([2, 0])), "index: picks places by index"),
    ):
        whole = cs.analyze(model, (1, CHANNELS, 8, 9)).layers[-1].cone.whole_map_by
        assert whole.why in why


def squeeze_and_excite(self, x):
    return self.conv(x) * self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


def attention(self, x):
    tokens = self.conv(x).flatten(2).transpose(1, 2)
    tokens = tokens + (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
    return tokens.transpose(1, 2).unflatten(2, x.shape[2:])


CONV = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
WHOLE = {
    "squeeze and excitation": (
        Image(squeeze_and_excite, conv=CONV, fc=nn.Conv2d(CHANNELS, CHANNELS, 1)),
        ("mean", "takes the mean over all places"),
    ),
    "attention": (Image(attention, conv=CONV), ("softmax", "takes the softmax over all places")),
    "global pooling": (
        nn.Sequential(CONV, nn.AdaptiveAvgPool2d(1)),
        ("1", "pools the whole map"),
    ),
    "global pooling by its size": (
        Image(lambda self, x: F.avg_pool2d(x, x.shape[2:])),
        ("avg_pool2d", "pools the whole map"),
    ),
    "instance norm": (
        nn.Sequential(CONV, nn.InstanceNorm2d(CHANNELS)),
        ("1", "normalises by the mean over all places"),
    ),
    "group norm": (
        nn.Sequential(nn.GroupNorm(2, CHANNELS)),
        ("0", "normalises by the mean over all places"),
    ),
    "linear": (
        nn.Sequential(CONV, nn.Flatten(), nn.Linear(CHANNELS * 72, 3)),
        ("2", "multiplies a flattened map by a matrix"),
    ),
    "dot products with a kernel of its own": (
        Image(lambda self, x: F.conv2d(x, x.mean((0, 2, 3)).expand(1, CHANNELS)[:, :, None, None])),
        ("mean", "takes the mean over all places"),
    ),
    "sampling": (
        Image(lambda self, x: F.grid_sample(x, x[:, :2].movedim(1, -1), align_corners=False)),
        ("grid_sampler", "samples at places that are computed"),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_reads_the_whole_map_and_why(name: str) -> None:
    model, (layer, why) = WHOLE[name]
    found = cs.analyze(model, (1, CHANNELS, 8, 9))
    cone = found.layers[-1].cone
    assert cone is not None
    assert cone.whole_map_by is not None
    assert cone.whole_map_by.layer == layer
    assert why in cone.whole_map_by.why
    assert not cone.ends


def test_windows_are_seen_through_a_gate() -> None:
    model = WHOLE["squeeze and excitation"][0]
    cone = cs.analyze(model, (1, CHANNELS, 8, 9)).layers[-1].cone
    assert [axis.size for axis in cone.axes] == [3, 3]


def test_axes_are_told_apart() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, (3, 1), stride=(2, 1), dilation=(2, 1)), nn.MaxPool2d((1, 4), (1, 2))
    )
    rows, columns = cs.analyze(model, (1, 3, 32, 32)).cone.axes
    assert (rows.axis, rows.size, rows.touched, rows.stride) == (2, 5, 3, 2)
    assert (columns.axis, columns.size, columns.touched, columns.stride) == (3, 4, 4, 2)
    assert (rows.a, rows.b, columns.a, columns.b) == (0, 4, 0, 3)


def test_an_image_without_a_batch_has_the_same_cone() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, (3, 1), padding=(2, 0), dilation=(2, 1)),
        nn.MaxPool2d((1, 4), (1, 2)),
        nn.Conv2d(4, 4, (3, 1), padding=(2, 0), dilation=(2, 1)),
    )
    alone, batched = (cs.analyze(model, shape) for shape in [(3, 32, 30), (1, 3, 32, 30)])
    assert [axis.axis for axis in alone.cone.axes] == [1, 2]
    for mine, same in zip(alone.layers, batched.layers, strict=True):
        assert mine.cone is not None
        assert same.cone is not None
        for a, b in zip(mine.cone.axes, same.cone.axes, strict=True):
            assert replace(a, axis=a.axis + 1) == b
        for g, h in zip(mine.gridding, same.gridding, strict=True):
            assert replace(g, axis=g.axis + 1) == h
    assert alone.layers[-1].gridding
    assert mine.macs == same.macs


def test_a_sequence_without_a_batch_has_a_cone() -> None:
    (axis,) = cs.analyze(nn.Conv1d(3, 4, 5, stride=2), (3, 20)).cone.axes
    assert (axis.axis, axis.size, axis.stride) == (1, 5, 2)
    assert cs.analyze(nn.Linear(3, 4), (20, 3)).cone is None  # rows of a table


def test_a_window_that_is_not_understood_is_told_and_stops_nothing(monkeypatch) -> None:
    def unknown(node):
        raise KeyError("kernel_size")

    for module in ("cones", "spreading.windowing"):
        monkeypatch.setattr(f"convsmith.analysis.{module}.window_at", unknown)
    cone = cs.analyze(nn.Conv2d(3, 4, 3), (1, 3, 8, 8)).layers[0].cone
    assert cone is not None
    assert "is used in a way that is not known ('kernel_size')" in cone.whole_map_by.why


def test_tokens_keep_the_places_they_came_from() -> None:
    tokens = Image(
        lambda self, x: self.mix(self.patches(x).flatten(2).transpose(1, 2)),
        patches=nn.Conv2d(CHANNELS, 8, 4, stride=4),
        mix=nn.Linear(8, 8),
    )
    cone = cs.analyze(tokens, (1, CHANNELS, 24, 40)).layers[-1].cone
    assert cone.ends
    assert [(a.axis, a.size, a.stride, a.a) for a in cone.axes] == [(2, 4, 4, 0), (3, 4, 4, 0)]


def test_tokens_of_a_film_beside_one_of_no_place_are_not_followed() -> None:
    """Three axes in one, moved by one: each would be a pattern of thousands of outputs."""

    def beside(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([self.token, tokens], 1)[:, 1:]

    film = Image(beside, token=nn.Parameter(torch.zeros(1, 1, CHANNELS)))
    cone = cs.analyze(film, (1, CHANNELS, 8, 24, 24)).layers[-1].cone
    assert "works along an axis made of several" in cone.whole_map_by.why


def test_up_sampling_has_a_fractional_stride() -> None:
    cone = cs.analyze(nn.ConvTranspose1d(1, 1, 4, stride=2, padding=1), (1, 1, 8)).cone
    assert (cone.axes[0].size, cone.axes[0].stride) == (2, Fraction(1, 2))
    assert cone.to_json()["axes"][0]["stride"] == [1, 2]


def test_how_much_lies_beyond_the_image() -> None:
    model = nn.Sequential(*[nn.Conv1d(1, 1, 3, padding=1) for _ in range(10)])
    (axis,) = cs.analyze(model, (1, 1, 7)).cone.axes
    assert axis.size == 21
    assert axis.outside == (21 - 7) / 21


# Araujo, Norris, Sim 2019, Computing Receptive Fields of Convolutional Neural Networks, for VGG-16
# (behind the last pooling), ResNet-50 v1 and MobileNet v1 (before the global pooling). ResNet v1.5
# strides in the 3x3 of a block instead of its first 1x1, as ResNeXt-50 here does.
PUBLISHED = {
    "vgg16": (212, 32),
    "resnet50": (483, 32),
    "resnext50_32x4d": (427, 32),
    "mobilenet_v1": (315, 32),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_receptive_fields(name: str) -> None:
    model = cs.models.create(name, device="meta")
    cone = cs.analyze(model, (1, 3, 224, 224)).cone
    assert {(axis.size, axis.stride) for axis in cone.axes} == {PUBLISHED[name]}


def test_footprints_keep_holes_and_paths() -> None:
    holes = Footprint.identity().window([0, 2, 4]).window([0, 2, 4]).window([0, 2, 4])
    assert holes.cone().size == 13
    assert holes.reads[0].positions().tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert holes.reads[0].paths[::2].tolist() == [1, 3, 6, 7, 6, 3, 1]
    deep = Footprint.identity()
    for _ in range(1000):
        deep = deep.window([-1, 0, 1])
    assert deep.reads[0].touched.all()
    assert deep.cone().size == 2001
    assert np.isfinite(deep.reads[0].paths).all()
    assert deep.log2_scale > 1000


@pytest.mark.parametrize("step", [-3, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_repeating_is_a_window_of_equal_steps(step: int, count: int) -> None:
    start = Footprint.identity().gather(3, [[0, 1], [2, 5]])  # two outputs a round
    fast, slow = start.repeated(step, count), start.window([step * i for i in range(count)])
    assert fast.same(slow)
    for mine, theirs in zip(fast.reads, slow.reads, strict=True):
        assert mine.paths.tolist() == theirs.paths.tolist()


def test_what_no_list_holds_is_named() -> None:
    strides = [nn.Conv1d(1, 1, 2000, stride=2000), nn.ConvTranspose1d(1, 1, 4000, stride=4000)]
    cone = cs.analyze(nn.Sequential(*strides), (1, 1, 10_000)).layers[-1].cone
    assert "what conv_transpose1d reads is too much to be listed" in cone.whole_map_by.why


def test_footprints_have_a_limit() -> None:
    with pytest.raises(ShapeError, match="footprint: one output reads 5000001 positions, over"):
        Footprint.identity().window([0, 5_000_000])
    with pytest.raises(ShapeError, match="footprint: 1025 outputs read differently before it rep"):
        Footprint.identity().gather(1, [[j] for j in range(1025)])
    odd, even = (Footprint.identity().gather(1, [[0]] * n) for n in (63, 64))
    with pytest.raises(ShapeError, match="footprint: 4032 outputs read differently"):
        odd.union(even)
    wide = Footprint.identity().window([0, 3_000_000])
    with pytest.raises(ShapeError, match="footprint: 2 outputs read 3000001 positions each; at"):
        wide.gather(1, [[0], [0]])


# Options that make it small, and its receptive field.
ON_MODELS = {
    "resnet20": ({}, 81),
    "mobilenet_v1": ({"width": 0.25}, 315),
    "mobilenet_v2": ({"width": 0.25}, 491),
    "resnet50": ({"width": 0.125}, 483),
    "densenet121": ({"width": 0.25}, 2071),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_MODELS)
def test_the_probe_on_published_networks(name: str) -> None:
    """One NaN row in a tall image, far from its ends, and the map before the global pooling."""
    options, size = ON_MODELS[name]
    model = cs.models.create(name, **options)
    height = -(-3 * size // 64) * 64
    x = torch.rand(1, 3, height, 32)
    traced = trace(model, [x])
    reaches = cones(traced.graph, lambda node: node.name)[1]["x0"]
    pool = next(n for n in traced.graph.nodes if "adaptive_avg_pool2d" in str(n.target))
    reach = reaches[pool.args[0]]
    assert isinstance(reach, Reach)
    seen = reach.seen[2]
    assert max(along(s, reach).cone().size for s in seen.strands) == size
    maps: list[Tensor] = []
    pools = [m for m in model.modules() if isinstance(m, nn.AdaptiveAvgPool2d)]
    pools[0].register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    row = height // 2 + 5
    x[:, :, row] = float("nan")
    with torch.no_grad():
        model(x)
    reached = maps[0].isnan().any(dim=3).any(dim=1).flatten().nonzero().flatten().tolist()
    outputs = range(maps[0].shape[2])
    assert reached == [j for j in outputs if row in predicted(reach, seen, j)]
