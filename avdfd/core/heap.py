"""Memory of the process that is free, but not yet given back."""

import ctypes
import sys

_trim, _limit = (
    getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None for name in ("malloc_trim", "mallopt")
)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def trim_heap() -> None:
    """Give free memory back to the system. glibc only.

    Large blocks, such as frames, leave gaps when small ones between them stay, and the heap then grows with every
    minute of a video.
    """
    if _trim is not None:
        _trim(0)


def keep_free_memory() -> None:
    """Have this process keep up to 64 MB of free memory for what comes next, blocks up to 32 MB among it. glibc only.

    By default it gives back what a file took, and takes it again, page by page, for the next one. The limits are those
    at which glibc arrives by itself once a block of 32 MB was freed.
    """
    if _limit is not None:
        _limit(_M_MMAP_THRESHOLD, 32 * 2**20)
        _limit(_M_TRIM_THRESHOLD, 64 * 2**20)


def keep_all_free_memory() -> None:
    """Have this process keep all free memory for what comes next, blocks up to 1 GB among it. glibc only.

    For networks on a CPU: their layers take and free the same large blocks in every batch, and the system would clear
    each page of them every time. `trim_heap` gives back what is free, as before.
    """
    if _limit is not None:
        _limit(_M_MMAP_THRESHOLD, 2**30)
        _limit(_M_TRIM_THRESHOLD, -1)
