"""Encoding with lossy codecs and decoding again, so that codec artefacts do not reveal the class of a clip.

Audio is (S,) float32, mono; frames are (T, H, W, 3) uint8 RGB.
"""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import soxr

from avdfd.config import CodecConfig
from avdfd.core.seeding import seed_of
from avdfd.features.window import FPS

# Codec -> container, encoder. The containers state the encoder's delay, so that the decoder can remove it.
_FORMS = {
    "aac": ("mp4", "aac"),
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "mulaw": ("wav", "pcm_mulaw"),
}


def random_round_trip(codecs: Sequence[CodecConfig], samples: np.ndarray, rate: int, name: str) -> np.ndarray:
    """Encode audio with the codec drawn by `name`, and decode it; return it unchanged if there are no codecs."""
    if not codecs:
        return samples
    return round_trip(codecs[seed_of(f"codec of {name}") % len(codecs)], samples, rate)


def round_trip(codec: CodecConfig, samples: np.ndarray, rate: int) -> np.ndarray:
    """Encode audio at `rate` and decode it again; its length stays and the encoder's delay is removed."""
    container, encoder = _FORMS[codec.name]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(encoder, rate=rate, layout="mono")
        if codec.bit_rate:
            stream.bit_rate = codec.bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), "fltp", "mono")
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in av.AudioResampler(stream.format.name, "mono", rate).resample(frame):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    with av.open(io.BytesIO(buffer.getvalue())) as file:
        decoded_rate = file.streams.audio[0].rate
        pieces = av.AudioResampler("flt", "mono")
        decoded = [out.to_ndarray()[0] for frame in file.decode(audio=0) for out in pieces.resample(frame)]
    back = soxr.resample(np.concatenate(decoded), decoded_rate, rate, "VHQ").astype(np.float32)
    return np.pad(back, (0, max(len(samples) - len(back), 0)))[: len(samples)]


def h264_round_trip(frames: np.ndarray, crf: int) -> np.ndarray:
    """Encode frames at 25 fps as H.264 with a constant rate factor and 4:2:0 chroma, and decode them again."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        # With several threads, or with the macroblock tree at scene changes, x264 is not deterministic.
        stream.options = {"crf": str(crf), "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
        for number, frame in enumerate(frames):
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            image.pts, image.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    with av.open(io.BytesIO(buffer.getvalue())) as container:
        return np.stack([image.to_ndarray(format="rgb24") for image in container.decode(video=0)])
