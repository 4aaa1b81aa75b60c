"""Memory of the process that is free, but not yet given back."""

import ctypes
import sys

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def trim_heap() -> None:
    """Give free memory back to the system. glibc only.

    Large blocks, such as frames, leave gaps when small ones between them stay, and the heap then grows with every
    minute of a video.
    """
    if _trim is not None:
        _trim(0)
