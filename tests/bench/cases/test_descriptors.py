# SPDX-License-Identifier: Apache-2.0
"""Shape descriptors: what they say, what is left out, what is refused."""

from pathlib import Path

import pytest
import torch

from convsmith.bench.cases.descriptors import geometry_of, sweep
from convsmith.bench.cases.plain import plain
from convsmith.errors import FormatError


def test_every_key_is_read() -> None:
    found = geometry_of(
        'mb32_g2ic4oc6_ih20oh8kh3sh2dh1ph0_iw9ow9kw5sw1dw0pw2_n"net:conv*3"  # said twice'
    )
    assert found is not None
    geometry, shape = found
    assert shape == (1, 4, 20, 9)
    assert (geometry.in_channels, geometry.out_channels, geometry.groups) == (4, 6, 2)
    assert (geometry.kernel_size, geometry.stride) == ((3, 5), (2, 1))
    assert (geometry.dilation, geometry.padding) == ((2, 1), ((0, 0), (2, 2)))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# a comment",
        'ic3oc16_iw5ow5kw3pw1_n"one axis"',
        'ic3oc16_id4ih5od4oh5kd1kh1n"three axes"',
        'ic3oc8ih6oh3kh3sh2ph0n"padded after the image alone"',
    ],
)
def test_what_is_no_2d_convolution_is_left_out(line: str) -> None:
    assert geometry_of(line) is None


@pytest.mark.parametrize("line", ["conv 3x3", "ih5kh3", "ic3oc8ih5zz7"])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(FormatError, match=f"'{line}' is no shape descriptor"):
        geometry_of(line)


@torch.no_grad()
def test_the_shared_shapes(shared_data: Path) -> None:
    cases = sweep(shared_data / "conformance", most=16)
    assert 8 <= len(cases) <= 16
    for case in cases:
        small = case.small()
        module = small.module()
        assert torch.equal(module(small.input()), plain(module)(small.input()))


def test_the_same_shape_is_measured_once(tmp_path: Path) -> None:
    same = 'ic3oc8ih5kh3ph1n"a"\nmb7ic3oc8ih5kh3ph1n"b"\n'
    (tmp_path / "a.txt").write_text(same + 'ic4096oc4096ih64n"too large"\n')
    assert len(sweep(tmp_path)) == 1
    (tmp_path / "b.txt").write_text("".join(f'ic{i}oc8ih5n""\n' for i in range(1, 40)))
    assert len(sweep(tmp_path, most=10)) == 10
