"""Another sound for a video: the packets of its picture as they are, and samples as AAC beside them, in MP4."""

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
from avdfd.features.mel import SAMPLE_RATE
from avdfd.media.decode import first_stream, open_media
from avdfd.media.mux import mux, read_packets

# Ticks per second in which MP4 states when a stream begins. FFmpeg's 1,000 would move frames by up to 1 ms; the usual
# frame and sample rates divide this one, or nearly so.
_CLOCK = 720_000
# Seconds by which a time may change: one tick of MKV.
_TOLERANCE = Fraction(1, 1000)


def replace_audio(video: Path, samples: np.ndarray, out: Path, chain: ChainConfig | None) -> None:
    """Writes the picture of a video, not encoded again, with another sound.

    `samples` (S,) are mono float32 at `chain.rate`, or, without a chain, at 16 kHz and kept without loss. The first one
    is heard when the sound of `video` begins. Frames keep their times relative to that, within 1 ms. Neither begins
    before 0, and one of them about there: where the video's own times are not like that, all of them are moved. `out`
    is there whole or not at all, and the same input gives the same bytes. The file is made in memory.

    Raises MediaError if the video cannot be read or MP4 cannot hold its codec or its times, OSError that names `out`
    where it cannot be written, and ValueError for samples that are no sound.
    """
    begin = audio_start(video)
    with open_media(video) as source:
        picture = first_stream(source, "video")
        packets = read_packets(picture)
        shown = _times(packets)
        if not shown:
            raise MediaError("no picture in it")
        ticks = math.floor(min(begin, *shown) / picture.time_base)  # whole ones, so that no frame time is rounded
        moved = ticks * picture.time_base
        for packet in packets:
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        start = begin - moved
        rate, bit_rate = (chain.rate, chain.bit_rate) if chain else (SAMPLE_RATE, None)
        data = mux(picture, packets, samples, rate=rate, bit_rate=bit_rate, start=start, clock=_CLOCK)
    with av.open(io.BytesIO(data)) as made:
        kept = _times(read_packets(made.streams.video[0]))
    if len(kept) != len(shown) or any(abs(a - b + moved) > _TOLERANCE for a, b in zip(kept, shown, strict=True)):
        raise MediaError("MP4 cannot hold its frame times")
    write_atomic(out, data)


def audio_start(path: Path) -> Fraction:
    """Seconds at which the first sample of a file is heard, on the time line of its container. Raises MediaError."""
    with open_media(path) as container:
        for frame in container.decode(first_stream(container, "audio")):
            return frame.pts * frame.time_base if frame.pts is not None else Fraction(0)
    raise MediaError("no sound could be decoded")


def video_end(path: Path) -> Fraction:
    """Seconds at which the last picture of a file has been shown, on the time line of its container.

    Raises MediaError.
    """
    with open_media(path) as container:
        packets = read_packets(first_stream(container, "video"))
        times = _times(packets)
        if not times:
            raise MediaError("no picture in it")
        last = max((packet for packet in packets if not packet.is_discard), key=lambda packet: packet.pts)
        spacing = times[-1] - times[-2] if len(times) > 1 else Fraction(0)
        return times[-1] + ((last.duration or 0) * last.time_base or spacing)


def _times(packets: list[Any]) -> list[Fraction]:
    """When the pictures are shown, in seconds and in order; those that an edit list cuts off aside."""
    return sorted(packet.pts * packet.time_base for packet in packets if not packet.is_discard)
