"""Errors of a script: one line, and its exit code."""

import subprocess
import sys

import pytest
import torch

from avdfd.core import errors
from avdfd.core.errors import UserError
from tests.paths import ROOT


def run_python(script, *arguments):
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_exit_codes_and_streams(tmp_path):
    """A user error is one line on stderr, no traceback, exit 2."""
    result = run_python("pretrain.py", "--config", tmp_path / "none.json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"error: {tmp_path}/none.json: no such config file; the shipped ones are in config/"
    ]


@pytest.mark.parametrize("number", [13, 30])
def test_refusing_storage_is_a_user_error(number, capsys):
    def main(_):
        raise OSError(number, "reason", "runs/x/best.safetensors")

    with pytest.raises(SystemExit) as end:
        errors.run_script(main)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: runs/x/best.safetensors: reason; ")


def test_user_error_in_a_loader_process_is_one_line(capsys):
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, _):
            raise UserError("x.npy: damaged; make it anew")

    def main(_):
        list(torch.utils.data.DataLoader(Broken(), num_workers=1))

    with pytest.raises(SystemExit) as end:
        errors.run_script(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: x.npy: damaged; make it anew\n"


def test_line_breaks_in_a_name_are_escaped(capsys):
    def main(_):
        raise UserError("a\nb\x1b[31m.mp4: no such file")

    with pytest.raises(SystemExit):
        errors.run_script(main)
    assert capsys.readouterr().err == "error: a\\nb\\x1b[31m.mp4: no such file\n"


def test_interrupt_prints_no_traceback(capsys):
    def main(_):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        errors.run_script(main)
    assert end.value.code == 130
    assert "again" in capsys.readouterr().err
