"""Windows that wait on disk to be scored."""

import subprocess
import sys

import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.elements.form import mel_of, repeated
from avdfd.features.window import WINDOW
from avdfd.inference import spool
from avdfd.inference.spool import buffer_of, read, spool_windows
from avdfd.media.windows import BUFFER
from tests.helpers.videos import make_video
from tests.paths import ROOT

GIB = 2**30


def test_a_window_that_is_read_has_its_mel(tmp_path):
    path = make_video(tmp_path / "clip.mp4")
    [window] = spool_windows(path, MediaConfig(), tmp_path).windows
    element = read(window)
    assert element.frames.shape == (77, 224, 224, 3)
    assert np.array_equal(element.mel, mel_of(element.waveform))


def test_a_short_clip_is_repeated_and_a_whole_one_is_as_it_was_cut(tmp_path):
    path = make_video(tmp_path / "clip.mp4", seconds=2.0)
    [window] = spool_windows(path, MediaConfig(), tmp_path).windows
    whole, filled = read(window, whole=True), read(window)
    assert len(whole.waveform) < WINDOW
    assert np.array_equal(filled.waveform, repeated(whole.waveform, WINDOW))
    assert np.array_equal(filled.mel, mel_of(filled.waveform))
    assert whole.mel is None


def test_cutting_does_without_torch(tmp_path):
    """Its import takes longer than a file, and more memory."""
    make_video(tmp_path / "clip.mp4")
    code = (
        "import sys; from pathlib import Path; from avdfd.config import MediaConfig; "
        "from avdfd.inference.spool import spool_windows; folder = Path(sys.argv[1]); "
        "assert spool_windows(folder / 'clip.mp4', MediaConfig(), folder).windows; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize(
    ("available", "workers", "buffer"),
    [(64 * GIB, 1, GIB), (64 * GIB, 64, GIB // 2), (GIB, 2, GIB // 4), (GIB, 64, BUFFER), (0, 1, BUFFER)],
)
def test_frames_are_kept_as_far_as_memory_allows(monkeypatch, available, workers, buffer):
    monkeypatch.setattr(spool, "available_memory", lambda: available)
    assert buffer_of(workers) == buffer
