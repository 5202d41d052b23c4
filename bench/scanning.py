# SPDX-License-Identifier: Apache-2.0
"""`scan` against the network itself, against a loop over crops, and against sliding windows.

The ways take turns, in one process; medians of rounds. `make bench` runs it after the layers and
networks; by hand, with the `bench` extra: python bench/scanning.py [--threads 2] [--only unet].

    of its own speed   time of the network on one large tile, per input pixel, over that of the scan
                       less its halos: what reading, cutting, writing and syncing leave
    crop loop          the classifier on every crop a stride apart, in batches of 16; timed on the
                       first 16 crops and multiplied
    MONAI              windows that overlap by a quarter, blended; the largest difference of each
                       way from the network on the whole image
    peak               resident memory of a process that does nothing else, conversion and all

Tiles are as `scan` chooses them with a quarter of the machine's memory, or of a core that is said.
A classifier is converted once, before the clock runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

import convsmith as cs
from convsmith.bench.machine import describe
from convsmith.scanning.plan import Plan
from convsmith.scanning.running.resident import peak

CROPS = 16
RESULTS = Path(__file__).parent / "results"


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def scanned(network: nn.Module, image: Tensor, **options: Any) -> tuple[float, Plan, Tensor]:
    """The time from the plan to the last durable tile; the plan; the scores."""
    began = []
    with tempfile.TemporaryDirectory() as parent:
        result = cs.scan(
            network,
            image,
            f"{parent}/scores",
            preprocess=None,
            threads=torch.get_num_threads(),
            announce=lambda _: began.append(time.perf_counter()),
            **options,
        )
        spent = time.perf_counter() - began[0]
        scores = result.store.read(tuple(slice(0, n) for n in result.plan.outputs))
    return spent, result.plan, torch.from_numpy(scores)


def classifier(rounds: int, name: str, size: int, side: int, **options: Any) -> dict[str, Any]:
    """A scan against its network's own speed, and against the loop over crops."""
    torch.manual_seed(0)
    model = cs.models.create(name, **options)
    channels = model.preprocess.channels
    example = torch.zeros(1, channels, size, size)
    sliding = cs.to_fully_convolutional(model, example)
    image = torch.rand(channels, side, side)
    crops = image[:, : 8 * size, :].unfold(1, size, size).unfold(2, size, size)
    crops = crops.permute(1, 2, 0, 3, 4).reshape(-1, channels, size, size)[:CROPS].contiguous()

    own, ours, loop = [], [], []
    for _ in range(rounds):
        spent, plan, _ = scanned(sliding, image, example=example)
        tile = image[None, :, : plan.axes[0].length, : plan.axes[1].length]
        with torch.inference_mode():
            own.append(seconds(lambda: sliding(tile)) / tile[0, 0].numel())  # noqa: B023
            loop.append(seconds(lambda: model(crops)) / CROPS)
        ours.append(spent)
    axes = plan.axes
    read = axes[0].inputs_read * axes[1].inputs_read
    outputs = plan.outputs[0] * plan.outputs[1]
    return {
        "case": f"{name} {options or ''} over {side} x {side}, {len(plan)} tiles",
        "scan (s)": round(median(ours), 3),
        "of its own speed": round(median(o * read / s for o, s in zip(own, ours, strict=True)), 2),
        "halos": round(read / image[0].numel() - 1, 3),
        "crops": outputs,
        "times the crop loop": round(
            median(c * outputs / s for c, s in zip(loop, ours, strict=True)), 1
        ),
    }


def segmenter() -> nn.Module:
    torch.manual_seed(0)
    network = cs.models.create("unet_small").eval()
    for layer in network.modules():  # statistics as a trained network has them: not all alike
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
    return network


def peak_of(way: str, side: int, window: int, core: int | None) -> int:
    """MiB that a process takes which segments one image in one way."""
    call = [sys.executable, __file__, "--peak", way, str(side), str(window), str(core or 0)]
    call += ["--threads", str(torch.get_num_threads())]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return int(done.stdout) >> 20


def take_peak(way: str, side: int, window: int, core: int) -> None:
    """What `peak_of` starts."""
    network, image = segmenter(), torch.rand(1, side, side)
    if way == "scan":
        scanned(network, image, example=torch.zeros(1, 1, 64, 64), core=core or None)
    with torch.inference_mode():
        if way == "MONAI":
            sliding_window_inference(image[None], (window, window), 1, network, overlap=0.25)
        elif way == "whole":
            network(image[None])
    print(peak())


def segmentation(rounds: int, side: int, window: int, core: int | None = None) -> dict[str, Any]:
    """A scan against MONAI's sliding windows, by the same network on the same image."""
    network, image = segmenter(), torch.rand(1, side, side)
    ours, windows = [], []
    tiled = values = torch.empty(0)
    for _ in range(rounds):
        spent, plan, tiled = scanned(network, image, example=torch.zeros(1, 1, 64, 64), core=core)
        ours.append(spent)
        with torch.inference_mode():
            start = time.perf_counter()
            values = sliding_window_inference(image[None], (window,) * 2, 1, network, overlap=0.25)
            windows.append(time.perf_counter() - start)
    with torch.inference_mode():
        whole = network(image[None])[0]
    return {
        "case": f"unet_small over {side} x {side}, {len(plan)} tiles, windows of {window}",
        "halos": round(plan.axes[0].inputs_read * plan.axes[1].inputs_read / side**2 - 1, 3),
        "scan (s)": round(median(ours), 3),
        "MONAI (s)": round(median(windows), 3),
        **{
            f"peak of {w} (MiB)": peak_of(w, side, window, core) for w in ("scan", "MONAI", "whole")
        },
        "largest score": float(whole.abs().max()),
        "difference of the scan": float((tiled - whole).abs().max()),
        "difference of MONAI": float((values[0] - whole).abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where rows are written, as they are measured")
    parser.add_argument("--only", help="the cases whose name holds this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", nargs=4, metavar=("WAY", "SIDE", "WINDOW", "CORE"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.peak:
        take_peak(given.peak[0], *map(int, given.peak[1:]))
        return
    rounds = given.rounds
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        "lenet5": lambda: classifier(rounds, "lenet5", 32, 1024, output="linear"),
        "vgg16 narrow": lambda: classifier(rounds, "vgg16", 224, 2016, width=0.25),
        "vgg16 1120": lambda: classifier(rounds, "vgg16", 224, 1120),
        "vgg16 2016": lambda: classifier(rounds, "vgg16", 224, 2016),
        "unet": lambda: segmentation(rounds, 1024, 256),
        "unet 256": lambda: segmentation(rounds, 1024, 256, core=256),
        "unet 512": lambda: segmentation(rounds, 1024, 512, core=512),
    }
    out = given.out or RESULTS / f"{date.today()}-scanning-{given.threads}t.json"
    machine = describe(given.threads, quick=False).model_dump()
    rows: list[dict[str, Any]] = []
    for name, case in cases.items():
        if given.only and given.only not in name:
            continue
        rows.append({**case(), "rounds": rounds})
        print(json.dumps(rows[-1], indent=2), flush=True)
        found = {"date": str(date.today()), "threads": given.threads, "machine": machine}
        out.write_text(json.dumps({**found, "rows": rows}, indent=2) + "\n")
    print(out)


if __name__ == "__main__":
    main()
