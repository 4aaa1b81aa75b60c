"""Calls made by another thread, beside the main one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

T = TypeVar("T")


def in_background(calls: Iterable[Callable[[], T]], ahead: int, *, torch_threads: int | None = None) -> Iterator[T]:
    """Yield the results of calls in their order, which another thread makes, `ahead` of them in advance.

    The calls themselves are drawn in the caller's thread. An error of one is raised where its result would be yielded.
    The thread ends with the iterator, or when that is closed, and then makes no further call.

    `torch_threads` is torch's number of threads for the calls; None for as many as anywhere.
    """
    coming: deque[Future[T]] = deque()
    # torch sets it for the thread that asks, and for those that start later, not for the main one.
    setting = None if torch_threads is None else partial(torch.set_num_threads, torch_threads)
    thread = ThreadPoolExecutor(1, initializer=setting)
    try:
        for call in calls:
            coming.append(thread.submit(call))
            if len(coming) > ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
