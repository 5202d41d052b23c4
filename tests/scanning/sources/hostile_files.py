# SPDX-License-Identifier: Apache-2.0
"""Makes hostile files, opens and reads each within a limit of memory; run by test_hostile.py.

    hostile_files.py bombs FOLDER          files that claim or become much more than they are
    hostile_files.py mutations FOLDER N    N random changes to each of a dozen good files

Prints a line for each: its name, what came of it (`read`, `refused` or `wrong`), by how many bytes
the process has grown, and the message. Address space is limited to 2 GiB above what libraries take.
"""

import gzip
import io
import json
import random
import resource
import signal
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import rasterio
import tifffile
import zarr
from numcodecs import Blosc, Zstd
from PIL import Image

from convsmith.errors import ConvsmithError
from convsmith.scanning.sources import open_source, read_window

BUDGET = 2**26
LIMIT = 2**31
SECONDS = 20
PIXELS = np.random.default_rng(0).integers(0, 200, (64, 96, 3)).astype(np.uint8)


@cache
def ones() -> np.ndarray:
    """What a bomb becomes: four times the budget."""
    return np.ones(2**28, np.uint8)


def picture(kind: str, values: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def tiff(values: np.ndarray = PIXELS, **given: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "rgb", "metadata": None, **given})
    return file.getvalue()


def geotiff(**given: Any) -> bytes:
    shape = {"count": 3, "height": 64, "width": 96, "dtype": "uint8", "crs": "EPSG:4326"}
    place = {"transform": rasterio.Affine(2, 0, 5, 0, -2, 9)}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", **{**shape, **place, **given}) as file:
            file.write(PIXELS.transpose(2, 0, 1))
        return bytes(memory.read())


def with_tags(data: bytes, **tags: Any) -> bytes:
    """A TIFF whose tags say something else."""
    file = io.BytesIO(data)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        for name, value in tags.items():
            opened.pages[0].tags[name].overwrite(value, dtype="I")
        file.flush()
        return file.getvalue()


def with_segment(data: bytes, segment: bytes) -> bytes:
    """A TIFF whose first tile is another."""
    file = io.BytesIO(data + segment)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        tags = opened.pages[0].tags
        for name, value in (("TileOffsets", len(data)), ("TileByteCounts", len(segment))):
            tags[name].overwrite([value, *tags[name].value[1:]], dtype="I")
        return file.getvalue()


