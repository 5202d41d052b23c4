# SPDX-License-Identifier: Apache-2.0
"""`import convsmith` does no work, and still offers every name."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import convsmith


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return set(result.stderr.split())


def test_import_loads_neither_torch_nor_numpy() -> None:
    assert not {"torch", "numpy", "typer", "rich"} & modules_after("import convsmith")


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "from convsmith.cli import main\n"
        "sys.argv = ['convsmith', '--help']\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code"
    )
    assert not {"torch", "numpy"} & modules_after(code)


def test_version_is_the_installed_one() -> None:
    assert convsmith.__version__ == version("convsmith")


def test_every_name_is_offered_and_found() -> None:
    assert set(convsmith.__all__) <= set(dir(convsmith))
    for name in convsmith.__all__:
        assert getattr(convsmith, name) is not None


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'convsmith' has no attribute 'conv9d'"):
        convsmith.conv9d  # noqa: B018  (the access is the test)
