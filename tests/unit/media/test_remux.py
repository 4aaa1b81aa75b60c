"""Replacement of audio keeps frames and their times; the new audio starts where the old audio did."""

import errno
import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.config import ChainConfig
from avdfd.core.errors import MediaError
from avdfd.media.audio import read_audio
from avdfd.media.remux import replace_audio
from avdfd.media.video import read_video
from tests.helpers.videos import make_video

RATE = 16_000
CHAIN = ChainConfig()


def make_source(
    path: Path, codec: str = "libx264", *, b_frames: int = 2, video_at: float = 0.0, audio_at: float = 0.0
) -> Path:
    """Write a video of 2 s, 25 fps, with noise; a stream starts at the given time and is cut at 0."""
    rng = np.random.default_rng(0)
    options = {"bf": str(b_frames), "b-adapt": "0", "g": "12"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48_000, layout="mono")
        packets = []
        for number in range(50):
            image = np.full((64, 64, 3), 3 * number, np.uint8) + rng.integers(0, 40, (64, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode()
        for packet in packets:
            offset = round(video_at / packet.time_base)
            packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
        noise = rng.uniform(-0.3, 0.3, (1, 96_000)).astype(np.float32)
        audio_frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        audio_frame.rate, audio_frame.pts, audio_frame.time_base = 48_000, round(audio_at * 48_000), Fraction(1, 48_000)
        for resampled in av.AudioResampler(audio.codec_context.format, "mono", 48_000).resample(audio_frame):
            packets += audio.encode(resampled)
        packets += audio.encode()
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def click(seconds: float = 1.9) -> np.ndarray:
    samples = np.zeros(round(seconds * RATE), np.float32)
    samples[800:816] = 0.9
    return samples


def offsets(path: Path) -> np.ndarray:
    """Return frame times relative to the start of the audio."""
    start = read_audio(path)[0].start
    return np.array([frame.time - start for frame in read_video(path, "pyav")])


def decoded_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize(
    "source",
    [
        {"b_frames": 0},
        {"b_frames": 2},
        {"b_frames": 2, "video_at": 0.3},
        {"b_frames": 2, "video_at": -0.5},  # in MP4 an edit list cuts off the first 12 frames
        {"b_frames": 0, "audio_at": 0.03},
        {"b_frames": 2, "audio_at": 0.3},
        {"b_frames": 2, "video_at": 0.513, "audio_at": 0.4},
    ],
)
def test_times_frames_and_audio_are_kept(tmp_path, source, suffix):
    video, out = make_source(tmp_path / f"source{suffix}", **source), tmp_path / "out.mp4"
    replace_audio(video, click(), out, CHAIN)
    assert offsets(out) == pytest.approx(offsets(video), abs=1e-3)
    assert all(np.array_equal(a, b) for a, b in zip(decoded_frames(out), decoded_frames(video), strict=True))
    [piece] = read_audio(out)
    assert abs(int(np.abs(piece.samples).argmax()) - 808) <= 16
    assert 0 <= len(piece.samples) - len(click()) <= 1024


def test_edit_list_is_written(tmp_path):
    """A clip that starts before 0 has frames that are not displayed, in the source and in the output."""
    video, out = make_source(tmp_path / "source.mp4", video_at=-0.5), tmp_path / "out.mp4"
    replace_audio(video, click(), out, CHAIN)
    for path in (video, out):
        with av.open(str(path)) as container:
            assert any(packet.is_discard for packet in container.demux(video=0))


@pytest.mark.parametrize(("codec", "suffix"), [("mpeg4", ".avi"), ("mpeg2video", ".mkv"), ("libvpx-vp9", ".webm")])
def test_other_codecs(tmp_path, codec, suffix):
    video, out = make_source(tmp_path / f"source{suffix}", codec), tmp_path / "out.mp4"
    replace_audio(video, click(), out, CHAIN)
    assert offsets(out) == pytest.approx(offsets(video), abs=1e-3)
    assert all(np.array_equal(a, b) for a, b in zip(decoded_frames(out), decoded_frames(video), strict=True))


def test_rotation_is_kept(tmp_path):
    video, out = make_source(tmp_path / "source.mp4"), tmp_path / "out.mp4"
    data = bytearray(video.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)
    video.write_bytes(data)
    replace_audio(video, click(), out, CHAIN)
    with av.open(str(out)) as container:
        assert next(container.decode(video=0)).rotation == -90


def test_same_input_gives_same_bytes(tmp_path):
    video = make_source(tmp_path / "source.mp4")
    for name in ("a.mp4", "b.mp4"):
        replace_audio(video, click(), tmp_path / name, CHAIN)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_codec_not_supported_by_mp4_is_rejected(tmp_path):
    video = make_source(tmp_path / "source.webm", "libvpx")
    with pytest.raises(MediaError, match="MP4 cannot hold vp8 video"):
        replace_audio(video, click(), tmp_path / "out.mp4", CHAIN)
    assert not (tmp_path / "out.mp4").exists()


def test_source_without_audio_is_rejected(tmp_path):
    with pytest.raises(MediaError, match="no audio stream"):
        replace_audio(make_video(tmp_path / "a.mp4", 1.0, audio=None), click(), tmp_path / "out.mp4", CHAIN)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 9)), np.full(9, np.nan)])
def test_invalid_samples_are_rejected(tmp_path, samples):
    with pytest.raises(ValueError, match="audio must be finite, of one channel and not empty"):
        replace_audio(make_video(tmp_path / "a.mp4", 1.0), samples, tmp_path / "out.mp4", CHAIN)


def test_full_disk_names_the_output_and_leaves_no_file(tmp_path):
    video, out = make_source(tmp_path / "source.mp4"), tmp_path / "out" / "out.mp4"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            replace_audio(video, click(), out, CHAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(out))
    assert not list(out.parent.iterdir())
