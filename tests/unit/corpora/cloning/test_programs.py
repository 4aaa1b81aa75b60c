import os
import subprocess
import sys
import time

import pytest

from avdfd.corpora.cloning import programs
from avdfd.corpora.cloning.request import ConversionError

PYTHON = sys.executable


def test_output_is_returned_and_other_braces_stay(tmp_path):
    command = programs.filled([PYTHON, "-c", "print({'{a}': 1})"], {"a": "b c"})
    assert programs.run(command, 20, tmp_path / "log") == "{'b c': 1}\n"


def test_failure_has_the_cause_and_the_last_log_line(tmp_path):
    with pytest.raises(ConversionError, match=r"failed \(exit code 3\): out of tape"):
        programs.run(
            [PYTHON, "-c", "import sys; print('out of tape', file=sys.stderr); sys.exit(3)"], 20, tmp_path / "log"
        )
    with pytest.raises(ConversionError, match=r"failed \(SIGSEGV\)$"):
        programs.run([PYTHON, "-c", "import os; os.kill(os.getpid(), 11)"], 20, tmp_path / "log")
    with pytest.raises(ConversionError, match="no-such-program cannot be started"):
        programs.run(["no-such-program"], 20, tmp_path / "log")


def test_time_limit_kills_the_process_group(tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(ConversionError, match="took longer than 1 s"):
        programs.run([PYTHON, "-c", code], 1, tmp_path / "log")
    assert gone(int(pid.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_program_ends_with_the_process_that_started_it(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "from avdfd.corpora.cloning import programs\n"
        "program = programs.start([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(program.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([PYTHON, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert gone(pid)


def gone(pid: int) -> bool:
    """Return True if a process ends within some seconds; a zombie has ended."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
