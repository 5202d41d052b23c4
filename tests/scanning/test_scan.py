# SPDX-License-Identifier: Apache-2.0
"""`scan` from end to end: equal to the whole, resumed, refused, stopped, honest about failures."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import convsmith as cs
from convsmith.capture import Network, capture
from convsmith.errors import ArgumentError, ScanError, ShapeError, UnsupportedError
from convsmith.scanning import Progress, ScanResult, SyntheticSource
from convsmith.scanning.running.ownership import Ownership

SHAPE = (1, 41, 57)
STEPS = {"scale": 255.0, "mean": [0.5], "std": [0.25]}


def with_whole_numbers(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def network() -> Network:
    layers = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3))
    return capture(with_whole_numbers(layers), torch.zeros(2, 1, 16, 16)).module


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    return with_whole_numbers(
        nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(2 * 2 * 2, 3)
        )
    )


def image(source: SyntheticSource) -> torch.Tensor:
    window = tuple(slice(0, size) for size in source.shape[1:])
    return torch.from_numpy(source.read(window).astype(np.float32))[None]


def everything(result: ScanResult) -> np.ndarray:
    return result.store.read(tuple(slice(size) for size in result.plan.outputs))


def test_tiles_equal_the_whole(network: Network, tmp_path: Path) -> None:
    source = SyntheticSource(SHAPE)
    result = cs.scan(network, source, tmp_path / "out", core=5)
    assert len(result.plan) == 4 * 6
    np.testing.assert_array_equal(everything(result), network(image(source))[0].detach().numpy())
    plain = zarr.open_array(tmp_path / "out", mode="r")
    np.testing.assert_array_equal(plain[:], everything(result))


def test_the_axes_of_the_image_are_those_of_the_result(network: Network, tmp_path: Path) -> None:
    source = SyntheticSource(SHAPE)
    pixels = image(source)[0].permute(1, 2, 0).numpy()
    cs.scan(network, pixels, tmp_path / "hwc", axes="HWC")
    cs.scan(network, pixels[:, :, 0], tmp_path / "hw", axes="HW")
    expected = network(image(source))[0].detach().numpy()
    found = zarr.open_array(tmp_path / "hwc", mode="r")[:]
    np.testing.assert_array_equal(found, expected.transpose(1, 2, 0))
    found = zarr.open_array(tmp_path / "hw", mode="r")[:]
    np.testing.assert_array_equal(found, expected)


def test_the_same_call_goes_on_and_keeps_what_was_chosen(network: Network, tmp_path: Path) -> None:
    source = SyntheticSource(SHAPE)
    whole = cs.scan(network, source, tmp_path / "whole", core=5, batch=2)

    def stop(progress: Progress) -> None:
        if progress.done == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after [0-9]+ of 24 tiles; the same call"):
        cs.scan(network, source, tmp_path / "out", core=5, batch=2, progress=stop)
    # What was chosen before is kept where nothing is said now.
    result = cs.scan(network, source, tmp_path / "out")
    assert result.resumed > 0
    assert result.resumed + result.computed == 24
    assert result.plan == whole.plan
    np.testing.assert_array_equal(everything(result), everything(whole))
    again = cs.scan(network, source, tmp_path / "out")
    assert (again.computed, again.resumed) == (0, 24)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"core": 6}, r"axes\.0\.core \(5 then, 6 now\)"),
        ({"output": "labels"}, r"output \(scores then, labels now\)"),
        ({"preprocess": STEPS}, r"preprocess\.mean\.0 \(nothing then, 0\.5 now\)"),
        ({"source": SyntheticSource(SHAPE, seed=1)}, r"source\.seed \(0 then, 1 now\)"),
        ({"model": "other"}, r"weights \([0-9a-f]{12} then, [0-9a-f]{12} now\)"),
        ({"threads": 3}, r"threads \(1 then, 3 now\)"),
    ],
)
def test_another_plan_is_refused_by_its_field(
    network: Network, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    call: dict[str, Any] = {"model": network, "source": SyntheticSource(SHAPE), "core": 5}
    cs.scan(**call, sink=tmp_path / "out", threads=1)
    if change.get("model"):
        other = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3)
        )
        change = {"model": capture(other.eval(), torch.zeros(2, 1, 16, 16)).module}
    with pytest.raises(ArgumentError, match=f"under another plan, which differs in .*{field}"):
        cs.scan(**(call | change), sink=tmp_path / "out")


def test_a_running_scan_keeps_its_output(network: Network, tmp_path: Path) -> None:
    with (
        Ownership(tmp_path / "out" / "convsmith" / "lock"),
        pytest.raises(ArgumentError, match="one run works on an output at a time"),
    ):
        cs.scan(network, SyntheticSource(SHAPE), tmp_path / "out")


def test_failed_tiles_are_listed_and_done_again(network: Network, tmp_path: Path) -> None:
    class Torn(SyntheticSource):
        broken = True

        def read(self, window: tuple[slice, ...]) -> np.ndarray:
            if self.broken and window[0].start == 0 and window[1].start == 0:
                raise OSError("torn")
            return super().read(window)

    source = Torn(SHAPE)
    with pytest.raises(
        ScanError, match="1 of 24 tiles failed, 23 are done; tile 0: reading: torn; the same call"
    ) as caught:
        cs.scan(network, source, tmp_path / "out", core=5)
    assert caught.value.failed == {0: "reading: torn"}
    source.broken = False
    result = cs.scan(network, source, tmp_path / "out", core=5)
    assert result.computed == 1
    np.testing.assert_array_equal(everything(result), network(image(source))[0].detach().numpy())


def test_damaged_tiles_are_found_and_done_again(network: Network, tmp_path: Path) -> None:
    source = SyntheticSource(SHAPE)
    before = everything(cs.scan(network, source, tmp_path / "out", core=5))
    chunk = tmp_path / "out" / "c" / "0" / "1" / "2"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    assert cs.scan(network, source, tmp_path / "out").computed == 0
    result = cs.scan(network, source, tmp_path / "out", verify=True)
    assert result.computed == 1
    np.testing.assert_array_equal(everything(result), before)


def test_two_promises(classifier: nn.Module, tmp_path: Path) -> None:
    source, example = SyntheticSource(SHAPE), torch.zeros(1, 1, 8, 8)
    fcn = cs.scan(classifier, source, tmp_path / "fcn", example=example, core=3)
    patch = cs.scan(
        classifier, source, tmp_path / "patch", example=example, core=3, promise="patch"
    )
    dense = cs.scan(
        classifier, source, tmp_path / "dense", example=example, promise="patch", output_stride=3
    )
    assert fcn.prospect.coincide is False  # the convolution pads
    for result, step in ((patch, 4), (dense, 3)):
        crops = image(source).unfold(2, 8, step).unfold(3, 8, step)
        _, _, rows, columns = crops.shape[:4]
        expected = classifier(crops.reshape(-1, 1, 8, 8)).T.reshape(3, rows, columns)
        np.testing.assert_array_equal(everything(result), expected.detach().numpy())
    assert everything(fcn).shape == everything(patch).shape
    assert (everything(fcn) != everything(patch)).any()


def test_without_padding_the_promises_coincide(tmp_path: Path) -> None:
    model = with_whole_numbers(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * 9, 3))
    )
    call: dict[str, Any] = {"source": SyntheticSource(SHAPE), "example": torch.zeros(1, 1, 8, 8)}
    fcn = cs.scan(model, **call, sink=tmp_path / "fcn", core=7)
    patch = cs.scan(model, **call, sink=tmp_path / "patch", promise="patch")
    assert fcn.prospect.coincide is True
    np.testing.assert_array_equal(everything(fcn), everything(patch))


def test_pixels_are_normalised_as_the_model_says(network: Network, tmp_path: Path) -> None:
    class Known(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(1, 2, 3)
            self.preprocess = cs.models.Preprocess(
                colour="L", size=16, mean=(0.5,), std=(0.25,), scale=255.0
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    source, model = SyntheticSource(SHAPE), Known().eval()
    own = cs.scan(model, source, tmp_path / "own")
    given = cs.scan(model, source, tmp_path / "given", preprocess=STEPS)
    np.testing.assert_array_equal(everything(own), everything(given))
    expected = model((image(source) / 255 - 0.5) / 0.25)[0].detach()
    torch.testing.assert_close(torch.from_numpy(everything(own)), expected, atol=1e-5, rtol=1e-5)


def test_it_says_what_it_will_cost_before_it_works(network: Network, tmp_path: Path) -> None:
    said: list[Any] = []
    cs.scan(
        network,
        SyntheticSource(SHAPE),
        tmp_path / "out",
        core=5,
        memory=1 << 30,
        announce=lambda prospect: said.append((prospect, list((tmp_path / "out").glob("c/*")))),
    )
    ((prospect, chunks),) = said
    assert not chunks
    assert prospect.estimate.tiles == 24
    assert prospect.estimate.halo > 1
    assert prospect.estimate.memory_bytes <= prospect.estimate.budget_bytes == 1 << 30
    assert prospect.seconds() > 0
    assert prospect.to_json()["shape"] == [3, 19, 27]


REFUSED: list[tuple[str, type[Exception], Callable[[Path], Any]]] = [
    (
        "nothing says what Conv2d takes; give example=",
        ArgumentError,
        lambda sink: cs.scan(nn.Conv2d(1, 2, 3), SyntheticSource(SHAPE), sink),
    ),
    (
        "Conv1d takes inputs of shape \\(1, 1, 8\\), and the image has 2 axes of space",
        ArgumentError,
        lambda sink: cs.scan(
            nn.Conv1d(1, 2, 3), SyntheticSource(SHAPE), sink, example=torch.zeros(1, 1, 8)
        ),
    ),
    (
        "the image has 1 channels of \\(41, 57\\), and Conv2d takes 3; choose channels",
        ShapeError,
        lambda sink: cs.scan(
            nn.Conv2d(3, 2, 3), SyntheticSource(SHAPE), sink, example=torch.zeros(1, 3, 8, 8)
        ),
    ),
    (
        "cuts crops for a classifier, and Conv2d gives a map; scan it",
        ArgumentError,
        lambda sink: cs.scan(
            nn.Conv2d(1, 2, 3),
            SyntheticSource(SHAPE),
            sink,
            example=torch.zeros(1, 1, 8, 8),
            promise="patch",
        ),
    ),
    (
        "preprocess is {'scale': 1}: KeyError\\('mean'\\); give scale, and mean and std",
        ArgumentError,
        lambda sink: cs.scan(
            nn.Conv2d(1, 2, 3),
            SyntheticSource(SHAPE),
            sink,
            example=torch.zeros(1, 1, 8, 8),
            preprocess={"scale": 1},
        ),
    ),
    (
        "the least that it takes is [0-9]+ MiB, and memory is 1 MiB; allow more",
        ArgumentError,
        lambda sink: cs.scan(
            nn.Conv2d(1, 2, 3),
            SyntheticSource(SHAPE),
            sink,
            example=torch.zeros(1, 1, 8, 8),
            memory=1 << 20,
        ),
    ),
]


@pytest.mark.parametrize(("message", "kind", "call"), REFUSED, ids=[row[0][:30] for row in REFUSED])
def test_what_does_not_fit_is_refused(
    message: str, kind: type[Exception], call: Callable[[Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        call(tmp_path / "out")
    assert not (tmp_path / "out" / "zarr.json").exists()


def test_a_network_of_one_size_is_refused(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(-1, 1, 8, 8) * 2

    with pytest.raises(UnsupportedError, match="its height and width are fixed; compute no size"):
        cs.scan(Fixed(), SyntheticSource(SHAPE), tmp_path / "x", example=torch.zeros(1, 1, 8, 8))


def test_an_image_smaller_than_a_crop_is_refused(classifier: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="an image of \\[7, 9\\] is smaller than what one output"):
        cs.scan(
            classifier,
            SyntheticSource((1, 7, 9)),
            tmp_path / "out",
            example=torch.zeros(1, 1, 8, 8),
            promise="patch",
            output_stride=4,
        )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_local_processes_write_the_same_bytes(classifier: nn.Module, tmp_path: Path) -> None:
    call: dict[str, Any] = {
        "source": SyntheticSource(SHAPE),
        "example": torch.zeros(1, 1, 8, 8),
        "core": 2,
        "threads": 1,
    }
    for promise in ("fcn", "patch"):
        here = cs.scan(classifier, **call, sink=tmp_path / f"{promise}1", promise=promise)
        there = cs.scan(
            classifier, **call, sink=tmp_path / f"{promise}2", promise=promise, workers=2
        )
        assert there.computed == len(there.plan)
        np.testing.assert_array_equal(everything(here), everything(there))


class Gated(nn.Module):
    """A squeeze-and-excite gate and a group norm between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4)
        self.gate, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        return self.last(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid())


