import sys

import numpy as np
import pytest

from avdfd.config import CloneConfig, CommandConfig, WorldConfig, parse
from avdfd.core.errors import UserError
from avdfd.corpora.cloning.backends import check_backend, open_backend, processes, settings_of
from avdfd.corpora.cloning.request import ConversionError, Request

SOURCE = (0.3 * np.sin(np.arange(16_000) * 0.2)).astype(np.float32)
REFERENCE = (0.3 * np.sin(np.arange(8_000) * 0.1)).astype(np.float32)

ADD = """
import sys
from scipy.io import wavfile
source, reference, output, seed = sys.argv[1:]
rate, samples = wavfile.read(source)
_, other = wavfile.read(reference)
assert rate == 16000 and len(other) == 8000
wavfile.write(output, rate, -samples // int(seed))
"""


def command(code):
    return CommandConfig(
        name="mine", command=[sys.executable, "-c", code, "{source}", "{reference}", "{output}", "{seed}"]
    )


def test_command_gets_audio_and_seed_and_its_output_is_read(tmp_path):
    convert = open_backend(command(ADD), tmp_path, 20)
    made = convert(Request(SOURCE, REFERENCE, 2))
    assert np.abs(made + SOURCE / 2).max() < 1e-3


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no licence')", "failed (exit code 1): no licence"),
        ("pass", "the program's result: no such file"),
        ("import sys; open(sys.argv[3], 'w').write('noise')", "the program's result: not a media file"),
        ("import sys; open(sys.argv[3], 'w')", "the program's result: empty file"),
        ("import time; time.sleep(60)", "took longer than 2 s"),
    ],
)
def test_failing_command_raises_conversion_error(tmp_path, code, reason):
    with pytest.raises(ConversionError) as caught:
        open_backend(command(code), tmp_path, 2)(Request(SOURCE, REFERENCE, 1))
    assert reason in str(caught.value)


def test_stale_output_is_not_read(tmp_path):
    open_backend(command(ADD), tmp_path, 20)(Request(SOURCE, REFERENCE, 1))
    with pytest.raises(ConversionError, match="no such file"):
        open_backend(command("pass"), tmp_path, 20)(Request(SOURCE, REFERENCE, 1))


def test_missing_program_is_reported_before_the_work():
    with pytest.raises(UserError, match=r"backend\.command: no program 'no-such-program'"):
        check_backend(CommandConfig(name="mine", command=["no-such-program", "{source} {reference} {output}"]))


def test_settings_and_processes():
    assert set(settings_of(WorldConfig(), 0, 1)) == {"cepstrum", "smooth", "flatten", "voiced_to", "band", "missing"}
    assert settings_of(WorldConfig(), 0, 1) != settings_of(WorldConfig(), 0, 2)
    assert settings_of(command("pass"), 0, 1) == {}
    assert processes(WorldConfig(), 3) == 3


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ({"kind": "command", "name": "mine", "command": ["a", "{source}"]}, "no argument has {reference} in it"),
        ({"kind": "command", "name": "My VC", "command": ["a"]}, "backend.command.name"),
        ({"kind": "world", "band": [7000.0, 6000.0]}, "goes from the smaller to the larger"),
        ({"kind": "vocoder"}, "backend"),
    ],
)
def test_wrong_back_end_is_named(backend, message):
    with pytest.raises(UserError) as caught:
        parse({"input": "in", "output": "out", "backend": backend}, CloneConfig, "c.json")
    assert message in str(caught.value)
