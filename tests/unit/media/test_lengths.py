"""Clips that are shorter than a window, and whole clips."""

import numpy as np
import pytest

from avdfd.config import MediaConfig
from avdfd.elements import unpack
from avdfd.elements.form import mel_of
from avdfd.features.window import WINDOW
from avdfd.media.windows import extract
from tests.helpers.recordings import clicks, frame_number, record
from tests.helpers.windows import CLICKS, check_alignment, constant, reason, spans, whole


@pytest.mark.parametrize("fps", [25, 30_000 / 1001])
def test_a_short_clip_is_taken_as_it_is(tmp_path, fps):
    times = constant(fps, 2.3)
    path = record(tmp_path / "clip.mkv", times, clicks(2.13, 16_000, CLICKS), rate=16_000, audio_codec="pcm_s16le")
    (window,) = extract(path, MediaConfig())
    assert (window["start"], window["end"]) == (0, 2.12), "to the end of the audio, in whole frames of 40 ms"
    element, together = unpack(window["parts"]), unpack(extract(path, whole())[0]["parts"])
    assert np.array_equal(element.waveform, together.waveform), "neither repeated nor padded"
    assert np.array_equal(element.frames, together.frames)
    assert len(element.frames) == 53
    repeated = np.concatenate([element.waveform] * 2)[:WINDOW]
    assert np.array_equal(element.mel, mel_of(repeated))
    assert reason(path, MediaConfig(short=False)) == "shorter than one window: 2.13 s of common audio and video"
    audio = reason(path, MediaConfig(keep=["waveform"], short=False))
    assert audio == "shorter than one window: 2.13 s of audio"


def test_the_end_of_the_video_ends_a_short_clip(tmp_path):
    path = record(tmp_path / "clip.mp4", constant(25, 3.0), clicks(5, 16_000, CLICKS), rate=16_000)
    assert spans(path, MediaConfig()) == [(0, 3.0)], "as in GRID"
    (window,) = extract(path, MediaConfig())
    assert [frame_number(frame) for frame in unpack(window["parts"]).frames] == list(range(75))


def test_a_file_of_short_stretches_gives_the_longest_and_one_with_a_window_gives_none(tmp_path):
    stretches = constant(25, 1.6) + [t + 5 for t in constant(25, 2)] + [t + 9 for t in constant(25, 0.6)]
    path = record(tmp_path / "short.mp4", stretches, clicks(9.6, 16_000, []), rate=16_000)
    assert np.round(spans(path, MediaConfig()), 3).tolist() == [[5, 7]]
    times = [*stretches, *(t + 12 for t in constant(25, 4))]
    path = record(tmp_path / "long.mp4", times, clicks(16, 16_000, []), rate=16_000)
    assert np.round(spans(path, MediaConfig(hop=0.5)), 3).tolist() == [[12, 15.072], [12.5, 15.572]]
    assert extract(path, MediaConfig(hop=0.5)) == extract(path, MediaConfig(hop=0.5, short=False))


@pytest.mark.parametrize("fps", [25, 30_000 / 1001])
def test_whole_clips(tmp_path, fps):
    times = constant(fps, 5.3)
    path = record(tmp_path / "clip.mkv", times, clicks(5.6, 16_000, CLICKS), rate=16_000, audio_codec="pcm_s16le")
    check_alignment(path, times, whole())
    assert spans(path, whole()) == [(0, pytest.approx(5.3, abs=0.04))], "to the end of the video"
    assert spans(path, whole(max_seconds=2)) == [(0, 2)]
    assert spans(path, whole())[0][1] * 25 % 1 == pytest.approx(0, abs=1e-6), "whole frames of 40 ms"
    clip = unpack(extract(path, whole())[0]["parts"])
    windows = [unpack(window["parts"]) for window in extract(path, MediaConfig())]
    assert np.array_equal(clip.waveform[:WINDOW], windows[0].waveform)
    assert np.array_equal(clip.frames[:77], windows[0].frames)


def test_a_whole_clip_may_be_short(tmp_path):
    audio = clicks(1.2, 16_000, [])
    path = record(tmp_path / "clip.mkv", constant(25, 1.4), audio, rate=16_000, audio_codec="pcm_s16le")
    assert spans(path, whole()) == [(0, 1.2)], "to the end of the audio"
    path = record(tmp_path / "less.mp4", constant(25, 0.8), clicks(0.8, 16_000, []), rate=16_000)
    assert reason(path, whole()).startswith("shorter than 1 s: 0.")


def test_a_whole_clip_does_not_span_an_interruption(tmp_path):
    times = constant(25, 1.6) + [t + 5 for t in constant(25, 2)] + [t + 9 for t in constant(25, 0.6)]
    path = record(tmp_path / "clip.mp4", times, clicks(9.6, 16_000, []), rate=16_000)
    assert np.round(spans(path, whole()), 3).tolist() == [[0, 1.6], [5, 7]]