def test_layers_that_look_at_the_whole_map_take_more_passes(tmp_path: Path) -> None:
    source, model = SyntheticSource(SHAPE), Gated().eval()
    options: dict[str, Any] = {"example": torch.zeros(1, 1, 16, 16), "core": 8, "preprocess": STEPS}
    with pytest.raises(UnsupportedError, match=r"group_norm.* two_pass=True"):
        cs.scan(model, source, tmp_path / "out", **options)
    result = cs.scan(model, source, tmp_path / "out", two_pass=True, **options)
    assert result.to_json()["passes"] == 3
    pixels = (image(source) / STEPS["scale"] - 0.5) / 0.25
    expected = model.double()(pixels.double())[0].detach().numpy()
    # the bound that the issue sets for float32 against the whole image
    assert np.abs(everything(result) - expected).max() <= 1e-6 * np.abs(expected).max()
    again = cs.scan(model.float(), source, tmp_path / "out", two_pass=True, **options)
    assert (again.computed, again.resumed) == (0, len(again.plan))


def test_crops_are_seen_whole(classifier: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r'two_pass=True with promise="patch"; a crop is seen'):
        cs.scan(
            classifier,
            SyntheticSource(SHAPE),
            tmp_path / "out",
            example=torch.zeros(1, 1, 8, 8),
            promise="patch",
            two_pass=True,
        )


