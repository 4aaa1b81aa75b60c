"""One sound chain for every clip, real or fake: resampling, band, edges, loudness and noise floor.

What differs between two clips after it is what was said and how it was made, not how it was stored. Nothing here knows
the tier of a clip; edges and band of a clip are those of its recording, of which it is one version. Sounds are (S,)
float32, mono.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import soxr
from scipy.signal import firwin, kaiserord, oaconvolve

from avdfd.config.audio import ChainConfig
from avdfd.core.errors import MediaError
from avdfd.core.seeding import generator_of
from avdfd.features.acoustics import PIECES, SILENT_DB, loud_pieces, spectral_edge
from avdfd.features.mel import SAMPLE_RATE
from avdfd.media.decode import AudioPiece

AAC_FRAME = 1024
"""Samples of an AAC frame. A sound that ends within one is filled up by the encoder, with digital silence."""

# What does not pass a filter is this far down (dB), and begins this far (Hz) above what passes.
_STOP, _TRANSITION = 100.0, 100.0
# Seconds in which a sound fades in after its edge, or out before it.
_FADE = 0.005
# What is loud in all versions is to stay so, whatever the fade, the band and the codec take of it.
_LOUD_DB = SILENT_DB - 3
# Root mean square below which all of a sound is silence, as in avdfd.media.windows.
_SILENCE = 10 ** (-70 / 20)


class Edges(NamedTuple):
    """Seconds of silence before and after a sound."""

    lead: float = 0.0
    trail: float = 0.0


class Version(NamedTuple):
    """What is to be the same in all versions of a recording, as one of them has it.

    `lead` and `trail` say for each piece of 10 ms at the edges, counted from the edge, whether it is loud: "0" or "1".
    `band` is its spectral edge in Hz.
    """

    lead: str
    trail: str
    band: float


def lay_out(sounds: Sequence[AudioPiece], end: float, chain: ChainConfig) -> np.ndarray:
    """The pieces of sound of a file (16 kHz) -> one sound at `chain.rate` within `chain.band`, zeros in the gaps.

    It begins with the first piece and goes to `end` seconds, where the picture ends, however long the pieces are, or to
    the end of the nearest AAC frame: at 16 kHz, 32 ms off at most. Raises MediaError if it is silence.
    """
    samples = join_pieces(sounds, end)
    if not len(samples) or np.sqrt(np.square(samples).mean()) < _SILENCE:
        raise MediaError("silent audio")
    samples = limit_band(resample(samples, SAMPLE_RATE, chain), chain.band, chain.rate)
    whole = max(round(len(samples) / AAC_FRAME), 1) * AAC_FRAME
    return np.pad(samples, (0, max(whole - len(samples), 0)))[:whole]


def join_pieces(sounds: Sequence[AudioPiece], end: float) -> np.ndarray:
    """The pieces of sound of a file as one (S,), from the first piece on to `end` seconds, with zeros in the gaps."""
    begin = sounds[0].start
    samples = np.zeros(max(round((end - begin) * SAMPLE_RATE), 0), np.float32)
    for sound in sounds:
        first = max(round((sound.start - begin) * SAMPLE_RATE), 0)
        place = samples[first : first + len(sound.samples)]
        place += sound.samples[: len(place)]
    return samples


def measure_version(samples: np.ndarray, chain: ChainConfig) -> Version:
    """A sound as `lay_out` gives it -> what `common_edges_and_band` needs of it."""
    count = round(chain.max_edge * PIECES)
    ends = (loud_pieces(side, chain.rate, _LOUD_DB) for side in (samples, samples[::-1]))
    lead, trail = ("".join("01"[int(loud)] for loud in end[:count]) for end in ends)
    return Version(lead, trail, spectral_edge(samples, chain.rate))


def common_edges_and_band(versions: Iterable[Version], chain: ChainConfig) -> tuple[Edges, float]:
    """Edges and band (Hz) for all versions of one recording: the longest silence and the narrowest band among them.

    An edge ends with the first piece that is loud in all of them, as a version that is silenced up to where another
    one begins may have a pause there. It is `chain.max_edge` at most, and the band `chain.least_band` at least.
    """
    leads, trails, bands = zip(*versions, strict=True)
    band = min(max(min(bands), chain.least_band), chain.band)
    return Edges(_loud_in_all(leads, chain), _loud_in_all(trails, chain)), band


def _loud_in_all(ends: Sequence[str], chain: ChainConfig) -> float:
    for piece, loud in enumerate(zip(*ends, strict=False)):
        if "0" not in loud:
            return piece / PIECES
    return chain.max_edge


def normalise_version(samples: np.ndarray, edges: Edges, band: float, recording: str, chain: ChainConfig) -> np.ndarray:
    """A sound as `lay_out` gives it -> with these edges and this band, the loudness and the noise floor of the chain.

    Loudness and noise are drawn from the name of the recording, so that all versions of it have the same. What would
    go beyond full scale is clipped. Raises MediaError if nothing is left between the edges.
    """
    samples = limit_band(samples, band, chain.rate) if band < chain.band else samples
    rng = generator_of(recording)
    loudness = chain.loudness + rng.uniform(-1, 1) * chain.loudness_spread
    samples = set_loudness(silence_edges(samples, edges, chain.rate), loudness)
    return np.clip(samples + noise(len(samples), rng, chain), -1, 1).astype(np.float32)


def resample(samples: np.ndarray, rate: int, chain: ChainConfig) -> np.ndarray:
    """A sound at `rate` -> at `chain.rate`."""
    return samples if rate == chain.rate else soxr.resample(samples, rate, chain.rate, "VHQ").astype(np.float32)


def limit_band(samples: np.ndarray, band: float, rate: int) -> np.ndarray:
    """Takes away what is above `band` Hz, by 100 dB; without delay, and flat up to 100 Hz below it."""
    taps = _low_pass(band, rate)
    half = len(taps) // 2
    return oaconvolve(samples, taps)[half : half + len(samples)].astype(np.float32)


def silence_edges(samples: np.ndarray, edges: Edges, rate: int) -> np.ndarray:
    """Zeros within the edges of a sound, and fades of 5 ms next to them."""
    gain = np.ones(len(samples), np.float32)
    ramp = np.sin(np.linspace(0, np.pi / 2, round(_FADE * rate), endpoint=False)) ** 2
    for seconds, side in zip(edges, (gain, gain[::-1]), strict=True):  # views: what is set in them is set in `gain`
        count = round(seconds * rate)
        side[:count] = 0
        side[count : count + len(ramp)] *= ramp[: max(len(side) - count, 0)]
    return samples * gain


def set_loudness(samples: np.ndarray, loudness: float) -> np.ndarray:
    """A sound with a root mean square of `loudness`, dB of full scale. Raises MediaError if it is silence."""
    level = np.sqrt(np.square(samples, dtype=np.float64).mean())
    if level < _SILENCE / 10:
        raise MediaError("nothing but silence between its edges")
    return samples * np.float32(10 ** (loudness / 20) / level)


def noise(count: int, rng: np.random.Generator, chain: ChainConfig) -> np.ndarray:
    """White noise (count,) within the band of the chain, at its level. Longer ones begin as shorter ones do."""
    taps = _low_pass(chain.band, chain.rate)
    draws = rng.standard_normal(count + len(taps) - 1, np.float32)
    level = 10 ** (chain.noise / 20) / np.sqrt(np.square(taps).sum())
    return (level * oaconvolve(draws, taps, mode="valid")).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _low_pass(band: float, rate: int) -> np.ndarray:
    count, beta = kaiserord(_STOP, _TRANSITION / (rate / 2))
    return firwin(count | 1, band - _TRANSITION / 2, window=("kaiser", beta), fs=rate)
