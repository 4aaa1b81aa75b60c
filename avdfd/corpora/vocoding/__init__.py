"""Real speech re-synthesised by signal processing alone: fakes for training, or clips that stay real for testing.

A fake and its original have the same text, speaker and level. They differ only in how the speech was made, which is
what a detector must learn, without any published fakes. Each way has a typical loss of vocoders: phase, fine structure,
resolution, aperiodicity. The ways that keep the speaker may also be called real (RVRA-V), as may a telephone or a
codec: a detector that calls them fake detects vocoders, not deepfakes.

Samples are (S,) float32 at 16 kHz.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from avdfd.core.seeding import generator_of
from avdfd.core.tiers import RVFA, RVFA_SVC, RVFA_VC, Tier
from avdfd.corpora.vocoding import channels, source_filter, spectral
from avdfd.corpora.vocoding.spectral import RATE

__all__ = ["RATE", "REAL_WAYS", "SHORTEST", "WAYS", "Way", "remake", "vocode"]


class Way(NamedTuple):
    """A way of re-synthesis, and its tier, which sets the place in stage 1's order of distance from real voices."""

    make: Callable[[np.ndarray, Generator], np.ndarray]
    tier: Tier


WAYS: dict[str, Way] = {
    "griffin-lim": Way(spectral.griffin_lim, RVFA_SVC),
    "mel-griffin-lim": Way(spectral.mel_griffin_lim, RVFA_SVC),
    "mel-phase": Way(spectral.mel_phase, RVFA_SVC),
    "quantised": Way(spectral.quantised, RVFA_SVC),
    "world": Way(source_filter.world, RVFA_SVC),
    "shifted": Way(spectral.shifted, RVFA_VC),
    "world-shifted": Way(source_filter.world_shifted, RVFA_VC),
    "linear-prediction": Way(source_filter.linear_prediction, RVFA),
    "harmonics-and-noise": Way(source_filter.harmonics_and_noise, RVFA),
}
"""Re-synthesised utterances first, then those with another voice, then parametric ones."""

REAL_WAYS: dict[str, Callable[[np.ndarray, Generator], np.ndarray]] = {
    **{name: way.make for name, way in WAYS.items() if way.tier is RVFA_SVC},
    "telephone": channels.telephone,
    "opus": channels.low_rate,
}
"""Ways that change neither speaker nor words, of clips that stay real."""

SHORTEST = 2048
"""Least number of samples."""

_SPLICED = 0.25
"""Share of the RVFA-SVC fakes that are a mosaic of fake and original."""


def remake(samples: np.ndarray, way: str, name: str) -> np.ndarray:
    """Re-synthesise real speech in one of `WAYS`, at its level; all draws are seeded by the names.

    One in four fakes with the same voice is a mosaic of fake and original; other voices do not fit the original.
    """
    rng = generator_of(f"{way} of {name}")
    samples = np.ascontiguousarray(samples, np.float32)
    made = WAYS[way].make(samples, rng)
    if WAYS[way].tier is RVFA_SVC and rng.random() < _SPLICED:
        made = spectral.mosaic(samples, made, rng)
    return _at_level(made, samples)


def vocode(samples: np.ndarray, way: str, name: str) -> np.ndarray:
    """Pass real speech through one of `REAL_WAYS`, at its level; all draws are seeded by the names."""
    samples = np.ascontiguousarray(samples, np.float32)
    return _at_level(REAL_WAYS[way](samples, generator_of(f"vocoded by {way}: {name}")), samples)


def _at_level(made: np.ndarray, samples: np.ndarray) -> np.ndarray:
    level = np.sqrt(np.square(samples, dtype=np.float64).mean() / max(np.square(made, dtype=np.float64).mean(), 1e-12))
    return (made * level).astype(np.float32)
