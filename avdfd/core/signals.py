"""Signals that ask a run to end soon: SIGTERM and SIGUSR1, which SLURM sends before it ends a job."""

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stop:
    """Context manager that records a signal; the code within continues until it checks `asked`."""

    def __init__(self) -> None:
        self.name = ""
        """Name of the received signal; empty if there was none."""

    @property
    def asked(self) -> bool:
        return bool(self.name)

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
