"""Training scripts as processes that can be killed, and that record their losses.

Processes are forked from a server that has imported the scripts, so that they start fast. Several processes train one
model as with torchrun.
"""

import importlib
import multiprocessing as mp
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from avdfd.training import state

_SERVER = mp.get_context("forkserver")
# An optimiser imports torch._dynamo, which takes a second.
_SERVER.set_forkserver_preload(["tests.helpers.killing", "train", "pretrain", "baseline", "torch._dynamo"])


class Training:
    """Training script on one or several processes; as a context manager, it kills them at the end."""

    def __init__(
        self,
        script: str,
        arguments: Sequence[str],
        processes: int = 1,
        *,
        hang: tuple[int, int] | None = None,
        losses: Path | None = None,
    ) -> None:
        """Start the script. Its processes stop before the epoch and step (from 0) in `hang` and wait to be killed.

        With `losses` they train without dropout, and that file gets the loss of every step.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes: list[Any] = []
        for rank in range(processes):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            place["MASTER_ADDR"] = "127.0.0.1"
            environment = {key: str(value) for key, value in place.items()} if processes > 1 else {}
            self.processes.append(_SERVER.Process(target=_run, args=(script, [*arguments], environment, hang, losses)))
            self.processes[-1].start()

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def finish(self, seconds: float = 120) -> None:
        """Wait for the end and assert that all exit codes are 0."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        self.kill()
        assert codes == [0] * len(codes), codes

    def wait_for(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until the condition is true or the processes have ended."""
        deadline = time.monotonic() + seconds
        while not condition() and any(process.is_alive() for process in self.processes):
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.001)

    def kill(self) -> None:
        """Send SIGKILL to all processes; their loaders end by themselves."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()


@contextmanager
def recorded(losses: Path) -> Iterator[None]:
    """Train in this process without dropout, and write the loss of every step to a file."""
    take = state.Training.step

    def step(self: Any, parts: Any, *rest: Any) -> None:
        if self.world.first:
            with losses.open("a") as file:
                file.write(f"{parts['loss'].item()!r}\n")
        take(self, parts, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state.Training, "step", step)
        patch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
        yield


def _run(
    script: str,
    arguments: list[str],
    environment: dict[str, str],
    hang: tuple[int, int] | None,
    losses: Path | None,
) -> None:
    mp.set_start_method("fork", force=True)  # for loaders, as in a script that is started alone
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    take = state.Training.step

    def step(self: Any, *arguments: Any) -> None:
        if (self.progress.epoch, self.progress.step) == hang:
            time.sleep(3600)
        take(self, *arguments)

    state.Training.step = step  # type: ignore[assignment, method-assign]
    with recorded(losses) if losses else nullcontext():
        importlib.import_module(script).main(arguments)


def saved(run: Path, epoch: int, step: int) -> bool:
    """Return True if the state after so many epochs, and steps of the next one, has been saved."""
    return (run / f"last-{epoch:05d}-{step:07d}.pt.sha256").exists()
