"""Fakes made of real speech by signal processing alone: for training, never for testing.

A fake and its original say the same, by the same person, at the same level. What is between the two is how speech was
made, and nothing else: that is what a detector is to learn, and it needs no fake of anybody else. Each way loses
something that vocoders lose: phase, fine structure, resolution, aperiodicity.

Samples are (S,) float32 at 16 kHz.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from avdfd.core.seeding import generator_of
from avdfd.core.tiers import RVFA, RVFA_SVC, RVFA_VC, Tier
from avdfd.corpora.vocoding import source_filter, spectral
from avdfd.corpora.vocoding.spectral import RATE

__all__ = ["RATE", "SHORTEST", "WAYS", "Way", "remake"]


class Way(NamedTuple):
    """A way of making speech again, and its tier: the place in stage 1's order of how far a voice is from real."""

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
"""Copies of an utterance first, then copies in another voice, then those that a few numbers are left of."""

SHORTEST = 2048
"""Samples that a sound must have."""

_SPLICED = 0.25
"""Part of the copies that are a mosaic of copy and original."""


def remake(samples: np.ndarray, way: str, name: str) -> np.ndarray:
    """A real sound made again in one of `WAYS`, as loud as it was; all that is drawn is drawn from the names.

    One copy in four is a mosaic of copy and original; a copy in another voice is not, as the two do not fit.
    """
    rng = generator_of(f"{way} of {name}")
    samples = np.ascontiguousarray(samples, np.float32)
    made = WAYS[way].make(samples, rng)
    if WAYS[way].tier is RVFA_SVC and rng.random() < _SPLICED:
        made = spectral.mosaic(samples, made, rng)
    level = np.sqrt(np.square(samples, dtype=np.float64).mean() / max(np.square(made, dtype=np.float64).mean(), 1e-12))
    return (made * level).astype(np.float32)
