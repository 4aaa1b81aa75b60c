"""Small real video files for tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

SECONDS = 4  # of what `write` writes
_RATE = 16_000


def make_video(
    path: Path, seconds: float = 4.0, *, fps: int = 25, rate: int = 16_000, size: int = 224, audio: str | None = "noise"
) -> Path:
    """Write H.264 video of brightening grey with AAC `audio`: "noise", "silence", or None for no audio stream."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        stream = container.add_stream("aac", rate=rate, layout="mono") if audio else None
        for number in range(round(seconds * fps)):
            image = np.full((size, size, 3), 40 + 2 * number % 180, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(video.encode())
        if stream:
            samples = rng.uniform(-0.3, 0.3, (1, round(seconds * rate))) * (audio == "noise")
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout="mono")
            frame.rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def write(path: Path, videos: list[dict], tones: list[dict], *, packets_of=lambda packets: packets) -> Path:
    """Write video streams of one grey and audio streams of one tone; `packets_of` may change the packets."""
    with av.open(str(path), "w") as container:
        packets, streams = [], []
        for facts in videos:
            video = container.add_stream(facts.get("codec", "libx264"), rate=25, options={"g": "10", "bf": "0"})
            video.width = video.height = facts.get("size", 64)
            video.pix_fmt = "yuvj420p" if facts.get("codec") == "mjpeg" else "yuv420p"
            video.disposition = facts.get("disposition", Disposition.default)
            streams.append((video, facts))
        for facts in tones:
            audio = container.add_stream("aac", rate=_RATE, layout="mono")
            audio.disposition = facts.get("disposition", Disposition(0))
            streams.append((audio, facts))
        for stream, facts in streams:
            packets += _frames_of(stream, facts) if stream.type == "video" else _tone_of(stream, facts)
        for packet in sorted(packets_of(packets), key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _frames_of(stream, facts):
    packets = []
    for number in range(facts.get("count", SECONDS * 25)):
        image = np.full((stream.height, stream.width, 3), facts.get("grey", 60), np.uint8)
        image[: number % stream.height] += 9
        packets += stream.encode(av.VideoFrame.from_ndarray(image).reformat(format=stream.pix_fmt))
    return packets + stream.encode()


def _tone_of(stream, facts):
    time = np.arange(SECONDS * _RATE) / _RATE
    samples = facts.get("level", 0.5) * np.cos(2 * np.pi * facts["hertz"] * time)
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
    frame.rate, frame.pts, frame.time_base = _RATE, 0, Fraction(1, _RATE)
    return stream.encode(frame) + stream.encode()
