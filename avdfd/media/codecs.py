"""Sounds through a lossy codec and back, so that what a codec leaves behind says nothing about who went through it.

Sounds are (S,) float32, mono.
"""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import soxr

from avdfd.config.audio import CodecConfig
from avdfd.core.seeding import number_of

# Codec -> container that says how much the encoder put before the first sample, encoder.
_FORMS = {
    "aac": ("mp4", "aac"),
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "mulaw": ("wav", "pcm_mulaw"),
}


def random_round_trip(codecs: Sequence[CodecConfig], samples: np.ndarray, rate: int, name: str) -> np.ndarray:
    """A sound through the codec that its name draws; as it is, if there are none."""
    if not codecs:
        return samples
    return round_trip(codecs[number_of(f"codec of {name}") % len(codecs)], samples, rate)


def round_trip(codec: CodecConfig, samples: np.ndarray, rate: int) -> np.ndarray:
    """A sound at `rate` encoded and decoded again: as long as before, and without the encoder's delay."""
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
