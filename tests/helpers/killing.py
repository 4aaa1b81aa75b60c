"""Training scripts as processes that can be killed, and what is left of their runs.

The processes are forked from a server that has the scripts loaded, so a start takes a moment; several of them train one
model, as torchrun would have them.
"""

import multiprocessing as mp
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_SERVER = mp.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.helpers.killing", "train", "pretrain", "baseline"])


class Training:
    """A script with its arguments, on so many processes; as a context, they are killed at its end."""

    def __init__(
        self, script: str, arguments: Sequence[str], processes: int = 1, *, hang: tuple[int, int] | None = None
    ) -> None:
        """`hang`: the epoch and step (counted from 0) that is not taken; the processes wait there to be killed."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes: list[Any] = []
        for rank in range(processes):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            place["MASTER_ADDR"] = "127.0.0.1"
            environment = {key: str(value) for key, value in place.items()} if processes > 1 else {}
            self.processes.append(_SERVER.Process(target=_run, args=(script, [*arguments], environment, hang)))
            self.processes[-1].start()

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def finish(self, seconds: float = 120) -> None:
        """Waits for the end, which has to be a good one."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        self.kill()
        assert codes == [0] * len(codes), codes

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Until something is so, or the processes have ended."""
        deadline = time.monotonic() + seconds
        while not condition() and any(process.is_alive() for process in self.processes):
            assert time.monotonic() < deadline, "it does not happen"
            time.sleep(0.001)

    def kill(self) -> None:
        """SIGKILL to all processes; their loaders find out by themselves."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()


def _run(script: str, arguments: list[str], environment: dict[str, str], hang: tuple[int, int] | None) -> None:
    import importlib

    import torch

    from avdfd.training import state

    mp.set_start_method("fork", force=True)  # of loaders, as it is where a script is started by itself
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    take = state.Training.step

    def step(self: Any, *arguments: Any) -> None:
        if (self.progress.epoch, self.progress.step) == hang:
            time.sleep(3600)
        take(self, *arguments)

    state.Training.step = step  # type: ignore[assignment, method-assign]
    importlib.import_module(script).main(arguments)


def saved(run: Path, epoch: int, step: int) -> bool:
    """Whether the state after so many epochs, and steps of the next, is there."""
    return (run / f"last-{epoch:05d}-{step:07d}.pt.sha256").exists()
