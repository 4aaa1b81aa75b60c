"""Flash and beep: a frame turns white when a tone begins. Both are read at the same time, from every container."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avdfd.config import ChainConfig
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.audio import read_audio
from avdfd.media.chain import lay_out
from avdfd.media.remux import replace_audio, video_end
from avdfd.media.video import read_video

RATE, FPS, SECONDS = 48_000, 25, 2
FLASHES = (0.4, 0.8, 1.2, 1.6)  # each lasts 0.2 s

CONTAINERS = [
    # suffix, format, video codec, audio codec, numbers of B-frames
    ("mp4", "mp4", "libx264", "aac", (0, 3)),
    ("mp4", "mp4", "libx265", "aac", (0, 3)),
    ("mp4", "mp4", "mpeg4", "libmp3lame", (0, 2)),
    ("mov", "mov", "libx264", "pcm_s16le", (0, 3)),
    ("3gp", "3gp", "mpeg4", "aac", (0,)),
    ("mkv", "matroska", "libx264", "aac", (0, 3)),
    ("mkv", "matroska", "mpeg2video", "flac", (0, 2)),
    ("webm", "webm", "libvpx", "libopus", (0,)),
    ("webm", "webm", "libvpx-vp9", "libopus", (0,)),
    ("ts", "mpegts", "libx264", "aac", (0, 3)),
    ("mpg", "vob", "mpeg2video", "mp2", (0, 2)),
    ("flv", "flv", "libx264", "aac", (0, 3)),
    ("asf", "asf", "mpeg4", "libmp3lame", (0,)),
    ("avi", "avi", "libx264", "pcm_s16le", (0, 1, 3)),
    ("avi", "avi", "mpeg4", "pcm_s16le", (0, 2)),
    ("avi", "avi", "mjpeg", "pcm_s16le", (0,)),
]
NO_OFFSETS = {"avi"}  # both streams begin at 0 in this container
PAIRS = [
    (suffix, form, video, audio, b_frames, offset)
    for suffix, form, video, audio, several in CONTAINERS
    for b_frames in several
    for offset in ((0.0,) if form in NO_OFFSETS else (0.0, 0.52))
]


def flash_and_beep(path: Path, form: str, codec: str, audio_codec: str, b_frames: int, offset: float) -> Path:
    """Write 2 s of 64x64 frames whose times, with those of the audio, begin at `offset`."""
    options = {"bf": str(b_frames), "b-adapt": "0"} if codec == "libx264" else {}
    options |= {"bf": str(b_frames)} if codec.startswith("mpeg") else {}
    options |= (
        {"x265-params": f"bframes={b_frames}:log-level=none", "preset": "ultrafast"} if codec == "libx265" else {}
    )
    with av.open(str(path), "w", format=form) as container:
        video = container.add_stream(codec, rate=FPS, options=options)
        video.width = video.height = 64
        video.codec_context.thread_count = 1
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = container.add_stream(audio_codec, rate=RATE, layout="mono")
        packets = []
        for number in range(SECONDS * FPS):
            white = any(0 <= number / FPS - time < 0.2 - 1e-6 for time in FLASHES)
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 220 if white else 30, np.uint8))
            packets += video.encode(frame.reformat(format=video.pix_fmt))
        packets += video.encode()
        tone = av.AudioFrame.from_ndarray(beeps()[None], format="fltp", layout="mono")
        tone.rate, tone.pts, tone.time_base = RATE, 0, Fraction(1, RATE)
        size = audio.codec_context.frame_size or 1024
        for piece in av.AudioResampler(audio.codec_context.format, "mono", RATE, frame_size=size).resample(tone):
            packets += audio.encode(piece)
        packets += audio.encode()
        for packet in packets:
            ticks = round(offset / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def beeps() -> np.ndarray:
    time = np.arange(SECONDS * RATE) / RATE
    loud = sum((time >= start) & (time < start + 0.2) for start in FLASHES)
    return (0.6 * loud * np.cos(2 * np.pi * 1000 * time)).astype(np.float32)


def lateness(path: Path) -> np.ndarray:
    """Return the seconds by which each flash comes after its beep. No frame may be missing."""
    frames = list(read_video(path, "pyav"))
    assert len(frames) == SECONDS * FPS
    white = np.array([frame.gray().mean() > 128 for frame in frames])
    shown = np.array([frame.time for frame in frames])[1:][np.diff(white.astype(int)) == 1]
    (piece,) = read_audio(path)
    loud = np.flatnonzero(np.abs(piece.samples) > 0.25)
    begun = loud[np.diff(loud, prepend=-SAMPLE_RATE) > 0.1 * SAMPLE_RATE] / SAMPLE_RATE + piece.start
    assert len(shown) == len(begun) == len(FLASHES)
    return shown - begun


def name_of(pair: tuple) -> str:
    return "-".join(map(str, pair[1:]))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Lateness of all pairs, as read from the file and as read from its copy with other audio, if MP4 can hold it."""
    folder, found = tmp_path_factory.mktemp("pairs"), {}
    for pair in PAIRS:
        path = flash_and_beep(folder / f"{name_of(pair)}.{pair[0]}", *pair[1:])
        found[pair] = lateness(path)
    return folder, found


def test_flash_and_beep_coincide_in_every_container(measured):
    _, found = measured
    assert len(found) >= 40
    late = {name_of(pair): float(np.abs(values).max()) for pair, values in found.items()}
    assert {name: value for name, value in late.items() if value > 0.5 / FPS} == {}
    assert abs(np.mean([values.mean() for values in found.values()])) < 0.005


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[2] in ("libx264", "mpeg4")], ids=name_of)
def test_times_pass_through_parity_and_cloning(measured, pair, tmp_path):
    """Both write a clip with `replace_audio`, from audio that `lay_out` placed."""
    folder, found = measured
    path, out, chain = folder / f"{name_of(pair)}.{pair[0]}", tmp_path / "out.mp4", ChainConfig()
    replace_audio(path, lay_out(read_audio(path), float(video_end(path)), chain), out, chain)
    assert lateness(out) == pytest.approx(found[pair], abs=2e-3)