def png(width: int, height: int, packed: bytes) -> bytes:
    """A grey PNG of one chunk of data, whatever it holds."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    parts = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        for name, body in parts
    )


def jpeg_of(height: int, width: int) -> bytes:
    data = bytearray(picture("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def with_size(bmp: bytes, size: int) -> bytes:
    return bmp[:18] + 2 * size.to_bytes(4, "little") + bmp[26:]


def npy_of(shape: str) -> bytes:
    file = io.BytesIO()
    np.save(file, PIXELS)
    return file.getvalue().replace(
        b"(64, 96, 3), }" + b" " * (len(shape) - 11), shape.encode() + b", }"
    )


TILED = {"tile": (32, 48)}
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
OME = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&l9;</OME>'


def bombs() -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "png, huge", lambda: png(100_000, 100_000, zlib.compress(bytes(10**6)))
    yield "png, fewer rows than it says", lambda: png(8000, 4000, zlib.compress(bytes(10**6)))
    yield "png, more rows than it says", lambda: png(100, 100, zlib.compress(ones()))
    yield "jpeg, huge", lambda: jpeg_of(65000, 65000)
    yield "jpeg, fewer rows than it says", lambda: jpeg_of(3000, 3000)
    yield "bmp, huge", lambda: with_size(picture("BMP"), 60000)
    yield "ppm, huge", lambda: b"P6 100000 100000 255\n" + bytes(1000)
    yield "ppm, fewer rows than it says", lambda: b"P5 4000 4000 255\n" + bytes(1000)
    yield "npy, huge", lambda: npy_of("(64, 960000000, 3)")
    size = {"ImageWidth": 60000, "ImageLength": 60000}
    yield "tiff, huge", lambda: with_tags(tiff(), **size, RowsPerStrip=60000)
    yield "tiff, huge tiles", lambda: with_tags(tiff(**TILED), TileWidth=2**16, TileLength=2**16)
    yield "tiff, laughing", lambda: tiff(description=OME)
    for name, pack in {
        "zlib": lambda: zlib.compress(ones()),
        "zstd": lambda: imagecodecs.zstd_encode(ones()),
        "lzw": lambda: imagecodecs.lzw_encode(ones()[: 2**26]),
        "jpeg": lambda: imagecodecs.jpeg_encode(ones().reshape(2**14, 2**14)),
    }.items():
        yield (
            f"tiff, {name} tile that becomes more",
            lambda name=name, pack=pack: with_segment(tiff(**TILED, compression=name), pack()),
        )
    yield (
        "geotiff, huge blocks",
        lambda: with_tags(
            geotiff(tiled=True, blockxsize=32, blockysize=32), TileWidth=2**16, TileLength=2**16
        ),
    )
    yield (
        "geotiff, tile that becomes more",
        lambda: with_segment(
            geotiff(tiled=True, blockxsize=32, blockysize=32, compress="deflate"),
            zlib.compress(ones()),
        ),
    )


FLAT: dict[str, Any] = {"shape": (3, 64, 96), "chunks": (1, 32, 32), "dtype": "u1"}


def zarr_bombs(folder: Path) -> Iterator[tuple[str, Path]]:
    codecs = {
        "zstd": (zarr.codecs.ZstdCodec(), Zstd().encode(ones())),
        "blosc": (zarr.codecs.BloscCodec(), Blosc().encode(ones())),
        "gzip": (zarr.codecs.GzipCodec(), gzip.compress(ones().tobytes())),
    }
    for name, (codec, bomb) in codecs.items():
        path = folder / f"{name}.zarr"
        array = zarr.create_array(
            path, shape=(3, 64, 96), chunks=(1, 32, 32), dtype="u1", compressors=codec
        )
        array[:] = PIXELS.transpose(2, 0, 1)
        (path / "c/0/0/0").write_bytes(bomb)
        yield f"zarr, {name} chunk that becomes more", path
    path = folder / "huge.zarr"
    zarr.create_array(path, **FLAT)
    described = json.loads((path / "zarr.json").read_text())
    described["chunk_grid"]["configuration"]["chunk_shape"] = [1, 2**30, 2**30]
    (path / "zarr.json").write_text(json.dumps(described))
    yield "zarr, huge chunks", path


def seeds() -> dict[str, bytes]:
    npy = io.BytesIO()
    np.save(npy, PIXELS)
    return {
        **{kind.lower(): picture(kind) for kind in ("PNG", "JPEG", "BMP", "PPM")},
        "palette": picture("PNG", np.asarray(PIXELS[..., 0])),
        "npy": npy.getvalue(),
        "tiff": tiff(),
        "tiff tiles": tiff(**TILED, compression="zlib", predictor=2),
        "tiff lzw": tiff(rowsperstrip=7, compression="lzw"),
        "tiff jpeg": tiff(**TILED, compression="jpeg"),
        "tiff stack": tiff(PIXELS.transpose(2, 0, 1), photometric="minisblack", compression="zlib"),
        "ome": tiff(
            PIXELS.transpose(2, 0, 1), photometric="minisblack", ome=True, metadata={"axes": "ZYX"}
        ),
        "bigtiff": tiff(**TILED, bigtiff=True, byteorder=">", compression="zstd"),
        "geotiff": geotiff(tiled=True, blockxsize=32, blockysize=32, compress="deflate"),
    }


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, near the head as a rule; or the end cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 2, 4, 16])):
        reach = len(data) if chance.random() < 0.4 else min(400, len(data))
        changed[chance.randrange(reach)] = chance.choice(
            [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
        )
    return bytes(changed[: chance.randrange(len(data))] if chance.random() < 0.2 else changed)


def tried(path: Path) -> tuple[str, str]:
    """What comes of opening a file and reading its corner, and the message."""
    try:
        source = open_source(path, budget=BUDGET)
        corner = tuple(slice(0, min(size, 200)) for size in source.shape[1:])
        read_window(source, corner, nan="allow")
        return "read", ""
    except ConvsmithError as error:
        return "refused", str(error)
    except BaseException as error:
        return "wrong", repr(error)


def attempt(name: str, path: Path) -> None:
    before = restarted_peak()
    signal.alarm(SECONDS)
    came, message = tried(path)
    signal.alarm(0)
    grown = memory("VmHWM") - before
    message = message.replace(str(path), "").replace("\n", " ")
    print(name, came, grown, message[:200], sep="\t", flush=True)


def memory(kind: str) -> int:
    """Bytes of this process, resident (VmRSS) or at their peak (VmHWM)."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(kind))
    return 1024 * int(line.split()[1])


def restarted_peak() -> int:
    """What is resident now; the peak is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {SECONDS} s")


def main(what: str, folder: Path, count: int) -> None:
    signal.signal(signal.SIGALRM, too_long)
    warnings.simplefilter("ignore")  # of the readers about what they meet
    if what == "bombs":
        files = []
        for number, (name, make) in enumerate(bombs()):
            files.append((name, folder / f"{number}"))
            files[-1][1].write_bytes(make())
        files += zarr_bombs(folder)
        # A good file first, so that what libraries take once is not counted.
        for name, data in seeds().items():
            (folder / "good").write_bytes(data)
            attempt(f"good {name}", folder / "good")
        limit_memory()
        for name, path in files:
            attempt(name, path)
        return
    limit_memory()
    for name, data in seeds().items():
        chance = random.Random(name)
        for number in range(count):
            (folder / "mutation").write_bytes(mutated(data, chance))
            attempt(f"{name} {number}", folder / "mutation")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
