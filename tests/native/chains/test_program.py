# SPDX-License-Identifier: Apache-2.0
"""Several chains in one call: memory shared between steps, never a stale or foreign number."""

from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import convsmith.convs
from convsmith import native
from convsmith.errors import ArgumentError, NativeError, ShapeError
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, ChainStep, Program, Stage, Step, chain_kernels
from convsmith.native.chains import program as module
from convsmith.native.chains.memory import Lifetime, lay_out
from convsmith.native.chains.shelf import Shelf
from convsmith.native.core import index_of, run_rows

needs_core = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")
assert convsmith.convs  # its import registers the kernels


def whole(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).float()


def step(size: int, x: int, residual: int | None = None, name: str = "direct") -> Step:
    geometry = Geometry(
        in_channels=6, out_channels=6, kernel_size=(size, size), padding=((size // 2,) * 2,) * 2
    )
    chain = Chain((Stage(geometry, "relu"),), has_residual=residual is not None)
    return ChainStep(chain_kernels()[name], chain, x, residual)


# A block: 3 = f(0), 4 = g(3), 5 = h(4) + 0; then 6 = f(5) + 1 beside the unused input 2.
STEPS = [(1, 0, None), (3, 3, None), (1, 4, 0), (3, 5, 1)]


def program(outputs: tuple[int, ...] = (6,)) -> Program:
    return Program([step(*arguments) for arguments in STEPS], 3, outputs)


def inputs(n: int = 2, height: int = 7) -> list[Tensor]:
    return [whole(n, 6, height, 5, seed=seed) for seed in (1, 2, 3)]


def weights() -> list[Tensor]:
    return [whole(6, 6, size, size, seed=7 + i) for i, (size, _, _) in enumerate(STEPS)]


def biases() -> list[Tensor | None]:
    return [None, whole(6, seed=4), None, whole(6, seed=5)]


def expected(given: list[Tensor], ws: list[Tensor], bs: list[Tensor | None]) -> list[Tensor]:
    values = list(given)
    for (size, x, residual), w, b in zip(STEPS, ws, bs, strict=True):
        y = functional.conv2d(values[x], w, b, padding=size // 2)
        values.append(functional.relu(y if residual is None else y + values[residual]))
    return values


@needs_core
@pytest.mark.parametrize("outputs", [(6,), (4, 6), (3, 4, 5, 6)])
def test_it_is_its_steps_one_behind_the_other(outputs: tuple[int, ...]) -> None:
    run = program(outputs)
    for n, height in [(2, 7), (1, 3), (2, 7), (0, 7)]:
        given = inputs(n, height)
        wanted = expected(given, weights(), biases())
        for x in (given, [t.contiguous(memory_format=torch.channels_last) for t in given]):
            assert run.serves(x)
            results = run(x, weights(), biases())
            assert all(torch.equal(y, wanted[o]) for y, o in zip(results, outputs, strict=True))


@needs_core
def test_results_are_new_tensors_at_every_call() -> None:
    run, ws, bs = program(), weights(), biases()
    first = run(inputs(), ws, bs)[0]
    copy = first.clone()
    second = run([-x for x in inputs()], ws, bs)[0]
    assert torch.equal(first, copy)
    assert not torch.equal(first, second)


@needs_core
def test_every_change_of_a_weight_or_bias_is_seen() -> None:
    run, ws, bs = program(), weights(), biases()
    bias = bs[1]
    assert bias is not None

    def assert_right() -> None:
        assert torch.equal(run(inputs(), ws, bs)[0], expected(inputs(), ws, bs)[6])

    assert_right()
    ws[0].add_(1)
    assert_right()
    ws[3].data.mul_(-1)
    assert_right()
    ws[1] = whole(6, 6, 3, 3, seed=20)
    assert_right()
    bias.mul_(2)
    assert_right()
    gaps = torch.stack([bias, bias], 1)[:, 0]  # read through a copy
    bs[1] = gaps
    assert_right()
    gaps.add_(1)
    assert_right()


@needs_core
def test_it_runs_in_several_threads_at_once() -> None:
    run, ws, bs = program(), weights(), biases()
    given = [[x * factor for x in inputs()] for factor in range(-3, 4)]
    wanted = [expected(x, ws, bs)[6] for x in given]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: run(given[i % 7], ws, bs)[0], range(210)))
    assert all(torch.equal(y, wanted[i % 7]) for i, y in enumerate(results))


@needs_core
def test_what_it_keeps_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two results at once lie in its memory: 240 bytes for each row of the image."""
    monkeypatch.setattr(module, "_MOST_BYTES", 4 * 4096)
    run, ws, bs = program(), weights(), biases()
    kept = []
    for height in (7, 20, 30, 40, 200, 7):
        given = inputs(1, height)
        assert torch.equal(run(given, ws, bs)[0], expected(given, ws, bs)[6])
        assert run._packed is not None
        kept.append((len(run._packed.ready), run._packed.ready.bytes))
    assert max(size for _, size in kept) <= 4 * 4096
    assert [number for number, _ in kept] == [1, 2, 3, 1, 1, 2]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 12)), max_size=40))
def test_a_shelf_keeps_what_was_put_last_within_its_bounds(
    drawn: list[tuple[bool, int, int]],
) -> None:
    shelf, lying = Shelf[int](most=3, most_bytes=10), list[tuple[int, int, int]]()
    for number, (is_put, key, size) in enumerate(drawn):
        if is_put:
            shelf.put(key, number, size)
            if size <= 10:
                lying.append((key, number, size))
            while len(lying) > 3 or sum(size for *_, size in lying) > 10:
                lying.pop(0)
        else:
            mine = [entry for entry in lying if entry[0] == key]
            assert shelf.take(key) == (mine[-1][1] if mine else None)
            lying = [entry for entry in lying if entry not in mine[-1:]]
        assert (len(shelf), shelf.bytes) == (len(lying), sum(size for *_, size in lying))


@needs_core
def test_it_serves_float32_alone() -> None:
    assert not program().serves([x.double() for x in inputs()])


@needs_core
def test_a_residual_of_another_size_is_refused() -> None:
    given = inputs()
    given[1] = given[1][..., 1:]
    with pytest.raises(ShapeError, match=r"the residual has shape \(2, 6, 7, 4\); it is added to"):
        program()(given, weights(), biases())


@needs_core
def test_another_number_of_inputs_is_refused() -> None:
    with pytest.raises(ArgumentError, match="2 inputs were given to chains that read 3"):
        program()(inputs()[:2], weights(), biases())


@needs_core
def test_rows_that_are_none_are_refused() -> None:
    with pytest.raises(NativeError, match="3 integers were to run as rows: no row of a kernel"):
        run_rows(array("q", [index_of("direct_conv2d"), 1, 1]), array("q"), [])
    with pytest.raises(NativeError, match="no row of a kernel"):
        run_rows(array("q", [1000, 0]), array("q"), [])


@needs_core
@pytest.mark.parametrize(
    ("patches", "tensors", "message"),
    [
        ([9, 0], [torch.ones(1)], "9 integers were to run as rows: no place of a patch"),
        ([2, 1], [torch.ones(1)], "no place of a patch"),
        ([-1, 0], [torch.ones(1)], "no place of a patch"),
        ([2, 0], [torch.ones(1, device="meta")], "a tensor has no memory to show"),
        ([2, 0], [7], "a tensor has no memory to show"),
    ],
)
def test_patches_that_fit_nothing_are_refused(
    patches: list[int], tensors: list[Tensor], message: str
) -> None:
    row = array("q", [index_of("pack_panels"), 7, 0, 0, 0, 1, 1, 1, 1])
    with pytest.raises(NativeError, match=message):
        run_rows(row, array("q", patches), tensors)


@needs_core
def test_sizes_that_a_kernel_refuses_are_named() -> None:
    run_rows(array("q"), array("q"), [])
    row = [index_of("pack_panels"), 7, 0, 0, -1, 1, 1, 1, 1]
    with pytest.raises(NativeError, match=r"pack_panels refused \(0, 0, -1, 1, 1, 1\): the sizes"):
        run_rows(array("q", row), array("q"), [])


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 9), st.integers(0, 4)), max_size=12))
def test_values_alive_at_once_never_overlap(drawn: list[tuple[int, int, int]]) -> None:
    lives = [Lifetime(i, size, at, at + span) for i, (size, at, span) in enumerate(drawn)]
    offsets, total = lay_out(lives)
    for life in lives:
        begin, end = offsets[life.value], offsets[life.value] + life.floats
        assert begin % 16 == 0
        assert 0 <= begin <= end <= total
        for other in lives:
            if other.value < life.value and other.first <= life.last and life.first <= other.last:
                its_begin = offsets[other.value]
                assert end <= its_begin or its_begin + other.floats <= begin
