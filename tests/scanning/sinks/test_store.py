# SPDX-License-Identifier: Apache-2.0
"""What is written is what any Zarr reader finds; what is damaged or missing is known."""

import json
import pickle
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.errors import ArgumentError, FormatError
from convsmith.scanning.plan import Plan
from convsmith.scanning.sinks import Store
from convsmith.scanning.sources import Place
from convsmith.scanning.tiling import AxisPlan


def planned(*sizes_and_cores: tuple[int, int], **given: Any) -> Plan:
    axes = tuple(
        AxisPlan.fitted(size=2 * n, outputs=n, stride=2, a=-1, b=1, period=2, core=core)
        for n, core in sizes_and_cores
    )
    return Plan(axes=axes, in_channels=1, **{"out_channels": 3, **given})


def written(folder: Path, plan: Plan, **given: Any) -> tuple[Store, list[np.ndarray]]:
    """A finished store, and what it holds as (channels, *outputs)."""
    store = Store.create(folder, plan, **given)
    random = np.random.default_rng(0)
    wholes = [
        random.integers(0, 100, (part.channels, *plan.outputs)).astype(part.dtype)
        for part in store.parts
    ]
    for number in range(len(plan)):
        tile = plan.tile(number)
        store.write(tile, [whole[(slice(None), *tile.write)] for whole in wholes])
    return store, wholes


@settings(max_examples=10)  # every chunk waits for the disk
@given(
    sizes=st.lists(st.tuples(st.integers(1, 7), st.integers(2, 4)), min_size=1, max_size=3),
    output=st.sampled_from(["scores", "labels", "topk"]),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_reader_finds_what_was_written(sizes: list, output: Any, shuffle: Any) -> None:
    letters = list("CZYX"[:1] + "ZYX"[-len(sizes) :])
    shuffle.shuffle(letters)
    plan = planned(*sizes, output=output, k=2)
    with TemporaryDirectory() as parent:
        store, wholes = written(Path(parent, "out"), plan, axes="".join(letters))
        again = pickle.loads(pickle.dumps(Store.open(store.folder)))
        assert again == store
        for part, whole in zip(store.parts, wholes, strict=True):
            everything = tuple(slice(0, n) for n in plan.outputs)
            assert np.array_equal(again.read(everything, part=part.name), whole)
            plain = zarr.open_array(store.folder / part.name, mode="r")
            assert np.array_equal(plain[:], store.lettering.outside(whole))
            assert (
                plain.chunks
                == store.lettering.outside(np.empty((part.channels, *plan.cores))).shape
            )
        assert list(again.missing()) == []
        assert all(again.verify(plan.tile(number)) for number in range(len(plan)))


def test_the_same_tiles_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    plan = planned((7, 3), (5, 2))
    store, (whole,) = written(tmp_path / "one", plan)
    other = Store.create(tmp_path / "two", plan)
    for number in reversed(range(len(plan))):
        tile = plan.tile(number)
        arrays = [whole[(slice(None), *tile.write)]]
        assert other.write(tile, arrays) == store.write(tile, arrays)
    files = sorted(path for path in store.folder.rglob("*") if path.is_file())
    assert len(files) == len(plan) + 2
    for path in files:
        assert path.read_bytes() == (other.folder / path.relative_to(store.folder)).read_bytes()


def test_missing_and_damaged_chunks_are_known(tmp_path: Path) -> None:
    plan = planned((8, 4), (8, 4), output="topk", k=2)
    store, wholes = written(tmp_path / "out", plan)
    tile = plan.tile(2)
    record = store.write(tile, [whole[(slice(None), *tile.write)] for whole in wholes])
    assert store.verify(tile, record.checksum)
    assert not store.verify(tile, record.checksum ^ 1)
    chunk = store.folder / "values/c/0/1/0"
    data = chunk.read_bytes()
    for spoilt in (data[:-1], data[:5] + bytes([data[5] ^ 1]) + data[6:], b""):
        chunk.write_bytes(spoilt)
        assert not store.verify(tile)
        with pytest.raises(FormatError, match="holds a damaged chunk in"):
            store.read(tile.write, part="values")
    chunk.unlink()
    assert not store.verify(tile)
    assert list(store.missing()) == [2]
    assert np.isnan(store.read(tile.write, part="values")).all()


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    store, _ = written(tmp_path / "out", planned((4, 2)))
    (store.own / "unfinished" / "0.abc").write_bytes(b"half")
    store.sweep()
    assert list((store.own / "unfinished").iterdir()) == []
    assert list(store.missing()) == []


def test_the_result_says_what_it_is_and_where_it_lies(tmp_path: Path) -> None:
    place = Place(crs="EPSG:3857", transform=(10.0, 0.0, 500.0, 0.0, -10.0, 800.0))
    plan = planned((4, 2), (4, 2), out_channels=2)
    store = Store.create(tmp_path / "out", plan, place=place, classes=["land", "sea"])
    assert store.facts["classes"] == ["land", "sea"]
    assert store.facts["output"] == "scores"
    # Stride 2, cone [-1, 1]: output 0 is centred on pixel 0, at 0.5, and begins at -0.5.
    half = Fraction(-1, 2)
    assert store.place == place.sampled((Fraction(2), Fraction(2)), (half, half))
    assert Store.create(tmp_path / "nowhere", plan).place is None


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    plan = planned((4, 2))
    Store.create(tmp_path / "out", plan)
    with pytest.raises(ArgumentError, match="holds the result of a scan already; continue it"):
        Store.create(tmp_path / "out", plan)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with pytest.raises(ArgumentError, match=r"is there already and holds 'notes.txt'"):
        Store.create(tmp_path / "mine", plan)
    with pytest.raises(ArgumentError, match=r"is there already and holds 'notes.txt'"):
        Store.create(tmp_path / "mine" / "notes.txt", plan)


def test_an_interrupted_creation_is_begun_again(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "out", planned((4, 2), output="topk", k=1))
    (store.own / "lock").touch()
    (store.own / "plan.json").unlink()
    assert not Store.exists(store.folder)
    assert Store.create(store.folder, store.plan) == store


def test_what_does_not_fit_the_plan_is_refused(tmp_path: Path) -> None:
    plan = planned((4, 2), (4, 2))
    with pytest.raises(ArgumentError, match=r"axes 'CX' have 1 of space; the result has 2, and C"):
        Store.create(tmp_path / "out", plan, axes="CX")
    with pytest.raises(ArgumentError, match="2 names for 3 classes; give one for each"):
        Store.create(tmp_path / "out", plan, classes=["a", "b"])
    store = Store.create(tmp_path / "out", plan)
    with pytest.raises(ArgumentError, match=r"tile 0 came as \(3, 2, 1\) float32; the plan's"):
        store.write(plan.tile(0), [np.zeros((3, 2, 1), np.float32)])
    assert list(store.missing()) == [0, 1, 2, 3]


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"is no result of a scan: it has no convsmith/plan.json"):
        Store.open(tmp_path)
    store = Store.create(tmp_path / "out", planned((4, 2)))
    plan = store.own / "plan.json"
    good = plan.read_text()
    for bad in ("{", json.dumps({"format": "another"})):
        plan.write_text(bad)
        with pytest.raises(FormatError, match=r"the plan of .* is damaged"):
            Store.open(store.folder)
    plan.write_text(good)
    (store.folder / "zarr.json").write_text("{}")
    with pytest.raises(FormatError, match=r"has no readable zarr.json: .* scan into a new folder"):
        Store.open(store.folder)
