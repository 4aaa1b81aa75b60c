"""Errors that are not the program's fault, and how a script ends on each."""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """A request that cannot be carried out. One line: what is wrong, where, and the remedy. Scripts exit 2."""


class WorkError(Exception):
    """Work that could not be finished, although the request was right. One line. Scripts exit 1."""


class EndedBySignal(Exception):  # noqa: N818
    """A signal asked for the end, and everything is saved. One line. Scripts exit 75, "try again" in sysexits.h."""


class MediaError(Exception):
    """A media file that cannot be used; the message is the reason that goes into the quarantine list."""


# Where the machine, not the program, refuses to write; the remedy is the user's.
_STORAGE = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EFBIG: "the file would be larger than a limit allows; raise it or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EISDIR: "the path is a folder where a file is wanted",
}


def run_script(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Runs a script's main(argv) and exits: 0 done, 1 the work failed, 2 the request was wrong, 75 saved and ended by a
    signal, 130 interrupted.

    A wrong request gets one line on stderr and no traceback. Anything unexpected keeps its traceback.
    """
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as error:
        # One that comes from a loader process has a traceback before it.
        _say(f"error: {str(error).strip().splitlines()[-1].removeprefix(f'{UserError.__module__}.UserError: ')}")
    except WorkError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except EndedBySignal as error:
        _say(str(error))
        sys.exit(75)
    except OSError as error:
        remedy = _STORAGE.get(error.errno or 0)
        if remedy is None:
            raise
        _say(f"error: {error.filename or 'output'}: {error.strerror}; {remedy}")
    except KeyboardInterrupt:
        _say("interrupted; run the same command again to go on")
        sys.exit(130)
    sys.exit(2)


def _say(line: str) -> None:
    if int(os.environ.get("RANK", "0")) > 0:  # of several processes, one speaks
        return
    sys.stderr.write(f"\n{line}\n" if sys.stderr.isatty() else f"{line}\n")