def test_an_output_stride_brings_the_old_answers_and_those_between(
    network: Network, tmp_path: Path
) -> None:
    source = SyntheticSource(SHAPE)
    coarse = cs.scan(network, source, tmp_path / "two")
    fine = cs.scan(network, source, tmp_path / "one", output_stride=1)
    np.testing.assert_array_equal(everything(fine)[:, ::2, ::2], everything(coarse))
    assert fine.to_json()["stride"] == [1, 1]


def test_an_image_that_the_network_would_not_take_whole_is_refused(tmp_path: Path) -> None:
    network = cs.models.create("unet_small", width=0.25)
    with pytest.raises(
        ShapeError, match=r"image of 100 x 64: it demands .*; cut the image to 96 x 64, or pad it"
    ):
        cs.scan(network, torch.zeros(1, 100, 64), tmp_path, example=torch.zeros(1, 1, 32, 32))
    classifier = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(2 * 14 * 14, 3)
    )
    with pytest.raises(ShapeError, match=r"image of 15 x 64: it demands .*; give a larger image"):
        cs.scan(classifier, torch.zeros(1, 15, 64), tmp_path, example=torch.zeros(1, 1, 16, 16))


def test_a_classifier_of_signals_slides_over_a_long_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv1d(1, 4, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(56, 3))
    model, signal = nn.Sequential(*layers).eval(), torch.rand(1, 1000)
    result = cs.scan(model, signal, tmp_path / "out", example=torch.zeros(1, 1, 32), core=40)
    with torch.no_grad():
        crops = model(signal.unfold(1, 32, 2).movedim(1, 0)).T
    torch.testing.assert_close(torch.from_numpy(everything(result)), crops, atol=1e-6, rtol=1e-6)
    assert len(result.plan) == 13
