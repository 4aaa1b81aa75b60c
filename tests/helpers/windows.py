"""Recordings whose frames are numbered and whose audio clicks, and the windows that are cut from them."""

from pathlib import Path

import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.core.errors import MediaError
from avdfd.elements import unpack
from avdfd.features.window import SAMPLE_RATE, WINDOW, frames_of
from avdfd.media.windows import extract
from tests.helpers.recordings import frame_number

CLICKS = [0.31, 0.9, 1.57, 2.2, 2.83, 3.4, 4.03, 4.7]


def constant(fps: float, seconds: float) -> list[float]:
    return [n / fps for n in range(round(fps * seconds))]


def variable(seconds: float) -> list[float]:
    """Return frame times with random gaps between 20 and 120 ms."""
    gaps = np.random.default_rng(3).uniform(0.02, 0.12, 1000)
    return [t for t in np.cumsum(gaps) - gaps[0] if t < seconds]


def check_alignment(path: Path, times: list[float], config: MediaConfig) -> None:
    """Assert that frames are at most half a source frame off their target times and clicks at most 2 ms."""
    windows = extract(path, config)
    assert windows
    for window in windows:
        element = unpack(window["parts"])
        count = frames_of(window["end"] - window["start"])
        assert element.frames.shape == (count, 224, 224, 3)
        assert len(element.waveform) == (count * 640 if config.whole else WINDOW)
        for k, image in enumerate(element.frames):
            target, n = window["start"] + k / 25, frame_number(image)
            near = [abs(times[m] - times[n]) for m in (n - 1, n + 1) if 0 <= m < len(times)]
            assert abs(times[n] - target) <= max(near) / 2 + 2e-3, (k, n)
            assert abs(times[n] - target) <= min(abs(np.array(times) - target)) + 2e-3
        inside = [t for t in CLICKS if window["start"] + 0.01 < t < window["end"] - 0.01]
        assert len(inside) >= 3
        for time in inside:
            middle = round((time - window["start"]) * SAMPLE_RATE)
            energy = element.waveform[middle - 160 : middle + 160] ** 2
            assert abs(np.average(np.arange(-160, 160), weights=energy)) < 0.002 * SAMPLE_RATE


def whole(**changes) -> MediaConfig:
    return MediaConfig(whole=True, keep=["waveform", "frames"], **changes)


def spans(path: Path, config: MediaConfig) -> list[tuple[float, float]]:
    return [(window["start"], window["end"]) for window in extract(path, config)]


def reason(path: Path, config: MediaConfig | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        extract(path, config or MediaConfig())
    return str(caught.value)
