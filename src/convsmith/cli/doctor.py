# SPDX-License-Identifier: Apache-2.0
"""`convsmith doctor`: what is installed, what the core chose, and is every family right here?"""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from convsmith.cli.options import Json, Quiet, print_json, progress_console, result_console
from convsmith.report import table

_PACKAGES = ("convsmith", "torch", "numpy", "safetensors", "scikit-learn")


def run(as_json: Json = False, quiet: Quiet = False) -> None:
    """Show versions, the compiled core, threads, and test every family against its reference."""
    import torch

    from convsmith import native

    if not quiet:
        progress_console.print("testing every family against its reference ...")
    families = _self_test()
    healthy = all(row["ok"] for row in families)
    found = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": torch.get_num_threads(),
        "native": native.info(),
        "families": families,
        "ok": healthy,
    }
    if as_json:
        print_json(found)
    else:
        _show(found)
    if not healthy:
        raise typer.Exit(1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _self_test() -> list[dict[str, Any]]:
    """Each family's function against its reference on small integers, where they must agree."""
    import torch

    import convsmith.convs  # noqa: F401  (registers the families)
    from convsmith.family import families

    rows = []
    for family in families().values():
        worst = 0.0
        samples = family.samples()
        for sample in samples:
            generator = torch.Generator().manual_seed(0)
            layer = sample.layer().eval()
            x = torch.randint(-4, 5, sample.input_shape, generator=generator).float()
            inputs = sample.inputs(layer, x)
            with torch.no_grad():
                expected = family.apply(family.reference, layer, *inputs)
                difference = (layer(*inputs) - expected).abs().max() / expected.abs().max()
            worst = max(worst, difference.item())
        rows.append(
            {"family": family.name, "samples": len(samples), "error": worst, "ok": worst <= 1e-5}
        )
    return rows


def _show(found: dict[str, Any]) -> None:
    facts = [("python", found["python"]), *found["packages"].items(), ("threads", found["threads"])]
    facts += [(f"core: {key}", _as_words(value)) for key, value in found["native"].items()]
    result_console.print(table(["", "found"], facts))
    rows = [
        (row["family"], row["samples"], f"{row['error']:.1e}", "ok" if row["ok"] else "WRONG")
        for row in found["families"]
    ]
    result_console.print(table(["family", ">samples", ">relative error", ""], rows))


def _as_words(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
