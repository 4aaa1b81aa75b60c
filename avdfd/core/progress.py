"""Progress of a script's loops on stderr: a bar on a terminal, a line every 30 s in a log."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS = 30.0
"""Time between lines in a log."""


class Bar(tqdm):
    """tqdm's bar; where stderr is no terminal, lines instead: none in the first 30 s, and one every 30 s after that."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.in_log = not sys.stderr.isatty()
        if self.in_log:
            # Without `miniters` tqdm guesses how often to look at the clock, from the pace of the first items.
            kwargs |= {"delay": SECONDS, "mininterval": SECONDS, "miniters": 1}
        super().__init__(*args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or print a line."""
        if not self.in_log:
            return bool(super().display(msg, pos))
        sys.stderr.write(f"{self}\n")
        sys.stderr.flush()
        return True

    def clear(self, *args: Any, **kwargs: Any) -> None:
        """Make room for text that is written between; in a log there is no bar to remove."""
        if not self.in_log:
            super().clear(*args, **kwargs)

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> bool:
        """Draw the bar again; in a log not after text was written between (`tqdm.write`, which holds the lock)."""
        return bool(super().refresh(nolock, lock_args)) if not (self.in_log and nolock) else True

    def set_postfix(self, *args: Any, **kwargs: Any) -> None:
        """Set the values at the end of the bar; in a log they wait for the next line."""
        super().set_postfix(*args, **(kwargs | {"refresh": False} if self.in_log else kwargs))

    def close(self) -> None:
        """End the bar; in a log with a last line, if there was one before it and the bar is to stay."""
        if self.in_log:
            told = not self.disable and self.last_print_n > self.initial
            if told and self.leave and self.n > self.last_print_n:
                self.display()
            self.sp = None  # without it tqdm does not draw a last time
        super().close()
