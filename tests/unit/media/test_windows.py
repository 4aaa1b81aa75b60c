import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avdfd.config import MediaConfig, ReconstructionConfig
from avdfd.core.errors import MediaError
from avdfd.elements import unpack
from avdfd.elements.form import mel_of
from avdfd.features.window import SAMPLE_RATE, SECONDS, WINDOW, frames_of
from avdfd.media import face_mesh, face_windows
from avdfd.media import windows as media
from avdfd.media.assembly import audio_windows
from avdfd.media.audio import AudioPiece, read_audio
from avdfd.media.streams import Reading
from avdfd.media.video import read_video
from avdfd.media.windows import extract, windows
from tests.helpers.heads import SIZE, Place, scene
from tests.helpers.recordings import clicks, frame_number, numbered_frame, record
from tests.paths import CLIPS

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


def whole(**changes) -> MediaConfig:
    return MediaConfig(whole=True, keep=["waveform", "frames"], **changes)


def spans(path: Path, config: MediaConfig) -> list[tuple[float, float]]:
    return [(window["start"], window["end"]) for window in extract(path, config)]


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


def test_channels_are_averaged_and_resampled_to_16_khz(tmp_path):
    rate, t = 48_000, np.arange(4 * 48_000) / 48_000
    left = 0.6 * np.sin(2 * np.pi * 440 * t)
    path = record(
        tmp_path / "clip.mkv", constant(25, 4), np.stack([left, np.zeros_like(left)]),
        rate=rate, layout="stereo", audio_codec="pcm_s16le",
    )  # fmt: skip
    (piece,) = read_audio(path)
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(piece.samples)) / SAMPLE_RATE)
    assert abs(len(piece.samples) - 4 * SAMPLE_RATE) <= 1
    assert np.abs(piece.samples - expected)[500:-500].max() < 1e-3


