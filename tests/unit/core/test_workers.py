import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from avdfd.core.errors import MediaError
from avdfd.core.workers import Failure, run_killable
from tests.paths import ROOT


def act(item: str) -> object:
    """Do in a worker what the name of the item says."""
    if item == "hang":
        time.sleep(60)
    if item == "segfault":
        ctypes.string_at(0)
    if item == "exit":
        os._exit(3)
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "bad media":
        raise MediaError("no face found")
    if item.startswith("errno "):
        raise OSError(int(item.removeprefix("errno ")), "cannot be written", "spool")
    if item == "bug":
        raise ZeroDivisionError("by zero")
    if item == "pid":
        return os.getpid()
    if item == "large":
        return bytes(20_000_000)
    return item.upper()


def outcomes(items: list[str], workers: int = 2, time_limit: float = 20) -> dict[str, object]:
    return dict(run_killable(act, items, workers=workers, time_limit=time_limit))


def test_failing_items_do_not_affect_the_others():
    items = ["a", "hang", "b", "segfault", "c", "exit", "d", "killed", "e", "bad media", "f", "bug", "large", "g"]
    results = outcomes(items, time_limit=3)
    assert {item: result for item, result in results.items() if not isinstance(result, Failure)} == {
        **{letter: letter.upper() for letter in "abcdefg"},
        "large": bytes(20_000_000),
    }
    assert results["hang"] == Failure("took longer than 3 s", killed=True)
    assert results["segfault"] == Failure("its decoding process died (SIGSEGV)", killed=True)
    assert results["exit"] == Failure("its decoding process died (exit code 3)", killed=True)
    assert results["killed"] == Failure("its decoding process died (SIGKILL)", killed=True)
    assert results["bad media"] == Failure("no face found")
    assert results["bug"] == Failure("its decoding process died (exit code 1)", killed=True)


def touch_and_sleep(item: tuple[float, Path]) -> float:
    """Create a file at the start of the item, then sleep."""
    seconds, path = item
    path.touch()
    time.sleep(seconds)
    if seconds == 0.1:
        os._exit(1)
    return seconds


def test_results_are_in_order_with_few_items_started_ahead(tmp_path):
    items = [(1.0 if n == 2 else 0.1 if n == 4 else 0.0, tmp_path / str(n)) for n in range(12)]
    results = run_killable(touch_and_sleep, items, workers=2, time_limit=20, ahead=3)
    started = []
    order = []
    for item, result in results:
        order.append(item)
        started.append(len(list(tmp_path.iterdir())))
        assert isinstance(result, Failure) == (item[0] == 0.1)
    assert order == items
    assert started[1] <= 6  # the third item is waited for, and three after it are started
    assert started[-1] == 12


def test_workers_are_reused_for_further_items():
    pids = [result for _, result in run_killable(act, ["pid"] * 6, workers=2, time_limit=20)]
    assert len(pids) == 6
    assert len(set(pids)) <= 2
    assert os.getpid() not in pids


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_not_blamed_on_the_item(number):
    with pytest.raises(OSError, match="cannot be written") as caught:
        outcomes([f"errno {number}"])
    assert (caught.value.errno, caught.value.filename) == (number, "spool")


def test_no_items_give_no_results():
    assert outcomes([]) == {}


def alive(pid: int) -> bool:
    """Return False for a process that has ended, also if nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_closing_the_generator_kills_the_workers():
    with closing(run_killable(act, ["pid", "hang", "hang"], workers=2, time_limit=60)) as results:
        _, pid = next(results)
        assert isinstance(pid, int)
        assert alive(pid)
    assert not alive(pid)


def test_slow_consumer_does_not_cause_timeouts():
    results = run_killable(act, ["a", "b", "c"], workers=2, time_limit=1.5)
    for _, result in results:
        time.sleep(2)
        assert not isinstance(result, Failure)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(how, tmp_path):
    """After Ctrl-C, which reaches all of them, without messages; after SIGKILL to the parent alone, within an item."""
    script = tmp_path / "script.py"
    script.write_text(
        "from contextlib import closing\n"
        "from avdfd.core.workers import run_killable\n"
        "from tests.unit.core.test_workers import act\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        with closing(run_killable(act, ['pid', 'hang', 'hang'], workers=2, time_limit=60)) as results:\n"
        "            for _, pid in results:\n"
        "                print(pid, flush=True)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    if how == signal.SIGKILL:
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 20
        while alive(pid):
            assert time.monotonic() < deadline, "the worker still runs"
            time.sleep(0.01)
        return
    os.killpg(process.pid, how)
    out, err = process.communicate(timeout=20)
    assert out == "interrupted\n"
    assert err == ""
    assert not alive(pid)
