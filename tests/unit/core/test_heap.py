import subprocess
import sys

import pytest

from tests.paths import ROOT

_PRELUDE = """
import sys
import numpy as np
from avdfd.core.heap import keep_all_free_memory, keep_free_memory, trim_heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
"""


def printed(program: str, *arguments: str) -> list[int]:
    """Return the numbers that a program prints in a process of its own."""
    command = [sys.executable, "-c", _PRELUDE + program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


_GAPS = """
kept, large = [], []
np.empty(30 * 2**20, np.uint8).fill(1)  # from here on, blocks below 30 MB lie on the heap
for _ in range(100):
    large.append(np.ones(2**20, np.uint8))
    kept.append(np.ones(2000, np.uint8))
large.clear()
before = resident()
trim_heap()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_gaps_between_blocks_are_given_back():
    (given_back,) = printed(_GAPS)
    assert given_back > 50 * 2**20


_KEPT = """
if sys.argv[1] == "kept":
    keep_free_memory()
before = resident()
blocks = [np.ones(2**16, np.uint8) for _ in range(480)]  # 30 MB
del blocks
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["kept", "given back"])
def test_memory_of_blocks_that_were_freed(way):
    (kept,) = printed(_KEPT, way)
    assert (kept > 25 * 2**20) == (way == "kept")


_ALL_KEPT = """
if sys.argv[1] == "kept":
    keep_all_free_memory()
before = resident()
np.empty(200 * 2**20, np.uint8).fill(1)
kept = resident() - before
trim_heap()
print(kept, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("way", ["kept", "given back"])
def test_a_large_block_that_was_freed_is_kept_until_the_heap_is_trimmed(way):
    kept, trimmed = printed(_ALL_KEPT, way)
    assert (kept > 190 * 2**20) == (way == "kept")
    assert trimmed < 20 * 2**20
