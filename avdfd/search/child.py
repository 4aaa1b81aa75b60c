"""A training script as a child process, which can be ended with all the processes that it has started."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType


class Child:
    """A command in a session of its own: Ctrl-C in the terminal does not reach it, and it dies with its loaders."""

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str], lock: int) -> None:
        """Starts it. What it says goes to `log`. It holds the descriptor `lock` as well, so that its output stays held
        if this process is killed and the child goes on alone."""
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock],
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """Exit code, or minus the signal that ended it; None while it runs. What it has left behind is ended too."""
        code = self._process.poll()
        if code is not None:
            self._kill_group()
        return code

    def ask_to_end(self) -> None:
        """SIGTERM to the script alone: its loaders have to live until it has saved where it is."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Waits for its end, at most so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0))

    def kill(self) -> None:
        """Ends whatever is left of it."""
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        """And waits for its end, as loaders hold the lock too. Where nobody collects the dead, they stay a little."""
        with contextlib.suppress(ProcessLookupError):
            for _ in range(100):
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.poll()
                time.sleep(0.01)


def end_all(children: Sequence[Child], grace: float) -> None:
    """Asks children to end, and kills those that have not done so in that many seconds, or when interrupted."""
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
    """Notes the first signal that asks for an end. After it, Ctrl-C interrupts as usual."""

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
        """Of the script that a signal has ended; None if there was none."""
        return None if self.received is None else 130 if self.received == signal.SIGINT else 75

    def _note(self, signum: int, _: FrameType | None) -> None:
        if self.received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum


def last_words(log: Path) -> str:
    """The last line that a script has written before its end, progress bars left out."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip() and "%|" not in line]
    return lines[-1].removeprefix("error: ") if lines else ""


def cause(code: int, log: Path) -> str:
    """Why a script ended with this code."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return last_words(log) or f"exit code {code} without a word"
