"""Training scripts as child processes that can be ended together with all processes that they started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from avdfd.core.workers import die_with_parent


class Child:
    """Command in its own session: Ctrl-C in the terminal does not reach it, and its loaders are killed with it."""

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str], lock: int) -> None:
        """Start the command, with its output in `log`.

        It inherits the descriptor `lock`, so that its run stays locked until it has ended. If this process is killed,
        the child gets SIGTERM, on which a training script saves its state and ends.
        """
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock],
                start_new_session=True,
                preexec_fn=partial(die_with_parent, signal.SIGTERM),
            )

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it runs. Kill the rest of its group."""
        code = self._process.poll()
        if code is not None:
            self._kill_group()
        return code

    def ask_to_end(self) -> None:
        """Send SIGTERM to the script only: it needs its loaders until it has saved its state."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait at most so many seconds for its end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0))

    def kill(self) -> None:
        """Kill the command and all processes of its group."""
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        """Kill all processes of the group and wait for up to 1 s until they are gone, as loaders hold the lock too."""
        with contextlib.suppress(ProcessLookupError):
            for _ in range(100):
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.poll()
                time.sleep(0.01)


def end_all(children: Sequence[Child], grace: float) -> None:
    """Ask children to end; kill those that are still running after `grace` seconds or on an interrupt."""
    deadline = time.monotonic() + grace
    for child in children:
        child.ask_to_end()
    try:
        for child in children:
            child.wait(deadline - time.monotonic())
    finally:
        for child in children:
            child.kill()


class Signals:
    """Context manager that records the first signal that asks for an end; after it, Ctrl-C interrupts as usual."""

    received: int | None = None

    def __enter__(self) -> "Signals":
        asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        self._former = {signum: signal.getsignal(signum) for signum in asking}
        for signum, handler in self._former.items():
            if handler is not signal.SIG_IGN:  # such as SIGHUP under nohup
                signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._former.items():
            signal.signal(signum, handler)

    @property
    def exit_code(self) -> int | None:
        """Exit code for the received signal; None if there was none."""
        return None if self.received is None else 130 if self.received == signal.SIGINT else 75

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum


def last_line(log: Path) -> str:
    """Return the last line of a log, without progress bars."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip() and "%|" not in line]
    return lines[-1].removeprefix("error: ") if lines else ""


def cause(code: int, log: Path) -> str:
    """Return the reason why a script ended with this code."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return last_line(log) or f"exit code {code} without a message"
