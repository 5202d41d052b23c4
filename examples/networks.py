# SPDX-License-Identifier: Apache-2.0
"""Networks of the package, trained on real data by the command that stands in the table.

    python examples/networks.py [--quick] [--data-root FOLDER]

Small widths and few epochs, so that all of them take about eight minutes on two cores: how well
they learn, not how good they could be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recording import Options, Panel, bars, options, record, say

from convsmith.training import TrainedNetwork, train_network


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network, its data, and what is not as their own defaults have it."""

    network: str
    data: str
    recipe: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The same at the command line."""
        changes = {**self.options, **self.recipe}
        words = [f"--{name.replace('_', '-')} {value}" for name, value in changes.items()]
        return " ".join([f"convsmith train {self.network} --data {self.data}", *words])

    def run(self, given: Options) -> TrainedNetwork:
        """Train it."""
        recipe = {**self.recipe, "epochs": 1} if given.quick else self.recipe
        root = given.data_root
        return train_network(self.network, self.data, recipe, data_root=root, **self.options)


TRAININGS = (
    Training(network="digits_vgg", data="digits"),
    Training(network="lenet5", data="digits"),
    Training(network="lenet5", data="mnist", recipe={"epochs": 3}),
    Training(
        network="resnet20",
        data="cifar10",
        recipe={"epochs": 8, "lr": 0.01},
        options={"width": 0.25},
    ),
    Training(
        network="unet_small",
        data="membrane",
        recipe={"epochs": 40, "lr": 0.01},
        options={"size": 96, "width": 0.25},
    ),
)


def main() -> None:
    """Train each, write."""
    given = options(__doc__)
    rows = []
    for training in TRAININGS[: 2 if given.quick else None]:
        trained = training.run(given)
        measures = trained.result.measures
        say(f"{training.command}: {measures}")
        rows.append(
            {
                "command": training.command,
                "parameters": sum(p.numel() for p in trained.model.parameters()),
                "images": trained.settings["images"],
                "measure": trained.verdict.removeprefix("held_out_"),
                "value": measures[trained.verdict],
                "seconds": trained.result.seconds,
            }
        )
    record(
        "networks",
        given,
        title="Networks trained by one command",
        words="Each command repeats its row, on one thread. Seconds are those of a machine that "
        "had other work to do.",
        columns=["command", "parameters", "images", "held out", "seconds"],
        rows=[
            [
                f"`{row['command']}`",
                f"{row['parameters']:,}",
                f"{row['images']:,}",
                f"{row['measure']} {row['value']:.3f}",
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
        data=rows,
        picture=bars(
            [f"{training.network}, {training.data}" for training in TRAININGS[: len(rows)]],
            [Panel(title="held out", spans=[(row["value"],) * 3 for row in rows], digits=3)],
        ),
    )


if __name__ == "__main__":
    main()
