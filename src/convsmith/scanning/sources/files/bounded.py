# SPDX-License-Identifier: Apache-2.0
"""A Zarr array whose chunks unpack to what its metadata says, or not at all.

A chunk says itself how large it becomes, and Zarr's codecs believe it. Here each packed chunk is
asked first, and one that would become more than a chunk is refused.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numcodecs
import zarr
from numcodecs.abc import Codec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from convsmith.errors import FormatError, UnsupportedError

_SLACK = 64  # bytes of checksums that codecs add


def bounded(array: zarr.Array) -> zarr.Array:
    """The same array for reading, with guarded codecs.

    Raises:
        UnsupportedError: if it has a codec whose output nothing here can foretell.
    """
    metadata: Any = array.metadata
    limit = prod(array.chunks) * array.dtype.itemsize + _SLACK
    if metadata.zarr_format == 3:
        guarded = replace(metadata, codecs=_guarded(metadata.codecs, limit))
    else:
        if metadata.filters:
            raise _unknown(metadata.filters[0])
        compressor = metadata.compressor
        guarded = replace(metadata, compressor=compressor and _Compressor(compressor, limit))
    return zarr.Array(zarr.AsyncArray(guarded, array.store_path))


def _guarded(codecs: Any, limit: int) -> tuple[Any, ...]:
    wrapped: list[Any] = []
    for codec in codecs:
        if isinstance(codec, ShardingCodec):
            wrapped.append(replace(codec, codecs=_guarded(codec.codecs, limit)))
        elif isinstance(codec, BytesCodec | TransposeCodec | Crc32cCodec):
            wrapped.append(codec)
        elif type(codec) in _SIZES:
            wrapped.append(_Guard(codec, limit))
        else:
            raise _unknown(codec)
    return tuple(wrapped)


@dataclass(frozen=True)
class _Guard(BytesBytesCodec):
    """A codec of Zarr version 3 that is asked before it decodes."""

    codec: Any
    limit: int
    is_fixed_size = False

    def to_dict(self) -> Any:
        return self.codec.to_dict()

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        _check(_SIZES[type(self.codec)], chunk_bytes.to_bytes(), self.limit)
        (decoded,) = await self.codec.decode([(chunk_bytes, chunk_spec)])
        return decoded


class _Compressor(Codec):
    """A codec of Zarr version 2 that is asked before it decodes."""

    codec_id = "convsmith_bounded"

    def __init__(self, codec: Any, limit: int) -> None:
        if type(codec) not in _SIZES:
            raise _unknown(codec)
        self.codec, self.limit = codec, limit

    def encode(self, buf: Any) -> Any:
        return self.codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        _check(_SIZES[type(self.codec)], bytes(buf), self.limit)
        return self.codec.decode(buf, out)


def _check(size_of: Callable[[bytes, int], int | None], packed: bytes, limit: int) -> None:
    size = size_of(packed, limit)
    if size is None or size > limit:
        becomes = "does not say what it becomes" if size is None else f"becomes {size:,} bytes"
        raise FormatError(
            f"packed, it has {len(packed):,} bytes and {becomes}; a chunk has {limit - _SLACK:,}"
        )


def _zstd_size(packed: bytes, _: int) -> int | None:
    """What the head of a Zstandard frame says; None if nothing (RFC 8878, section 3.1.1)."""
    if packed[:4] != b"\x28\xb5\x2f\xfd" or len(packed) < 6:
        return None
    head = packed[4]
    is_single, width = head >> 5 & 1, (0, 2, 4, 8)[head >> 6]
    width = width or is_single
    start = 5 + (1 - is_single) + (0, 1, 2, 4)[head & 3]
    field = packed[start : start + width]
    if width == 0 or len(field) < width:
        return None
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)


def _blosc_size(packed: bytes, _: int) -> int | None:
    """Bytes 4 to 8 of Blosc's head."""
    return int.from_bytes(packed[4:8], "little") if len(packed) >= 16 else None


def _deflate_size(packed: bytes, limit: int) -> int | None:
    """Deflate says nothing before it is unpacked: unpack it a piece at a time, and keep none."""
    try:
        unpacking, size, rest = zlib.decompressobj(wbits=47), 0, packed
        while rest and not unpacking.eof and size <= limit:
            size += len(unpacking.decompress(rest, 2**20))
            rest = unpacking.unconsumed_tail
    except zlib.error as error:
        raise FormatError(f"its {len(packed):,} bytes are no deflate: {error}") from error
    return size


def _unknown(codec: Any) -> UnsupportedError:
    return UnsupportedError(
        f"its chunks are packed by {type(codec).__name__}; Zstandard, Blosc, gzip and none are "
        f"read: save it again with one of these"
    )


_SIZES: dict[type, Callable[[bytes, int], int | None]] = {
    ZstdCodec: _zstd_size,
    BloscCodec: _blosc_size,
    GzipCodec: _deflate_size,
    numcodecs.Zstd: _zstd_size,
    numcodecs.Blosc: _blosc_size,
    numcodecs.GZip: _deflate_size,
    numcodecs.Zlib: _deflate_size,
}
