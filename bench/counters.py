# SPDX-License-Identifier: Apache-2.0
"""What other counters say of the same networks, beside the truth: the tables of docs/counters.md.

    pip install torchinfo fvcore calflops ptflops thop
    python bench/counters.py --write docs/counters.md

The truth of a small network is written out as a product, whose loop `tests/test_every_family.py`
counts. Each tool works on each network in a process of its own: CPU seconds of one thread and the
memory that it added to what the libraries and the network had taken, without their loading.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from counters import networks, tools

WRONG = 0.03  # of the truth: some count biases and norms in
LIMIT = 600  # seconds


def ask(tool: str, network: str) -> dict[str, object]:
    """One answer, from a process of its own: {macs, seconds, megabytes} or {error}."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", tool, network]
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=alone)
    except subprocess.TimeoutExpired:
        return {"error": f"over {LIMIT} s"}
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 else {"error": f"exit {done.returncode}"}


def word(answer: dict[str, object], truth: int) -> str:
    """ "right", "4 x" the truth, or how it failed."""
    if "error" in answer:
        return "stops"
    ratio = float(str(answer["macs"])) / truth
    return "right" if abs(ratio - 1) < WRONG else f"**{ratio:.3g} x**"


def correctness() -> Iterator[str]:
    yield "| case | true MACs | " + " | ".join(tools.NAMES) + " |"
    yield "|---|---|" + "---|" * len(tools.NAMES)
    for name, case in networks.SMALL.items():
        answers = [word(ask(tool, name), case.macs) for tool in tools.NAMES]
        print(name, answers, file=sys.stderr, flush=True)
        yield f"| {name} | {case.macs:,} | " + " | ".join(answers) + " |"


def cost() -> Iterator[str]:
    yield "| network | " + " | ".join(tools.NAMES) + " |"
    yield "|---|" + "---|" * len(tools.NAMES)
    for name, case in networks.LARGE.items():
        cells = []
        for tool in tools.NAMES:
            answer = ask(tool, name)
            print(name, tool, answer, file=sys.stderr, flush=True)
            if "error" in answer:
                cells.append("stops")
                continue
            said = word(answer, case.macs)
            also = "" if said == "right" else f", {said}"
            cells.append(f"{answer['seconds']:.1f} s, {answer['megabytes']:,.0f} MB{also}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def page() -> str:
    text = (Path(__file__).with_name("counters") / "page.md").read_text(encoding="utf-8")
    named = ", ".join(f"{package} {version(package)}" for package in tools.PACKAGES)
    text = text.replace("@VERSIONS@", named)
    text = text.replace("@CORRECT@", "\n".join(correctness()))
    return text.replace("@COST@", "\n".join(cost()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "NETWORK"))
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(tools.measured(*given.one)))
    elif given.write:
        given.write.write_text(page(), encoding="utf-8")
    else:
        print(page())
