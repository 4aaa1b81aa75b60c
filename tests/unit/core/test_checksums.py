"""Checksums of data: the stored values, for every kind of buffer."""

import zlib

import numpy as np
import pytest

from avdfd.core.checksums import checksum, file_checksum

SIZES = [0, 1, 1015, 1016, 1017, 20_000, 65_535, 65_536, 98_304, 393_216]


def random_bytes(size: int) -> bytes:
    return np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()


def by_definition(data: bytes) -> int:
    """CRC-32 of the column sums of 64-bit words, continued over the bytes after the last whole row."""
    row = 8 * (509 if len(data) >= 65_536 else 127)
    whole = len(data) // row * row
    sums = [0] * (row // 8)
    for at in range(0, whole, 8):
        sums[at % row // 8] += int.from_bytes(data[at : at + 8], "little")
    columns = b"".join((value % 2**64).to_bytes(8, "little") for value in sums)
    return zlib.crc32(data[whole:], zlib.crc32(columns)) or 1


@pytest.mark.parametrize("size", SIZES)
def test_value_is_that_of_the_definition(size, tmp_path):
    data = random_bytes(size)
    expected = by_definition(data)
    path = tmp_path / "data"
    path.write_bytes(data)
    buffers = [data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)]
    assert [*map(checksum, buffers), file_checksum(path)] == [expected] * 5


@pytest.mark.parametrize("size", [1016, 20_000, 98_304])
def test_change_of_a_bit_or_an_exchange_of_blocks_changes_it(size):
    data = bytearray(random_bytes(size))
    right = checksum(data)
    for at in np.random.default_rng(0).integers(0, size, 50):
        data[at] ^= 1 << at % 8
        assert checksum(data) != right
        data[at] ^= 1 << at % 8
    if size > 8192:
        data[:4096], data[4096:8192] = data[4096:8192], data[:4096]
        assert checksum(data) != right
