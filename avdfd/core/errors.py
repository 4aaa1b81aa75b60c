"""Errors with a cause outside the program, and the exit code of a script for each."""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from avdfd.core.faults import fault_of


class UserError(Exception):
    """Invalid request. The message is one line with the fault, its place and the remedy. Scripts exit with 2."""


class WorkError(Exception):
    """Failure of a valid request. The message is one line. Scripts exit with 1."""


class EndedBySignal(Exception):  # noqa: N818
    """End by a signal, after saving. The message is one line. Scripts exit with 75, "try again" in sysexits.h."""


class MediaError(Exception):
    """Unusable media file; the message is the reason that lists of failures state."""


# Errors of writing where the request may not, with the remedies.
_REFUSED = {
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EISDIR: "the path is a folder; a file is needed",
}


def run_script(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a script's main(argv) and exit with its code: 0 done, 1 failed, 2 invalid request, 75 saved and ended by a
    signal, 130 interrupted.

    Expected errors, and faults of the machine, print one line on stderr. Unexpected ones keep their traceback.
    """
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except (UserError, WorkError) as error:
        # From a loader process, the message follows a traceback.
        _say(f"error: {str(error).strip().rpartition(f'{__name__}.{type(error).__name__}: ')[2]}")
        sys.exit(2 if isinstance(error, UserError) else 1)
    except EndedBySignal as error:
        _say(str(error))
        sys.exit(75)
    except (OSError, RuntimeError, MemoryError) as error:
        fault = fault_of(error)
        if fault is not None:
            _say(f"error: {fault}")
            sys.exit(1)
        if not isinstance(error, OSError) or error.errno not in _REFUSED:
            raise
        _say(f"error: {error.filename or 'output'}: {error.strerror}; {_REFUSED[error.errno]}")
    except KeyboardInterrupt:
        _say("interrupted; run the same command again to resume")
        sys.exit(130)
    sys.exit(2)


def _say(line: str) -> None:
    """Print one line on stderr; a name in it may have line breaks or control characters, which are escaped."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    if int(os.environ.get("RANK", "0")) > 0:  # only one of several processes prints
        return
    sys.stderr.write(f"\n{line}\n" if sys.stderr.isatty() else f"{line}\n")
