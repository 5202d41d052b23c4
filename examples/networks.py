# SPDX-License-Identifier: Apache-2.0
"""Every network of the package, trained on real data by the command that stands in the table.

    python examples/networks.py [NETWORK ...] [--quick] [--data-root FOLDER]

Small widths, small images and few epochs: how well they learn in a minute or two, not how good
they could be. Pages of digits with boxes are written to build/pages first. Names train these
networks again and keep the recorded rows of the others; all together take one to two hours on
one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recording import RESULTS, Options, Panel, bars, options, record, say
from written_pages import write_pages

from convsmith import models

COMMANDS = (
    "digits_vgg --data digits",
    "lenet5 --data digits",
    "lenet5 --data mnist --epochs 3",
    "alexnet --data digits --width 0.25 --epochs 6 --lr 0.0005",
    "network_in_network --data cifar10 --width 0.25 --epochs 12 --batch-size 32",
    "vgg16 --data digits --size 32 --width 0.125 --epochs 15 --lr 0.0005",
    "googlenet --data digits --size 32 --width 0.25 --epochs 12 --batch-size 16 --lr 0.002",
    "xception_small --data cifar10 --epochs 3",
    "mobilenet_v1 --data digits --size 32 --width 0.25 --epochs 20 --batch-size 16",
    "mobilenet_v1_vww --data digits --size 32 --epochs 20 --batch-size 16",
    "mobilenet_v2 --data digits --size 32 --width 0.25 --epochs 20 --batch-size 16",
    "resnet8 --data cifar10 --epochs 4",
    "resnet20 --data cifar10 --width 0.5 --epochs 8 --batch-size 32 --lr 0.01",
    "resnet32 --data digits --width 0.25 --epochs 4 --batch-size 16",
    "resnet44 --data digits --width 0.25 --epochs 4 --batch-size 16",
    "resnet56 --data digits --width 0.25 --epochs 4 --batch-size 16",
    "resnet50 --data digits --size 32 --width 0.25 --epochs 6 --batch-size 16",
    "resnext50_32x4d --data digits --size 32 --width 0.25 --epochs 6 --batch-size 16",
    "densenet121 --data digits --size 32 --width 0.25 --epochs 6",
    "rednet26 --data digits --size 32 --width 0.25 --epochs 6",
    "rednet38 --data digits --size 32 --width 0.25 --epochs 4",
    "rednet50 --data digits --size 32 --width 0.25 --epochs 6",
    "rednet101 --data digits --size 32 --width 0.125 --epochs 8",
    "rednet152 --data digits --size 32 --width 0.125 --epochs 8 --batch-size 32",
    "segnet --data camvid --size 128 --width 0.125 --epochs 150 --lr 0.01",
    "unet_small --data membrane --size 96 --width 0.25 --epochs 40 --lr 0.01",
    "deeplab_small --data camvid --size 128 --width 0.5 --epochs 100",
    "deeplab_mobilenet_v2 --data camvid --size 129 --width 0.25 --epochs 150",
    "rednet50_fpn --data camvid --size 128 --width 0.125 --epochs 40 --lr 0.01",
    "vgg_fcn32s --data camvid --size 96 --width 0.0625 --epochs 150 --lr 0.002",
    "vgg_fcn16s --data camvid --size 96 --width 0.0625 --epochs 150 --lr 0.002",
    "vgg_fcn8s --data camvid --size 96 --width 0.0625 --epochs 60 --lr 0.002",
    "rednet50_retinanet --data build/pages --size 96 --width 0.125 --epochs 24 --lr 0.001",
    "fsrcnn --data set14 --size 24 --batch-size 4 --epochs 5",
    "fsrcnn_subpixel --data set14 --size 24 --batch-size 4 --epochs 8",
    "pulse_mask --data faces --width 0.25 --epochs 4",
    "c3d --data moving_digits --size 32 --width 0.125 --epochs 12 --lr 0.001",
    "r2plus1d --data moving_digits --size 32 --width 0.125 --epochs 4 --lr 0.003",
)
SHARES = ("accuracy", "miou", "ap50")
# What nobody has to learn for: guesses, the commonest class, an interpolation.
BY_CHANCE = (
    "By lot, 0.1 of the digits and photos would be right and 0.125 of the ways of moving digits; "
    "the commonest class alone has 0.273 of CamVid's pixels and a mIoU of 0.030, of the membranes' "
    "0.792 and 0.396; bicubic interpolation reaches 28.81 dB."
)


def trained(command: str, given: Options) -> dict[str, Any]:
    """What the command says of its training."""
    words = command.split()
    if given.quick:
        words += ["--epochs", "1"]
    if given.data_root is not None:
        words += ["--data-root", str(given.data_root)]
    program = [sys.executable, "-m", "convsmith.training", *words, "--json"]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    told = json.loads(done.stdout)
    prefix = "held_out_"
    measures = {k.removeprefix(prefix): v for k, v in told.items() if k.startswith(prefix)}
    say(f"{command}: {measures} after {told['seconds']:.0f} s")
    return {
        "command": command,
        "parameters": told["parameters"],
        "images": told["settings"]["images"],
        "measures": measures,
        "seconds": told["seconds"],
    }


def recorded() -> dict[str, dict[str, Any]]:
    """The rows of the last time, by their commands."""
    file = RESULTS / "networks.json"
    rows = json.loads(file.read_text())["data"] if file.exists() else []
    return {row["command"]: row for row in rows}


def write(rows: Iterable[dict[str, Any]], given: Options) -> None:
    """The table and the picture."""
    rows = list(rows)
    missing = sorted(set(models.list()) - {row["command"].split()[0] for row in rows})
    record(
        "networks",
        given,
        title="Networks, each trained by one command",
        words="Each command repeats its row, on one thread. Seconds are those of a machine that "
        "had other work to do. What is measured is what `convsmith train` measures on the "
        f"examples that are held out. {BY_CHANCE}"
        + (f" Not recorded yet: {', '.join(missing)}." if missing else ""),
        columns=["convsmith train", "parameters", "examples", "held out", "seconds"],
        rows=[
            [
                f"`{row['command']}`",
                f"{row['parameters']:,}",
                f"{row['images']:,}",
                ", ".join(f"{name} {value:.3f}" for name, value in row["measures"].items()),
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
        data=rows,
        picture=picture(rows),
    )


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Bars of what is a share of 1: accuracies, intersections over unions, precisions."""
    shown = [(row["command"].split(), next(iter(row["measures"].items()))) for row in rows]
    shares = [(words, *measure) for words, measure in shown if measure[0] in SHARES]
    return bars(
        [f"{words[0]}, {words[words.index('--data') + 1]}" for words, *_ in shares],
        [Panel(title="held out, of 1", spans=[(value,) * 3 for *_, value in shares], digits=3)],
    )


def chosen(networks: Sequence[str], known: Iterable[str]) -> list[str]:
    """The commands of these networks, or of all."""
    return [command for command in known if not networks or command.split()[0] in networks]


def main() -> None:
    """Train each, write after each."""
    given = options(__doc__, names="networks")
    if not given.quick:
        write_pages(Path("build/pages"), given.data_root)
    rows = {} if given.quick else recorded()
    for command in chosen(given.names, COMMANDS[: 2 if given.quick else None]):
        rows[command] = trained(command, given)
        write((rows[c] for c in COMMANDS if c in rows), given)


if __name__ == "__main__":
    main()
