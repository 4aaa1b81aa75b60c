"""Faults of the machine, recognised in the errors that libraries raise, as one line with the cause and the remedy."""

import errno
import re

_STORAGE = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EFBIG: "the file would be larger than a limit allows; raise it or choose another folder",
    errno.EIO: "the disk or its connection fails; check it, or choose another folder",
    errno.ESTALE: "the network share has changed or is gone; mount it again",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
"""Errors of reading and writing, with the remedies."""
_LOADER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)"
)
_MEMORY = re.compile(r"out of memory|can(?:'t|not) allocate memory|ALLOC_FAILED|MemoryError:", re.IGNORECASE)


def fault_of(error: BaseException) -> str | None:
    """Return the line for an error that the machine caused, not the program or the request; None for any other.

    Torch raises plain RuntimeErrors for most of them. An error from a loader process has a traceback in its message,
    and what it is in the last line.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _out_of_memory(error)
    if isinstance(error, OSError) and error.errno in _STORAGE:
        return f"{error.filename or 'output'}: {error.strerror}; {_STORAGE[error.errno]}"
    if not isinstance(error, RuntimeError):
        return None
    died = _LOADER.search(str(error))
    if died is not None:
        how = f"was killed by a signal ({died[2]})" if died[2] else "ended unexpectedly"
        return (
            f"a loader process ({died[1]}) {how}, as when the machine is out of memory; set data.workers (--workers) "
            "to fewer, and run the same command again"
        )
    return _out_of_memory(error) if _MEMORY.search(str(error)) else None


def _out_of_memory(error: BaseException) -> str:
    said = (str(error).strip() or "the machine has no more").splitlines()[-1]
    said = re.sub(r"^[\w.]+: ", "", said)  # the name of its class, from a loader process
    said = re.sub(r"^\[enforce fail at [^]]*\] .*?\. (?=\w+Allocator)", "", said)
    if "CUDA" in said or "GPU" in said:
        said = ". ".join(said.split(". ")[:2])
        remedy = "take smaller batches (micro_batch or the batch size), set speed.checkpointing, or data.home to disk"
    else:
        remedy = "set data.workers (--workers) to fewer, data.home to disk, or take smaller batches"
    return f"out of memory: {said.rstrip('.')}; {remedy}"
