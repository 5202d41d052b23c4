# SPDX-License-Identifier: Apache-2.0
"""`convsmith bench`: convsmith and its peers on the same work, measured turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convsmith.cli.options import Json, Quiet, print_json, progress_console, result_console

if TYPE_CHECKING:
    from convsmith.bench import Case, Results, Row

_RESULTS = Path("bench/results")


def run(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(help="Which cases or groups of them, as in a shell [all].", metavar="CASES"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each contender.")] = 1,
    rounds: Annotated[int, typer.Option(min=2, help="Turns that each contender takes.")] = 21,
    budget: Annotated[
        float, typer.Option(min=0, help="Seconds for the turns of one case; 7 are taken anyhow.")
    ] = 20,
    quick: Annotated[
        bool, typer.Option("--quick", help="Rehearse: small sizes, torch alone, nothing written.")
    ] = False,
    shapes: Annotated[
        Path | None, typer.Option(help="Folder of shape descriptors (*.txt) to sweep over, too.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results and the chart [bench/results], or a *.json to add to: "
            "rows of the same name are replaced."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare convsmith with torch, torch.compile, ONNX Runtime and OpenVINO on this machine.

    Every row is written when it is measured. A busy machine gives other numbers: look at the load
    first.
    """
    from convsmith import bench

    cases = bench.select(patterns or ["*"], shapes)
    if quick:
        cases, rounds = [case.small() for case in cases], min(rounds, 3)
    results = _empty(threads, rounds, quick=quick)
    is_written = out is not None or not quick
    file = _File(results, out or _RESULTS) if is_written else None
    for row in _measured(cases, results, budget, quiet=quiet):
        results = results.model_copy(update={"rows": (*results.rows, row)})
        if file:
            file.write(results)
    if file and results.rows:
        _say(f"written: {file.path} and {file.chart.name}")
    _show(results, as_json=as_json)
    if len(results.rows) < len(cases):
        _say(f"stopped after {len(results.rows)} of {len(cases)} cases")
        raise typer.Exit(1)


def _empty(threads: int, rounds: int, *, quick: bool) -> Results:
    from datetime import UTC, datetime

    from convsmith import bench

    machine = bench.describe(threads, quick=quick)
    if machine.load is not None and machine.load > machine.cores / 2:
        _say(f"this machine is busy (load {machine.load:.1f}): expect times that are too long")
    return bench.Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine,
        threads=threads,
        rounds=rounds,
        quick=quick,
        absent=bench.present(quick=quick)[1],
        rows=(),
    )


class _File:
    """Where a run is written: a file of its own, or behind the rows that a file has already."""

    def __init__(self, results: Results, out: Path) -> None:
        from convsmith import bench

        is_file = out.suffix == ".json"
        self.path = out if is_file else results.free_path(out)
        self.chart = self.path.with_suffix(".svg")
        self._before = bench.load(out) if is_file and out.exists() else None
        self._with_before(results)  # what does not fit is refused before anything is measured

    def write(self, results: Results) -> None:
        from convsmith.report import comparison_chart

        joined = self._with_before(results)
        joined.write(self.path)
        self.chart.write_text(comparison_chart(joined.to_json()))

    def _with_before(self, results: Results) -> Results:
        return self._before.joined(results) if self._before else results


def _measured(cases: list[Case], results: Results, budget: float, *, quiet: bool) -> Iterator[Row]:
    """The rows of all cases, or of those before somebody pressed Ctrl-C."""
    from rich.status import Status

    from convsmith import bench

    entrants, _ = bench.present(quick=results.quick)
    with Status("", console=progress_console) as status:
        if quiet:
            status.stop()

        def measure(case: Case, head: str) -> Row:
            return bench.measure(
                case,
                entrants,
                threads=results.threads,
                rounds=results.rounds,
                budget_s=budget,
                progress=lambda step: status.update(f"{head}: {step}"),
            )

        try:
            for number, case in enumerate(cases, 1):
                head = f"{number} of {len(cases)}: {case.name}"
                row = measure(case, head)
                if not quiet:
                    _say(f"{head}: {_outcome(row)}")
                yield row
        except KeyboardInterrupt:
            pass  # what was measured is kept


def _outcome(row: Row) -> str:
    ratio = row.ratio()
    if ratio is None:
        return "; ".join(f"{name}: {why}" for name, why in row.errors.items())
    return f"{ratio:.2f} times as fast as {row.best_peer}"


def _say(line: str) -> None:
    progress_console.print(line, highlight=False, soft_wrap=True)


def _show(results: Results, *, as_json: bool) -> None:
    from convsmith.report import comparison

    if as_json:
        print_json(results.to_json())
    else:
        result_console.print(comparison(results.to_json()))
