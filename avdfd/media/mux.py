"""Packets of a picture and samples of a sound -> MP4 with AAC, for the built-in corpus and `avdfd.media.remux`."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

from avdfd.core.errors import MediaError


def mux(
    picture: Any,
    packets: list[Any],
    samples: np.ndarray,
    *,
    rate: int,
    bit_rate: int | None,
    start: Fraction = Fraction(0),
    clock: int = 1000,
) -> bytes:
    """Packets of a video stream and a sound (S,) float32, which begins at `start` seconds, as AAC -> an MP4 file.

    Without a bit rate the sound is ALAC of 16 bits. `clock` is the number of ticks per second of the file's own time.
    Raises MediaError if MP4 cannot hold the stream, ValueError for samples that are no sound.
    """
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise ValueError(f"not a sound: {samples.shape} samples, all finite ones of one channel are needed")
    codec, buffer = picture.codec_context.name, io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4", options={"movie_timescale": str(clock)}) as container:
            if codec not in container.supported_codecs:
                raise MediaError(f"MP4 cannot hold {codec} video")
            video = container.add_stream_from_template(picture, opaque=True)
            audio = container.add_stream("aac" if bit_rate else "alac", rate=rate, layout="mono")
            if bit_rate:
                audio.bit_rate = bit_rate
            for packet in packets:
                packet.stream = video
            for packet in sorted([*_encode(audio, samples, rate, start), *packets], key=_decoded):
                container.mux(packet)
    except av.FFmpegError as error:
        raise MediaError(f"MP4 cannot hold its {codec} video ({error.strerror})") from None
    return buffer.getvalue()


def read_packets(stream: Any) -> list[Any]:
    """The packets of a video stream, with the times that MKV leaves out. Raises MediaError if they do not follow."""
    packets = [packet for packet in stream.container.demux(stream) if packet.size]
    if any(packet.pts is None for packet in packets):
        raise MediaError("does not state when its pictures are shown, which MP4 needs")
    if any(packet.dts is None for packet in packets):
        # They are decoded in the order they are in, and none after it is shown.
        shown = sorted(packet.pts for packet in packets)
        delay = max(time - packet.pts for time, packet in zip(shown, packets, strict=True))
        for time, packet in zip(shown, packets, strict=True):
            packet.dts = time - delay
    return packets


def _encode(stream: Any, samples: np.ndarray, rate: int, start: Fraction) -> list[Any]:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
    packets = [*stream.encode(frame), *stream.encode(None)]
    # What the first one holds only readies the decoder. Decoded before the sound begins but shown then, it makes the
    # muxer cut that off, which it would else do only for a sound that begins at 0.
    packets[0].pts = frame.pts
    return packets


def _decoded(packet: Any) -> Fraction:
    return packet.dts * packet.time_base
