"""Child processes end on request or are killed, together with their own children."""

import multiprocessing
import os
import sys
import time

import pytest

from avdfd.core.errors import UserError
from avdfd.core.files import is_locked, locked
from avdfd.search.child import Child, cause, end_all, last_line

# Starts a process of its own and prints its number when ready.
PARENT = """
import signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
def end(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, {handler})
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def begin(tmp_path):
    def begin(code):
        log = tmp_path / "log"
        with locked(tmp_path / "lock", tmp_path) as lock:
            child = Child([sys.executable, "-c", code], log=log, environment=dict(os.environ), lock=lock)
        return child, log

    return begin


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def is_gone(pid):
    """Return True if a process has ended; a zombie counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize(("handler", "grace", "code"), [("end", 20, 75), ("signal.SIG_IGN", 0.2, -9)])
def test_whole_process_group_ends(begin, handler, grace, code):
    child, log = begin(PARENT.format(handler=handler))
    wait_for(lambda: log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    assert child.poll() is None
    end_all([child], grace)
    assert child.poll() == code
    assert ("saved" in log.read_text()) == (code == 75)
    wait_for(lambda: is_gone(grandchild))


def test_processes_left_behind_are_killed(begin):
    child, log = begin('import subprocess; print(subprocess.Popen(["sleep", "60"]).pid)')
    wait_for(lambda: child.poll() == 0)
    wait_for(lambda: is_gone(int(log.read_text())))


def test_lock_is_held_until_the_child_ends(begin, tmp_path):
    child, _ = begin("import time; time.sleep(60)")
    with pytest.raises(UserError, match="another run is writing"), locked(tmp_path / "lock", tmp_path):
        pass
    end_all([child], 5)
    with locked(tmp_path / "lock", tmp_path):
        pass


def test_reason_of_an_end(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"Traceback\nValueError: bad\nstage 1:  10%|\r\rstage 1: 100%|##| 4/4\n\n")
    assert last_line(log) == "ValueError: bad"
    assert cause(1, log) == "ValueError: bad"
    assert cause(-9, log) == "killed by SIGKILL"
    log.write_text("error: a.json: no such file\n")
    assert cause(2, log) == "a.json: no such file"
    log.write_text("")
    assert cause(1, log) == "exit code 1 without a message"


def test_child_of_a_killed_parent_saves_and_ends(tmp_path):
    """Its lock is free then, so that a restart can resume."""
    log, lock = tmp_path / "log", tmp_path / "lock"

    def parent():
        with locked(lock, tmp_path) as held:
            code = PARENT.format(handler="end").replace('print("saved"', 'child.kill(); print("saved"')
            Child([sys.executable, "-c", code], log=log, environment=dict(os.environ), lock=held)
        time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    assert is_locked(lock)
    process.kill()
    process.join()
    with locked(lock, tmp_path, patience=20):
        assert "saved" in log.read_text()
