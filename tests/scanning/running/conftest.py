# SPDX-License-Identifier: Apache-2.0
"""What the tests of runners share: a scan that is begun, or gone on with, in a folder."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convsmith.scanning.plan import Plan
from convsmith.scanning.running.journal import Journal
from convsmith.scanning.running.tile import Work
from convsmith.scanning.sinks import Store
from convsmith.scanning.sources import SyntheticSource

from . import small_scan


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Work]]:
    """Begin or go on with the scan in a folder; its journal is closed at the end."""
    with ExitStack() as open_journals:

        def work(name: str = "out", plan: Plan | None = None, **others: Any) -> Work:
            folder = tmp_path / name
            plan = plan or small_scan.plan()
            store = Store.open(folder) if Store.exists(folder) else Store.create(folder, plan)
            journal = Journal(store.own / "journal", plan.fingerprint)
            open_journals.enter_context(journal)
            made = Work(
                plan=plan,
                network=small_scan.network(),
                source=SyntheticSource(small_scan.SHAPE),
                store=store,
                journal=journal,
            )
            return replace(made, **others)

        yield work
