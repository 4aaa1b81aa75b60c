import subprocess
import sys

import pytest

from tests.paths import ROOT

_GAPS = """
import sys
import numpy as np
from avdfd.core.heap import trim_heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

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
    done = subprocess.run([sys.executable, "-c", _GAPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50 * 2**20


_KEPT = """
import sys
import numpy as np
from avdfd.core.heap import keep_free_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

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
    done = subprocess.run([sys.executable, "-c", _KEPT, way], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (int(done.stdout) > 25 * 2**20) == (way == "kept")


_ALL_KEPT = """
import sys
import numpy as np
from avdfd.core.heap import keep_all_free_memory, trim_heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

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
    done = subprocess.run([sys.executable, "-c", _ALL_KEPT, way], cwd=ROOT, capture_output=True, text=True, check=True)
    kept, trimmed = map(int, done.stdout.split())
    assert (kept > 190 * 2**20) == (way == "kept")
    assert trimmed < 20 * 2**20
