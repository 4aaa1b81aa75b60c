"""One audio chain for every clip, real or fake: resampling, band limit, silent edges, loudness and noise floor.

Clips that pass the chain differ in their content and in how they were made, no longer in how they were stored. The
chain is not given the tier of a clip. A clip is one version of a recording; its edges and band are common to all
versions of that recording. Audio is (S,) float32, mono.
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
from avdfd.features.acoustics import PIECES, SILENCE, SILENT_DB, loud_pieces, spectral_edge
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.audio import AudioPiece, join_pieces

AAC_FRAME = 1024
"""Samples per AAC frame. The encoder pads audio that ends within a frame with digital silence."""

# Stop-band attenuation (dB) and transition width (Hz) of the low-pass filters.
_STOP, _TRANSITION = 100.0, 100.0
# Duration of the fades next to the silent edges, in seconds.
_FADE = 0.005
# Stricter than SILENT_DB by 3 dB, so that loud pieces are still loud after fade, band limit and codec.
_LOUD_DB = SILENT_DB - 3


class Edges(NamedTuple):
    """Seconds of silence at the start and at the end of a clip."""

    lead: float = 0.0
    trail: float = 0.0


class Version(NamedTuple):
    """Edges and band of one version of a recording, which all versions will share.

    `lead` and `trail` hold one character per piece of 10 ms, counted inward from the start and from the end: "1" if the
    piece is loud, else "0". `band` is the spectral edge in Hz.
    """

    lead: str
    trail: str
    band: float


def lay_out(pieces: Sequence[AudioPiece], end: float, chain: ChainConfig) -> np.ndarray:
    """Join the audio of a file (16 kHz), resample it to `chain.rate` and limit it to `chain.band`; gaps are zeros.

    The result starts with the first piece. It is cut or padded to `end` seconds, the end of the video, rounded to whole
    AAC frames: at 16 kHz, at most 32 ms away. Raises MediaError if it is silent.
    """
    samples = join_pieces(pieces, end)
    if not len(samples) or np.sqrt(np.square(samples).mean()) < SILENCE:
        raise MediaError("silent audio")
    samples = limit_band(resample(samples, SAMPLE_RATE, chain), chain.band, chain.rate)
    whole = max(round(len(samples) / AAC_FRAME), 1) * AAC_FRAME
    return np.pad(samples, (0, max(whole - len(samples), 0)))[:whole]


def measure_version(samples: np.ndarray, chain: ChainConfig) -> Version:
    """Measure the edges and the band of audio that `lay_out` returned."""
    count = round(chain.max_edge * PIECES)
    ends = (loud_pieces(side, chain.rate, _LOUD_DB) for side in (samples, samples[::-1]))
    lead, trail = ("".join("01"[int(loud)] for loud in end[:count]) for end in ends)
    return Version(lead, trail, spectral_edge(samples, chain.rate))


def common_edges_and_band(versions: Iterable[Version], chain: ChainConfig) -> tuple[Edges, float]:
    """Return edges and band (Hz) for all versions of one recording: the longest silence and the narrowest band.

    An edge ends at the first piece that is loud in all versions, as one version may pause where another begins. It is
    at most `chain.max_edge`; the band is at least `chain.least_band`.
    """
    leads, trails, bands = zip(*versions, strict=True)
    band = min(max(min(bands), chain.least_band), chain.band)
    return Edges(_loud_in_all(leads, chain), _loud_in_all(trails, chain)), band


def _loud_in_all(ends: Sequence[str], chain: ChainConfig) -> float:
    for piece, loud in enumerate(zip(*ends, strict=False)):
        if "0" not in loud:
            return piece / PIECES
    return chain.max_edge


def normalise_version(
    samples: np.ndarray, edges: Edges, band: float, recording: str, chain: ChainConfig, *, trim: bool = False
) -> np.ndarray:
    """Give audio that `lay_out` returned these edges and band, and the loudness and noise floor of the chain.

    Loudness and noise are drawn from the name of the recording, so all its versions have the same. Samples beyond full
    scale are clipped. With `trim`, the edges are replaced by those of `chain.edge_silence`, which changes the length.
    Raises MediaError if the audio between the edges is silent.
    """
    samples = limit_band(samples, band, chain.rate) if band < chain.band else samples
    rng = generator_of(recording)
    loudness = chain.loudness + rng.uniform(-1, 1) * chain.loudness_spread
    samples = silence_edges(samples, edges, chain.rate)
    if trim and chain.edge_silence:
        samples = redraw_edges(samples, edges, recording, chain)
    samples = set_loudness(samples, loudness)
    return np.clip(samples + noise(len(samples), rng, chain), -1, 1).astype(np.float32)


def resample(samples: np.ndarray, rate: int, chain: ChainConfig) -> np.ndarray:
    """Resample audio from `rate` to `chain.rate`."""
    return samples if rate == chain.rate else soxr.resample(samples, rate, chain.rate, "VHQ").astype(np.float32)


def limit_band(samples: np.ndarray, band: float, rate: int) -> np.ndarray:
    """Attenuate frequencies above `band` Hz by 100 dB, without delay; the response is flat up to `band` - 100 Hz."""
    taps = _low_pass(band, rate)
    half = len(taps) // 2
    return oaconvolve(samples, taps)[half : half + len(samples)].astype(np.float32)


def silence_edges(samples: np.ndarray, edges: Edges, rate: int) -> np.ndarray:
    """Set the edges of audio to zero, with fades of 5 ms next to them."""
    gain = np.ones(len(samples), np.float32)
    ramp = np.sin(np.linspace(0, np.pi / 2, round(_FADE * rate), endpoint=False)) ** 2
    for seconds, side in zip(edges, (gain, gain[::-1]), strict=True):  # views into `gain`
        count = round(seconds * rate)
        side[:count] = 0
        side[count : count + len(ramp)] *= ramp[: max(len(side) - count, 0)]
    return samples * gain


def redraw_edges(samples: np.ndarray, edges: Edges, recording: str, chain: ChainConfig) -> np.ndarray:
    """Cut off the edges of audio and put silence of `chain.edge_silence`, drawn by the name of the recording, in place.

    The end is extended to whole AAC frames, as `lay_out` does.
    """
    assert chain.edge_silence
    first, last = round(edges.lead * chain.rate), len(samples) - round(edges.trail * chain.rate)
    kept = samples[first : max(first, last)]
    shortest, longest = chain.edge_silence
    drawn = generator_of(f"edges of {recording}").uniform(shortest, longest, size=2)
    lead, trail = (round(seconds * chain.rate) for seconds in drawn)
    return np.pad(kept, (lead, trail + -(lead + len(kept) + trail) % AAC_FRAME))


def set_loudness(samples: np.ndarray, loudness: float) -> np.ndarray:
    """Scale audio to a root mean square of `loudness`, in dB of full scale. Raises MediaError if it is silent."""
    level = np.sqrt(np.square(samples, dtype=np.float64).mean())
    if level < SILENCE / 10:
        raise MediaError("silent audio between its edges")
    return samples * np.float32(10 ** (loudness / 20) / level)


def noise(count: int, rng: np.random.Generator, chain: ChainConfig) -> np.ndarray:
    """White noise (count,) in the band and at the level of the chain; a longer one starts with the shorter one."""

    taps = _low_pass(chain.band, chain.rate)
    draws = rng.standard_normal(count + len(taps) - 1, np.float32)
    level = 10 ** (chain.noise / 20) / np.sqrt(np.square(taps).sum())
    return (level * oaconvolve(draws, taps, mode="valid")).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _low_pass(band: float, rate: int) -> np.ndarray:
    count, beta = kaiserord(_STOP, _TRANSITION / (rate / 2))
    return firwin(count | 1, band - _TRANSITION / 2, window=("kaiser", beta), fs=rate)
