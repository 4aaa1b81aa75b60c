"""Replacement of a video's audio: video packets are copied, samples are encoded as AAC, both are muxed into MP4."""

import io
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avdfd.config.audio import ChainConfig
from avdfd.core.errors import MediaError
from avdfd.core.files import write_atomic
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.container import open_media
from avdfd.media.mux import mux, read_packets
from avdfd.media.streams import Reading, first_stream

# Time scale (ticks per second) of the stream starts in MP4. FFmpeg's default of 1,000 would move frames by up to 1 ms;
# usual frame and sample rates divide this one, exactly or almost.
_CLOCK = 720_000
# Largest change of a frame time in seconds: one tick of MKV.
_TOLERANCE = Fraction(1, 1000)


def replace_audio(
    video: Path, samples: np.ndarray, out: Path, chain: ChainConfig | None, reading: Reading | None = None
) -> None:
    """Write a video with other audio; its video packets are copied.

    `samples` (S,) are mono float32 at `chain.rate`, encoded as AAC; without a chain they are at 16 kHz and encoded
    losslessly. The new audio starts where the audio of `video` starts, in the stream that `reading` names. Frames
    keep their times relative to the audio within 1 ms. All times are shifted together so that the earlier of the two
    streams starts at about 0. The file is built in memory and written atomically; the same input gives the same bytes.

    Raises MediaError if the video cannot be read or MP4 cannot hold its codec or its times, OSError with the name of
    `out` if it cannot be written, and ValueError if the samples are empty, not finite or not of one channel.
    """
    begin = audio_start(video, reading.audio_stream if reading else None)
    with open_media(video) as source:
        stream = first_stream(source, "video")
        packets = read_packets(stream)
        shown = _times(packets)
        if not shown:
            raise MediaError("no frame in its video stream")
        ticks = math.floor(min(begin, *shown) / stream.time_base)  # an integer, so that no frame time is rounded
        moved = ticks * stream.time_base
        for packet in packets:
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        start = begin - moved
        rate, bit_rate = (chain.rate, chain.bit_rate) if chain else (SAMPLE_RATE, None)
        data = mux(stream, packets, samples, rate=rate, bit_rate=bit_rate, start=start, clock=_CLOCK)
    with av.open(io.BytesIO(data)) as made:
        kept = _times(read_packets(made.streams.video[0]))
    if len(kept) != len(shown) or any(abs(a - b + moved) > _TOLERANCE for a, b in zip(kept, shown, strict=True)):
        raise MediaError("MP4 cannot hold its frame times")
    write_atomic(out, data)


def audio_start(path: Path, stream: int | None = None) -> Fraction:
    """Return the time of the first audio sample of a file in seconds, as its container states it. Raises MediaError."""
    with open_media(path) as container:
        for frame in container.decode(first_stream(container, "audio", stream)):
            return frame.pts * frame.time_base if frame.pts is not None else Fraction(0)
    raise MediaError("no audio could be decoded")


def video_end(path: Path) -> Fraction:
    """Return the end of the last frame of a file in seconds, as its container states it. Raises MediaError."""
    with open_media(path) as container:
        packets = read_packets(first_stream(container, "video"))
        times = _times(packets)
        if not times:
            raise MediaError("no frame in its video stream")
        last = max((packet for packet in packets if not packet.is_discard), key=lambda packet: packet.pts)
        spacing = times[-1] - times[-2] if len(times) > 1 else Fraction(0)
        return times[-1] + ((last.duration or 0) * last.time_base or spacing)


def _times(packets: list[Any]) -> list[Fraction]:
    """Return the sorted display times of the frames in seconds, without those that an edit list cuts off."""

    return sorted(packet.pts * packet.time_base for packet in packets if not packet.is_discard)
