# SPDX-License-Identifier: Apache-2.0
"""Which instruction set runs. The choice is made on import, so some cases need a new process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import convsmith
from convsmith import native
from convsmith.errors import NativeError
from convsmith.native import core

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_best_supported_target_is_the_default() -> None:
    info = native.info()
    assert info["targets_supported"][-1] == "baseline"
    if "CONVSMITH_TARGET" not in os.environ:
        assert info["target"] == info["targets_supported"][0]


def test_a_made_up_target_fails_the_import() -> None:
    result = python("import convsmith.native", CONVSMITH_TARGET="haswell")
    assert result.returncode != 0
    assert "NativeError: native: CONVSMITH_TARGET='haswell' is not a target" in result.stderr


def test_a_target_that_this_machine_lacks_is_an_error_that_lists_the_choices() -> None:
    info = native.info()
    choices = ", ".join(info["targets_supported"])
    lacking = set(info["targets_compiled"]) - set(info["targets_supported"])
    for target in ["haswell", "AVX2", "", *lacking]:
        message = rf"CONVSMITH_TARGET='{target}' is not a target.* choose one of {choices}, or"
        with pytest.raises(NativeError, match=message):
            core._choose_target(core._core, target)
    assert native.info()["target"] == info["target"]


def test_the_core_can_be_switched_off() -> None:
    code = "from convsmith import native; print(native.available(), native.info()['why_missing'])"
    result = python(code, CONVSMITH_NATIVE="0")
    assert result.stdout.strip() == "False switched off by CONVSMITH_NATIVE=0"


def test_a_core_that_was_not_built_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "convsmith.native._core", None)
    missing, why = core._load()
    assert missing is None
    assert "convsmith.native._core" in why


def test_an_older_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "__dlpack_c_exchange_api__", None, raising=False)
    missing, why = core._load()
    assert missing is None
    assert "has no table of DLPack 1; 2.10 has it" in why


EXACT = """
import torch
from convsmith import native
from convsmith.convs.involution.op import multiply_add
for size in range(1, 80):
    size, stride = (size + 1) // 2, 1 + size % 2
    x = torch.randint(-8, 9, (2, 18, 3, size)).float()
    kernels = torch.randint(-8, 9, (2, 2, 15, 3, (size - 1) // stride + 1)).float()
    options = dict(stride=(1, stride), padding=(1, 1, 2, 2), dilation=(1, 1))
    got = multiply_add(x, kernels, kernel_size=(3, 5), **options)
    want = multiply_add(x.double(), kernels.double(), kernel_size=(3, 5), **options)
    assert torch.equal(got.double(), want), size
print(native.info()["target"])
"""


@pytest.mark.parametrize("target", native.info()["targets_supported"])
def test_every_target_can_be_forced_and_is_exact_on_integers(target: str) -> None:
    result = python(EXACT, CONVSMITH_TARGET=target)
    assert result.stdout.strip() == target, result.stderr


NATIVE = Path(convsmith.__file__).parent / "native"


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiles a target: minutes on a busy machine
@pytest.mark.parametrize("target", ["avx2", "avx512"])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="these targets are of x86-64")
@pytest.mark.skipif(
    not (shutil.which("g++") and shutil.which("objdump")), reason="needs g++ and objdump"
)
def test_shared_inline_functions_need_no_wide_vectors(target: str, tmp_path: Path) -> None:
    """The linker keeps one copy of a weak function: it must run on every processor."""
    object_file = tmp_path / "target.o"
    source = NATIVE / f"target_{target}.cpp"
    flags = ["-std=c++20", "-O0", "-ffp-contract=fast", f"-I{NATIVE.parent}"]  # -O0 inlines none
    subprocess.run(["g++", *flags, "-c", source, "-o", object_file], check=True)
    weak = subprocess.run(
        ["objdump", "--syms", object_file], capture_output=True, text=True, check=True
    ).stdout
    sections = {line.split()[-3] for line in weak.splitlines() if "  w    F " in line}
    assert sections, "without inlining there are some"
    for section in sections:
        code = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", "-j", section, object_file],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        instructions = [line.split()[1] for line in code.splitlines() if line.startswith("  ")]
        assert instructions
        assert not [name for name in instructions if name.startswith("v")], section
