"""Files that were joined end to end, zeros and other bytes between packets, and packets without content."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from avdfd.core.errors import MediaError
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.audio import read_audio
from avdfd.media.packets import _Clock, packets_of
from avdfd.media.streams import Reading
from avdfd.media.video import read_video
from tests.helpers.recordings import clicks, frame_number, record

SECONDS, FPS = 2, 25
CLICKS = (0.4, 1.2)  # seconds, at which the frames 10 and 30 are shown
DELAY = 0.03  # seconds by which encoders delay audio, at most


def clip(path: Path, **form: Any) -> Path:
    times = [number / FPS for number in range(SECONDS * FPS)]
    return record(path, times, clicks(SECONDS, 44_100, CLICKS), size=(96, 160), **form)


def clicks_and_frames(path: Path, reading: Reading | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of the clicks, and of the frames 10 and 30."""
    reading = reading or Reading()
    sounded = []
    for piece in read_audio(path, reading=reading):
        loud = np.flatnonzero(np.abs(piece.samples) > 0.3)
        begins = loud[np.diff(loud, prepend=-SAMPLE_RATE) > 0.1 * SAMPLE_RATE]
        sounded += [piece.start + (begin + 16) / SAMPLE_RATE for begin in begins]
    shown = [frame.time for frame in read_video(path, "pyav", reading) if frame_number(frame.rgb()) in (10, 30)]
    return np.array(sounded), np.array(shown)


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_recordings_joined_end_to_end_are_read_to_their_end(suffix, tmp_path):
    """Their time stamps begin again: the audio of the second was paired with the frames of the first."""
    path = clip(tmp_path / f"a.{suffix}")
    once, _ = clicks_and_frames(path)
    path.write_bytes(path.read_bytes() * 2)
    reading = Reading()
    sounded, shown = clicks_and_frames(path, reading)
    assert len(sounded) == len(shown) == 4
    np.testing.assert_allclose(sounded - shown, np.resize(sounded[:2] - shown[:2], 4), atol=2e-3)
    np.testing.assert_allclose(sounded, shown, atol=DELAY)
    np.testing.assert_allclose(sounded[:2], once, atol=1e-6)
    assert SECONDS < sounded[2] - sounded[0] < SECONDS + 0.5
    begun, gap = reading.notes
    assert begun == "time stamps begin again 1 time"
    assert gap.startswith("1 gap in the audio, 0.2"), "none runs over the seam"
    assert reading.dropped_frames == 0


def test_zeros_in_and_behind_a_recording_are_passed_over(tmp_path):
    """Cameras allocate their files in advance."""
    path = clip(tmp_path / "a.ts")
    data = path.read_bytes()
    for made in (data + bytes(300_000), data + bytes(188 * 1000) + data):
        path.write_bytes(made)
        sounded, shown = clicks_and_frames(path)
        np.testing.assert_allclose(sounded, shown, atol=DELAY)
        assert len(sounded) == 2 * made.count(data)


def test_other_bytes_behind_ogg_are_passed_over(tmp_path):
    path = record(tmp_path / "a.ogg", [], clicks(SECONDS, 48_000, CLICKS), rate=48_000, audio_codec="libopus")
    (whole,) = read_audio(path, video=False)
    path.write_bytes(path.read_bytes() + np.random.default_rng(0).bytes(200_000))
    (piece,) = read_audio(path, video=False)
    np.testing.assert_array_equal(piece.samples, whole.samples)


def test_a_stream_that_begins_within_the_file_does_not_end_it(tmp_path):
    """FLV states audio and video; captions come when they come."""
    path = clip(tmp_path / "a.flv", codec="flv1", audio_codec="libmp3lame")
    data, at = path.read_bytes(), 13
    while at < path.stat().st_size // 2:
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    text = b"\2" + b"\0\x0aonTextData" + b"\3" + b"\0\4text\2\0\5hello" + b"\0\0\x09"
    tag = b"\x12" + len(text).to_bytes(3, "big") + data[at + 4 : at + 8] + bytes(3) + text
    path.write_bytes(data[:at] + tag + (len(tag)).to_bytes(4, "big") + data[at:])
    sounded, shown = clicks_and_frames(path)
    np.testing.assert_allclose(sounded, shown, atol=DELAY)
    assert len(sounded) == 2


def packet(index: int, dts: float):
    made = av.Packet(b"x")
    made.stream = STREAMS[index]
    made.time_base = Fraction(1, 1000)
    made.dts = made.pts = round(1000 * dts)
    made.duration = 40
    return made


@pytest.fixture(autouse=True)
def streams(tmp_path):
    with av.open(str(tmp_path / "streams.mkv"), "w") as container:
        for codec in ("libx264", "aac"):
            stream = container.add_stream(codec, rate=16_000 if codec == "aac" else FPS)
            STREAMS[stream.index] = stream
        yield
        STREAMS.clear()


STREAMS: dict[int, Any] = {}


class Demuxer:
    """A container whose packets are given; an exception among them is raised, once."""

    format = SimpleNamespace(name="ogg")
    size = 0

    def __init__(self, *parts) -> None:
        self.parts = [*parts]
        self.streams = [*STREAMS.values()]

    def demux(self, *streams):
        while self.parts:
            part = self.parts.pop(0)
            if isinstance(part, Exception):
                raise part
            yield part


def test_packets_without_content_are_left_out():
    """Theora repeats a frame by one; a decoder takes it for the end, or refuses it."""
    empty = av.Packet()
    empty.stream, empty.dts, empty.time_base = STREAMS[0], 40, Fraction(1, 1000)
    end = av.Packet()
    end.stream = STREAMS[0]
    one, other = packet(0, 0.0), packet(0, 0.08)
    found = [*packets_of(Demuxer(one, empty, other, end), [STREAMS[0]])]
    assert found == [one, other, end]


def test_reading_on_has_an_end():
    one = packet(0, 0.0)
    faults = [av.InvalidDataError(1, "x") for _ in range(100)]
    first, end = packets_of(Demuxer(one, *faults, packet(0, 0.04)), [STREAMS[0]])
    assert first is one
    assert (end.size, end.dts, end.stream) == (0, None, STREAMS[0])


def moved(clock: _Clock, *times: tuple[int, float]) -> list[float]:
    packets = [packet(index, time) for index, time in times]
    for one in packets:
        clock.move(one)
    return [one.dts / 1000 for one in packets]


def test_audio_and_video_are_moved_by_the_same():
    """A packet of the first recording may come after those of the second: a demuxer holds the last one back."""
    clock = _Clock()
    found = moved(clock, (0, 1.0), (1, 1.1), (0, 5.0), (0, 1.0), (1, 5.0), (1, 1.1), (0, 1.5))
    assert found == pytest.approx([1.0, 1.1, 5.0, 5.24, 5.0, 5.34, 5.74])
    assert clock.begun_again({0, 1}) == 1


def test_one_stream_that_begins_again_alone_is_refused():
    clock = _Clock()
    moved(clock, (0, 1.0), (1, 1.0), (0, 5.0), (1, 5.0), (1, 1.0))
    with pytest.raises(MediaError, match="begin again at different places"):
        clock.begun_again({0, 1})
    assert clock.begun_again({0}) == 0
