"""Processes with their own small /dev/shm, like a container."""

import ctypes
import multiprocessing as mp
import os
from collections.abc import Callable
from typing import Any

import pytest

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)
_FORK = mp.get_context("fork")


def run_with_shm(size: str, function: Callable[..., Any], *arguments: Any, seconds: float = 60) -> Any:
    """Return the result of a function in a forked process whose /dev/shm has this size.

    Skips the test where mounting is not permitted; fails it if the process hangs, and raises what the function raises.
    """
    near, far = _FORK.Pipe()  # made before, as it would need no memory there
    process = _FORK.Process(target=_run, args=(far, size, function, arguments))
    process.start()
    far.close()
    try:
        assert near.poll(seconds), f"hangs with {size} of /dev/shm"
        mounted, answer = near.recv()
    finally:
        process.kill()
        process.join()
    if not mounted:
        pytest.skip(f"mounting a small /dev/shm is not permitted here ({answer})")
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _run(pipe: Any, size: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        _mount(size)
    except OSError as error:
        pipe.send((False, error.strerror))
        return
    try:
        answer: Any = function(*arguments)
    except Exception as error:
        answer = error
    pipe.send((True, answer))


def _mount(size: str) -> None:
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    _check(_libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={size}".encode()))


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
