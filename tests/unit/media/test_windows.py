"""Windows of files: aligned audio and frames, starts and ends, and interruptions."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from avdfd.config import MediaConfig, ReconstructionConfig
from avdfd.core.errors import MediaError
from avdfd.features.window import SECONDS, WINDOW
from avdfd.media import windows as media
from avdfd.media.assembly import audio_windows
from avdfd.media.audio import AudioPiece, read_audio
from avdfd.media.streams import Reading
from avdfd.media.windows import extract, windows
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.recordings import clicks, numbered_frame, record
from tests.helpers.windows import CLICKS, check_alignment, constant, variable, whole


@pytest.mark.parametrize("fps", [12.5, 24, 25, 30_000 / 1001, 30, 50])
def test_frames_and_audio_are_aligned_at_any_frame_rate(tmp_path, fps):
    times = constant(fps, 5)
    path = record(tmp_path / "clip.mp4", times, clicks(5, 44_100, CLICKS))
    check_alignment(path, times, MediaConfig(hop=1.0))


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_variable_frame_rate_is_aligned_with_either_decoder(tmp_path, decoder):
    times = variable(5)
    path = record(tmp_path / "clip.mp4", times, clicks(5, 44_100, CLICKS))
    check_alignment(path, times, MediaConfig(hop=1.0, decoder=decoder))


def test_b_frames_are_in_display_order(tmp_path):
    times = constant(25, 5)
    path = record(tmp_path / "clip.mkv", times, clicks(5, 48_000, CLICKS), rate=48_000, options={"bf": "3"})
    check_alignment(path, times, MediaConfig())


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_window_starts_where_both_streams_do(tmp_path, decoder):
    config = MediaConfig(decoder=decoder)
    times = [t + 0.5 for t in constant(25, 4.5)]
    path = record(tmp_path / "clip.mkv", times, clicks(5, 44_100, CLICKS), audio_codec="pcm_s16le")
    assert extract(path, config)[0]["start"] == pytest.approx(0.5, abs=2e-3)
    check_alignment(path, times, config)


def test_windows_start_at_multiples_of_hop(tmp_path):
    path = record(tmp_path / "clip.mp4", constant(25, 6), clicks(6, 16_000, []), rate=16_000)
    windows = extract(path, MediaConfig(hop=1.0))
    assert [w["start"] for w in windows] == pytest.approx([0, 1, 2], abs=1e-6)
    assert all(w["end"] - w["start"] == pytest.approx(SECONDS) for w in windows)
    assert len(extract(path, MediaConfig(hop=1.0, max_windows=2))) == 2
    assert len(extract(path, MediaConfig())) == 1


def test_no_window_spans_an_interruption_of_the_video(tmp_path):
    times = constant(25, 3.6) + [t + 5 for t in constant(25, 3.6)]
    path = record(tmp_path / "clip.mp4", times, clicks(8.6, 16_000, []), rate=16_000)
    assert [w["start"] for w in extract(path, MediaConfig(hop=0.5))] == pytest.approx([0, 0.5, 5, 5.5], abs=1e-3)


def test_no_window_spans_an_interruption_of_the_audio(tmp_path):
    import av

    path = tmp_path / "clip.mkv"
    noise = clicks(4, 16_000, []).astype(np.float32)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height = video.width = 224
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for n in range(225):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered_frame(n))))
        container.mux(video.encode())
        for start in (0, 5):
            samples = (noise * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.rate, frame.pts = 16_000, start * 16_000
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    reading = Reading()
    assert [(s.start, len(s.samples)) for s in read_audio(path, reading=reading)] == [(0, 64_000), (5, 64_000)]
    assert reading.notes == ["1 gap in the audio, 1.00 s without any, the first at 4.00 s"]
    assert [w["start"] for w in extract(path, MediaConfig())] == pytest.approx([0, 5], abs=1e-3)


@pytest.mark.parametrize(("suffix", "first", "starts"), [("ogg", "3.01", [4.5135]), ("webm", "3.51", [0, 5.014])])
def test_windows_left_out_for_gaps_of_the_audio_are_noted(tmp_path, suffix, first, starts):
    """Three stretches of 3.5, 3.5 and 2 s. Ogg states one time for all packets of a page, so half a second moves."""
    import av

    path, rng = tmp_path / f"clip.{suffix}", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libopus", rate=48_000, layout="mono")
        for start, seconds in ((0, 3.5), (5, 3.5), (10, 2)):
            noise = (6_000 * rng.standard_normal((1, round(seconds * 48_000)))).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
            frame.rate, frame.pts = 48_000, start * 48_000
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    reading = Reading()
    cut = [*windows(path, MediaConfig(keep=["waveform"]), reading)]
    assert [window["start"] for window in cut] == pytest.approx(starts, abs=1e-3)
    note = f"2 gaps in the audio, 3.00 s without any, the first at {first} s"
    assert (reading.facts(), reading.remarks()) == ({"notes": [note]}, [note])


def test_silent_windows_are_excluded_with_their_reason(tmp_path):
    audio = np.concatenate([clicks(4, 16_000, CLICKS[:5]), np.zeros(4 * 16_000)])
    path = record(tmp_path / "clip.mkv", constant(25, 8), audio, rate=16_000, audio_codec="pcm_s16le")
    first, second = windows(path, MediaConfig(hop=4.2))
    assert first["start"] == 0
    assert "reason" not in first
    assert second == {"start": 4.2, "end": 7.272, "reason": "silent audio"}
    assert len(extract(path, MediaConfig(hop=4.2))) == 1


def test_buffered_frames_and_second_decoding_give_the_same_windows(tmp_path):
    path = record(
        tmp_path / "clip.mp4", constant(25, 5), clicks(5, 16_000, []), rate=16_000, size=SIZE,
        images=[scene([Place(120 + n, 130), Place(390 - n / 2, 140, seed=5)]) for n in range(125)],
    )  # fmt: skip
    less = record(
        tmp_path / "short.mp4", constant(25, 2), clicks(2, 16_000, []), rate=16_000, size=SIZE,
        images=[scene([Place(120, 130)])] * 50,
    )  # fmt: skip
    buffered = extract(path, MediaConfig(hop=1.0))
    short = extract(less, MediaConfig())
    together = extract(path, whole())
    for again, before in (
        (extract(path, MediaConfig(hop=1.0), buffer=0), buffered),
        (extract(path, whole(), buffer=0), together),
        (extract(less, MediaConfig(), buffer=0), short),
    ):
        assert [window["parts"] for window in again] == [window["parts"] for window in before]
        assert [window["face"].facts() for window in again] == [window["face"].facts() for window in before]
    assert len(buffered) == 2


def test_file_name_with_a_colon_is_read(tmp_path, monkeypatch):
    record(tmp_path / "clip.mp4", constant(25, 4), clicks(4, 16_000, []), rate=16_000)
    os.rename(tmp_path / "clip.mp4", tmp_path / "a:b.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(extract("a:b.mp4", MediaConfig())) == 1


def test_reconstruction_error_that_is_not_finite_is_refused(tmp_path, monkeypatch):
    model = SimpleNamespace(error=lambda mel: np.full_like(mel, np.inf))
    monkeypatch.setattr(media, "reconstruction", lambda config: model)
    record(tmp_path / "a.mkv", constant(25, 3.6), clicks(3.6, 16_000, [1.0]), rate=16_000)
    config = MediaConfig(keep=["waveform"], mel_err=ReconstructionConfig(model="m", sha256="0" * 64))
    with pytest.raises(MediaError, match="its mel_err has values that are not finite"):
        extract(tmp_path / "a.mkv", config)


@pytest.mark.parametrize(("length", "more"), [(2 * WINDOW, 0), (2 * WINDOW + 5000, 0), (2 * WINDOW - 500, 1)])
def test_samples_at_the_end_of_a_clip_change_no_window(length, more):
    """AV-Deepfake1M's fakes are reported to have 960 samples more: they only fill a window that they complete."""
    samples = np.random.default_rng(0).standard_normal(length + 960).astype(np.float32)
    config = MediaConfig(keep=["waveform"], face=None)
    short, long = (list(audio_windows([AudioPiece(0.0, part)], config)) for part in (samples[:length], samples))
    assert len(long) == len(short) + more
    for one, other in zip(short, long, strict=False):
        assert one.start == other.start
        np.testing.assert_array_equal(one.samples, other.samples)
