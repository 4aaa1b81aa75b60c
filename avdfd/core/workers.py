"""Worker processes that can be killed, as media libraries may hang or crash."""

import ctypes
import errno
import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeVar

from avdfd.core.errors import MediaError, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 1024
"""Most worker processes of a script."""

_SPAWN = mp.get_context("spawn")  # a forked child would inherit the locks of its parent's threads

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent ends in any way. Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, how)


def count_or_cores(workers: int) -> int:
    """Return a number of worker processes; for 0, one per core that this process may use."""
    return workers or len(os.sched_getaffinity(0))


def check_limits(workers: int, time_limit: float) -> None:
    """Raise UserError unless `--workers` and `--time-limit` of a script can be met."""
    if not 0 <= workers <= MOST or not 0 < time_limit < float("inf"):
        raise UserError(f"--workers takes a whole number of 0 or more, up to {MOST}, --time-limit seconds above 0")


class Failure(NamedTuple):
    """Reason for a missing result; `killed` is True if the worker was killed or died."""

    reason: str
    killed: bool = False


def run_killable(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    time_limit: float,
    ahead: int | None = None,
) -> Generator[tuple[Item, Result | Failure], None, None]:
    """Call a function on every item in spawned processes; yield (item, result) in order of completion.

    With `ahead`, results come in the order of the items, and at most `ahead` items after the one waited for are
    started. An item on which the function raises, takes longer than `time_limit` seconds or kills its process gets a
    Failure; the other items are not affected. Closing the generator kills all processes. Raises RuntimeError if
    processes cannot start, and OSError if a disk is full, or a file larger than a limit allows.
    """
    waiting = enumerate(items)
    busy: list[_Worker[Item, Result]] = []
    idle: list[_Worker[Item, Result]] = []
    done: dict[int, tuple[Item, Result | Failure]] = {}
    due = 0
    try:
        busy += [_Worker(function, *item) for item in islice(waiting, workers)]
        while busy:
            patience = min(worker.deadline for worker in busy) - time.monotonic()
            wait([worker.pipe for worker in busy], timeout=min(max(patience, 0), 3600))
            for worker in [worker for worker in busy if worker.is_done(time_limit)]:
                number, item, answer = worker.number, worker.item, worker.answer(time_limit)
                if isinstance(answer, OSError):
                    raise answer
                done[number] = item, answer
                busy.remove(worker)
                idle.append(worker)
            ready = []
            while done and (ahead is None or due in done):
                ready.append(done.pop(due if ahead is not None else next(iter(done))))
                due += 1
            # Workers get their next items before the results are yielded, as the caller may be slow.
            while idle and (ahead is None or len(done) + len(busy) <= ahead):
                worker, following = idle.pop(), next(waiting, None)
                if following is None:
                    worker.kill()
                elif worker.alive:
                    worker.give(*following, time_limit)
                    busy.append(worker)
                else:
                    busy.append(_Worker(function, *following))
            yield from ready
    finally:
        for worker in [*busy, *idle]:
            worker.kill()


class _Worker(Generic[Item, Result]):
    """Process and its current item; the first item is sent once the process reports its start."""

    def __init__(self, function: Callable[[Item], Result], number: int, item: Item) -> None:
        self.number, self.item = number, item
        self.alive = True
        self.deadline = float("inf")
        self._started = False
        self.pipe, far = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(far, function), daemon=True)
        # Ctrl-C reaches the whole process group, but only the parent handles it: children start with SIGINT blocked.
        # The resource tracker is started before, as its start would unblock SIGINT.
        resource_tracker.ensure_running()
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        far.close()

    def give(self, number: int, item: Item, time_limit: float) -> None:
        self.number, self.item = number, item
        self.deadline = time.monotonic() + time_limit
        self.pipe.send(item)

    def is_done(self, time_limit: float) -> bool:
        """Return True if there is an answer, the process died or its time is over; send a started process its item."""
        if self.pipe.poll():
            if self._started:
                return True
            try:
                self.pipe.recv()
            except EOFError:
                self._process.join()
                raise RuntimeError(f"a worker process died at its start (exit code {self._process.exitcode})") from None
            self._started = True
            self.give(self.number, self.item, time_limit)
        return time.monotonic() > self.deadline

    def answer(self, time_limit: float) -> Result | Failure:
        if not self.pipe.poll():
            self.kill()
            return Failure(f"took longer than {time_limit:g} s", killed=True)
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.kill()
            return Failure(f"its decoding process died ({cause(self._process.exitcode)})", killed=True)

    def kill(self) -> None:
        self.alive = False
        self._process.kill()
        self._process.join()
        self.pipe.close()  # last: a running process would print an error


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Answer items until the parent ends. An unexpected error ends the process with a traceback."""
    die_with_parent()  # also within an item
    pipe.send(None)
    while True:
        try:
            item = pipe.recv()
        except (EOFError, ConnectionResetError):  # the parent is gone
            return
        try:
            answer = function(item)
        except MediaError as error:
            answer = Failure(str(error))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            answer = error  # not caused by the item, so the parent raises it
        pipe.send(answer)


def cause(code: int | None) -> str:
    """Return the signal or exit code that ended a process."""

    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