def test_8_khz_audio_and_10_bit_video_are_converted(tmp_path):
    times = constant(25, 4)
    path = record(
        tmp_path / "clip.mkv", times, clicks(4, 8_000, CLICKS[:5]), rate=8_000, audio_codec="pcm_s16le",
        pix_fmt="yuv420p10le",
    )  # fmt: skip
    check_alignment(path, times, MediaConfig())
    image = next(read_video(path, "pyav")).rgb()
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - numbered_frame(0)).mean() < 4


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_video_is_read_upright(tmp_path, angle):
    stored = np.full((120, 160, 3), 30, np.uint8)
    stored[:40, :40] = 220  # top left as stored
    rotation = angle if angle <= 180 else angle - 360
    path = record(tmp_path / "clip.mp4", [0, 0.04], None, size=(120, 160), images=[stored] * 2, rotation=rotation)
    frame = next(read_video(path, "pyav"))
    expected = np.rot90(stored, angle // 90)
    assert frame.rgb().shape == expected.shape
    assert np.abs(frame.rgb().astype(int) - expected).mean() < 4
    assert np.abs(frame.gray().astype(int) - expected[..., 0]).mean() < 4


def reason(path: Path, config: MediaConfig | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        extract(path, config or MediaConfig())
    return str(caught.value)


def test_each_kind_of_unusable_file_has_its_reason(tmp_path):
    audio, times = clicks(5, 16_000, CLICKS), constant(25, 5)
    silence = np.zeros(5 * 16_000)
    good = record(tmp_path / "good.mp4", times, audio, rate=16_000)
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    truncated = tmp_path / "truncated.mp4"
    truncated.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    front = record(tmp_path / "front.mp4", times, audio, rate=16_000, options={"movflags": "faststart"})
    reasons = {
        "no audio": reason(record(tmp_path / "a.mp4", times, None)),
        "no video": reason(record(tmp_path / "v.mp4", [], audio, rate=16_000)),
        "silent": reason(record(tmp_path / "s.mp4", times, silence, rate=16_000)),
        "short": reason(record(tmp_path / "h.mp4", constant(30, 0.8), clicks(0.8, 16_000, []), rate=16_000)),
        "slow": reason(record(tmp_path / "l.mp4", constant(1, 5), audio, rate=16_000)),
        "one frame": reason(record(tmp_path / "o.mp4", [0], audio, rate=16_000)),
        "text": reason(text),
        "empty": reason(empty),
        "truncated": reason(truncated),
        "missing": reason(tmp_path / "nothing.mp4"),
    }
    assert reasons == {
        "no audio": "no audio stream",
        "no video": "no video stream",
        "silent": "silent audio",
        "short": "shorter than 1 s: 0.80 s of common audio and video",
        "slow": "1 frames a second: a window needs frames at most 0.5 s apart",
        "one frame": "one frame only",
        "text": "not a media file",
        "empty": "empty file",
        "truncated": reasons["truncated"],
        "missing": "no such file",
    }
    assert reasons["truncated"].startswith("cannot be decoded, damaged or truncated")
    assert extract(front, MediaConfig())


def test_truncated_file_that_opens_is_rejected(tmp_path):
    path = record(tmp_path / "clip.mkv", constant(25, 8), clicks(8, 16_000, CLICKS), rate=16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert "truncated" in reason(path)


def test_silent_windows_are_excluded_with_their_reason(tmp_path):
    audio = np.concatenate([clicks(4, 16_000, CLICKS[:5]), np.zeros(4 * 16_000)])
    path = record(tmp_path / "clip.mkv", constant(25, 8), audio, rate=16_000, audio_codec="pcm_s16le")
    first, second = windows(path, MediaConfig(hop=4.2))
    assert first["start"] == 0
    assert "reason" not in first
    assert second == {"start": 4.2, "end": 7.272, "reason": "silent audio"}
    assert len(extract(path, MediaConfig(hop=4.2))) == 1


def test_224_frames_are_not_resampled(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    path = record(
        tmp_path / "clip.mkv", constant(25, 4), clicks(4, 16_000, []), rate=16_000, codec="ffv1", pix_fmt="bgr0",
        options={}, audio_codec="pcm_s16le", images=[image] * 100,
    )  # fmt: skip
    frames = unpack(extract(path, MediaConfig(jpeg_quality=100))[0]["parts"]).frames
    assert np.abs(frames.astype(int) - image).max() <= 4  # error of JPEG only


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


def test_video_without_a_face_has_its_reason(tmp_path):
    path = record(tmp_path / "clip.mp4", constant(25, 4), clicks(4, 16_000, []), rate=16_000, size=(240, 320))
    assert reason(path) == "no face found"


@pytest.mark.parametrize("size", [(240, 320), (96, 64)])
def test_whole_frames_need_no_face(size, tmp_path, monkeypatch):
    """Frames are resized whatever their proportions: the number that a frame shows across its width stays readable."""
    monkeypatch.setattr(face_windows, "FaceTracker", lambda config: pytest.fail("looked for a face"))
    path = record(tmp_path / "clip.mp4", constant(25, 6.4), clicks(6.4, 16_000, []), rate=16_000, size=size)
    windows = extract(path, MediaConfig(face=None))
    assert [(window["start"], window["face"]) for window in windows] == [(0.0, None), (3.072, None)]
    frames = unpack(windows[0]["parts"]).frames
    assert frames.shape == (77, 224, 224, 3)
    assert [frame_number(frame) for frame in frames] == list(range(77))
    assert frames[0, :48].mean() == pytest.approx(128, abs=4), "the grey quarter above stays a quarter"


def test_file_name_with_a_colon_is_read(tmp_path, monkeypatch):
    record(tmp_path / "clip.mp4", constant(25, 4), clicks(4, 16_000, []), rate=16_000)
    os.rename(tmp_path / "clip.mp4", tmp_path / "a:b.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(extract("a:b.mp4", MediaConfig())) == 1


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are missing")
def test_face_of_a_real_clip_fills_the_crop():
    path = CLIPS / "real" / "dfdc-ayhm__orig__49cf17.mp4"
    element = unpack(extract(path, MediaConfig(max_windows=1))[0]["parts"])
    for frame in element.frames[::10]:
        (face,) = face_mesh.detect(frame)
        assert face.box[2] == pytest.approx(224 / 1.5, rel=0.2)
        assert face.box[:2] + face.box[2:] / 2 == pytest.approx([112, 112], abs=20)


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
