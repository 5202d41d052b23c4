# SPDX-License-Identifier: Apache-2.0
"""`convsmith list`: the networks and the kinds of convolution that are here."""

from typing import Annotated

import typer

from convsmith.cli.options import Json, Quiet, print_json, result_console
from convsmith.report import table


def run(
    pattern: Annotated[str, typer.Argument(help="Which names, as in a shell.")] = "*",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List networks (names for `optimize` and `train`) and families (layers for your own)."""
    from fnmatch import fnmatchcase

    import convsmith.convs  # noqa: F401  (registers the families)
    from convsmith import models
    from convsmith.family import families

    networks = [models.find(name) for name in models.list(pattern)]
    kinds = [family for family in families().values() if fnmatchcase(family.name, pattern)]
    if as_json:
        print_json(
            {
                "models": [
                    {
                        "name": n.name,
                        "task": n.task,
                        "input_shape": list(n.input_shape),
                        "description": n.description,
                        "source": n.source,
                    }
                    for n in networks
                ],
                "families": [
                    {
                        "name": f.name,
                        "layers": [layer.__name__ for layer in f.layers.values()],
                        "source": f.source,
                    }
                    for f in kinds
                ],
            }
        )
        return
    if networks:
        rows = (
            (n.name, "x".join(map(str, n.input_shape)), "yes" if n.embedded else "", n.description)
            for n in networks
        )
        result_console.print(table(["model", "input", "weights", ""], rows))
    if kinds:
        rows_of_kinds = ((f.name, ", ".join(x.__name__ for x in f.layers.values())) for f in kinds)
        result_console.print(table(["convolution", "layers"], rows_of_kinds))
    if not networks and not kinds:
        result_console.print(f"nothing here is called {pattern!r}; `convsmith list` shows all")
