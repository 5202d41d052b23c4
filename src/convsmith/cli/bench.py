# SPDX-License-Identifier: Apache-2.0
"""`convsmith bench`: convsmith and its peers on the same work, measured turn by turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convsmith.cli.options import Json, Quiet, print_json, progress_console, result_console

if TYPE_CHECKING:
    from convsmith.bench import Case, Results, Row

_RESULTS = Path("bench/results")


def run(
    pattern: Annotated[
        str, typer.Argument(help="Which cases or groups of them, as in a shell.")
    ] = "*",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each contender.")] = 1,
    rounds: Annotated[int, typer.Option(min=2, help="Turns that each contender takes.")] = 11,
    quick: Annotated[
        bool, typer.Option("--quick", help="Rehearse: small sizes, torch alone, nothing written.")
    ] = False,
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of shape descriptors (*.txt) to sweep over, too.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results and the chart [bench/results].")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare convsmith with torch, torch.compile, ONNX Runtime and OpenVINO on this machine.

    Ctrl-C keeps what was measured. A busy machine gives other numbers: look at the load first.
    """
    from datetime import UTC, datetime

    from convsmith import bench

    cases = bench.select(pattern, shapes)
    if quick:
        cases, rounds = [case.small() for case in cases], min(rounds, 3)
    _, absent = bench.present(quick=quick)
    machine = bench.describe(threads, quick=quick)
    if machine.load is not None and machine.load > machine.cores / 2:
        _say(f"this machine is busy (load {machine.load:.1f}): expect times that are too long")
    rows = _measured(cases, threads, rounds, quick=quick, quiet=quiet)
    results = bench.Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        threads=threads,
        rounds=rounds,
        quick=quick,
        absent=absent,
        rows=tuple(rows),
    )
    if rows and (out is not None or not quick):
        _write(results, out or _RESULTS)
    _show(results, as_json=as_json)
    if len(rows) < len(cases):
        _say(f"stopped after {len(rows)} of {len(cases)} cases")
        raise typer.Exit(1)


def _measured(
    cases: list[Case], threads: int, rounds: int, *, quick: bool, quiet: bool
) -> list[Row]:
    """The rows of all cases, or of those before somebody pressed Ctrl-C."""
    from rich.status import Status

    from convsmith import bench

    entrants, _ = bench.present(quick=quick)
    rows: list[Row] = []
    with Status("", console=progress_console) as status:
        if quiet:
            status.stop()

        def measure(case: Case, head: str) -> Row:
            def progress(step: str) -> None:
                status.update(f"{head}: {step}")

            return bench.measure(case, entrants, threads=threads, rounds=rounds, progress=progress)

        try:
            for number, case in enumerate(cases, 1):
                head = f"{number} of {len(cases)}: {case.name}"
                rows.append(measure(case, head))
                if not quiet:
                    _say(f"{head}: {_outcome(rows[-1])}")
        except KeyboardInterrupt:
            pass  # what was measured is kept
    return rows


def _outcome(row: Row) -> str:
    if row.ratio is None:
        return "; ".join(f"{name}: {why}" for name, why in row.errors.items())
    return f"{row.ratio:.2f} times as fast as {row.best_peer}"


def _write(results: Results, folder: Path) -> None:
    from convsmith.report import comparison_chart

    path = results.save(folder)
    chart = path.with_suffix(".svg")
    chart.write_text(comparison_chart(results.to_json()))
    _say(f"written: {path} and {chart.name}")


def _say(line: str) -> None:
    progress_console.print(line, highlight=False, soft_wrap=True)


def _show(results: Results, *, as_json: bool) -> None:
    from convsmith.report import comparison

    if as_json:
        print_json(results.to_json())
    else:
        result_console.print(comparison(results.to_json()))
