"""External programs: run without a shell, in their own process group, and ended with this process."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from avdfd.core.workers import cause, die_with_parent
from avdfd.corpora.cloning.request import ConversionError


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program; `options` are those of Popen. Raises ConversionError if it cannot be started."""
    try:
        return subprocess.Popen(command, start_new_session=True, preexec_fn=die_with_parent, **options)
    except OSError as error:
        raise ConversionError(f"{command[0]} cannot be started ({error.strerror})") from None


def run(command: Sequence[str], time_limit: float, log: Path) -> str:
    """Run a program to its end and return its stdout; its stderr goes to `log`.

    Raises ConversionError if it fails or takes too long; then its whole process group is killed.
    """
    with (
        log.open("wb") as errors,
        start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as program,
    ):
        try:
            printed, _ = program.communicate(timeout=time_limit)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"{command[0]} took longer than {time_limit:g} s") from None
        finally:
            end(program)
    if program.returncode:
        raise ConversionError(f"{command[0]} failed ({cause(program.returncode)}){last_words(log)}")
    return printed.decode("utf-8", "replace")


def end(program: subprocess.Popen[bytes]) -> None:
    """Kill a program and all processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def filled(template: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the arguments with {name} replaced; other braces stay."""
    arguments = list(template)
    for name, value in values.items():
        arguments = [argument.replace(f"{{{name}}}", value) for argument in arguments]
    return arguments


def last_words(log: Path) -> str:
    """Return the last line of a program's log, to be appended to a reason."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1].strip()[:200]}" if lines else ""
