"""Processes with a small file system of their own: /dev/shm, as in a container, or the folder of an output."""

import ctypes
import multiprocessing as mp
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)
_FORK = mp.get_context("fork")


def run_on_small_disk(
    folder: str | Path, size: str, function: Callable[..., Any], *arguments: Any, seconds: float = 60
) -> Any:
    """Return the result of a function in a forked process in which a folder is a file system of this size.

    Skips the test where mounting is not permitted; fails it if the process hangs, and raises what the function raises.
    """
    near, far = _FORK.Pipe()  # made before, as it would need no memory there
    process = _FORK.Process(target=_run, args=(far, str(folder), size, function, arguments))
    process.start()
    far.close()
    try:
        assert near.poll(seconds), f"hangs with {size} at {folder}"
        mounted, answer = near.recv()
    finally:
        process.kill()
        process.join()
    if not mounted:
        pytest.skip(f"mounting a small file system is not permitted here ({answer})")
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _run(pipe: Any, folder: str, size: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        _mount(folder, size)
    except OSError as error:
        pipe.send((False, error.strerror))
        return
    torch.set_num_threads(1)  # a forked process has none of the threads that torch would wait for
    try:
        answer: Any = function(*arguments)
    except Exception as error:
        answer = error
    pipe.send((True, answer))


def _mount(folder: str, size: str) -> None:
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
    _check(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, f"size={size}".encode()))


def _check(code: int) -> None:
    if code:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
