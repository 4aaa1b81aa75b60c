"""Muxing of video packets, or drawn images, and audio samples into MP4."""

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.features.window import FPS
from avdfd.media.ceilings import check_seconds
from avdfd.media.container import has_display_times
from avdfd.media.packets import packets_of

_CLOCK = 90_000  # ticks per second of encoded video, fine enough for every frame rate


def mux(
    video: Any,
    packets: list[Any],
    samples: np.ndarray,
    *,
    rate: int,
    bit_rate: int | None,
    start: Fraction = Fraction(0),
    clock: int = 1000,
) -> bytes:
    """Return the bytes of an MP4 file with the packets of a video stream and audio (S,) float32 as AAC.

    The audio starts at `start` seconds; without a bit rate it is encoded as 16-bit ALAC. `clock` is the time scale of
    the file in ticks per second. Raises MediaError if MP4 cannot hold the stream, ValueError if the samples are empty,
    not finite or not of one channel.
    """
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise ValueError(f"samples {samples.shape}: audio must be finite, of one channel and not empty")
    codec, buffer = video.codec_context.name, io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4", options={"movie_timescale": str(clock)}) as container:
            if codec not in container.supported_codecs:
                raise MediaError(f"MP4 cannot hold {codec} video")
            out = container.add_stream_from_template(video, opaque=True)
            audio = container.add_stream("aac" if bit_rate else "alac", rate=rate, layout="mono")
            if bit_rate:
                audio.bit_rate = bit_rate
            for packet in packets:
                packet.stream = out
            for packet in sorted([*_encode(audio, samples, rate, start), *packets], key=_decoded):
                container.mux(packet)
    except av.FFmpegError as error:
        raise MediaError(f"MP4 cannot hold its {codec} video ({error.strerror})") from None
    return buffer.getvalue()


def encode_mp4(
    images: Iterable[tuple[float, np.ndarray]], samples: np.ndarray, *, start: float, rate: int, bit_rate: int
) -> bytes:
    """Return the bytes of an MP4 file with images at their times as H.264, and audio as in `mux`.

    Images are times in seconds with arrays (H, W, 3) uint8 BGR of one even size. Raises MediaError without an image,
    and for one that is hours from `start`.
    """
    with av.open(io.BytesIO(_encode_images(_near(images, start)))) as encoded:
        video = encoded.streams.video[0]
        begin = Fraction(start).limit_denominator(_CLOCK)
        return mux(video, read_packets(video), samples, rate=rate, bit_rate=bit_rate, start=begin)


def read_packets(stream: Any) -> list[Any]:
    """Return the packets of a video stream; times that its container does not state are derived.

    AVI has no display times: the stream is decoded to see in which order its frames are shown. MKV has no decoding
    times. Raises MediaError if a packet has no display time.
    """
    packets = [packet for packet in packets_of(stream.container, [stream]) if packet.size]
    faulty = stream.codec_context.has_b_frames and all(packet.pts == packet.dts for packet in packets)
    if faulty or not has_display_times(stream.container, stream):
        packets = _with_display_times(stream, packets)
    if any(packet.pts is None for packet in packets):
        raise MediaError("has no display times of its frames, which MP4 needs")
    if any(packet.dts is None for packet in packets):
        # Packets are in decoding order, and none may be decoded after it is shown.
        shown = sorted(packet.pts for packet in packets)
        delay = max(time - packet.pts for time, packet in zip(shown, packets, strict=True))
        for time, packet in zip(shown, packets, strict=True):
            packet.dts = time - delay
    return packets


def _with_display_times(stream: Any, packets: list[Any]) -> list[Any]:
    """Give packets display times: the n-th frame shown has the time of the n-th packet. Packets without a frame go."""
    decoder = stream.codec_context
    decoder.copy_opaque = True  # a frame then has the number of its packet
    order = []
    for number, packet in enumerate(packets):
        packet.opaque = number
        order += [frame.opaque for frame in decoder.decode(packet)]
    order += [frame.opaque for frame in decoder.decode(None)]
    times = [packet.dts for packet in packets]
    if len({*order}) != len(order) or None in times or None in order:
        raise MediaError("has no display times of its frames, which MP4 needs")
    for time, number in zip(times, order, strict=False):
        packets[number].pts, packets[number].dts = time, None
    return [packets[number] for number in sorted(order)]


def _encode(stream: Any, samples: np.ndarray, rate: int, start: Fraction) -> list[Any]:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
    packets = [*stream.encode(frame), *stream.encode(None)]
    # The first packet only primes the decoder. With its display time set to the start of the audio and its decoding
    # time before it, the muxer writes an edit list that cuts it off; otherwise it would do so only for a start at 0.
    packets[0].pts = frame.pts
    return packets


def _decoded(packet: Any) -> Fraction:
    return packet.dts * packet.time_base


def _near(images: Iterable[tuple[float, np.ndarray]], start: float) -> Iterator[tuple[float, np.ndarray]]:
    for time, image in images:
        check_seconds(abs(time - start))
        yield time, image


def _encode_images(images: Iterable[tuple[float, np.ndarray]]) -> bytes:
    buffer, count = io.BytesIO(), 0
    with av.open(buffer, "w", format="mp4") as container:
        # Without B-frames, every frame keeps its time stamp.
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "18", "bf": "0"})
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, _CLOCK)
        for time, image in images:
            if not count:
                video.height, video.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(time * _CLOCK), video.codec_context.time_base
            container.mux(video.encode(frame))
            count += 1
        if not count:
            raise MediaError("no frame could be decoded")
        container.mux(video.encode(None))
    return buffer.getvalue()
