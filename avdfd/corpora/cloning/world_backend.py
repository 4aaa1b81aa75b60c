"""WORLD as a back end: settings drawn from a candidate's seed, conversion in this process."""

import functools

import numpy as np

from avdfd.config import WorldConfig
from avdfd.corpora.cloning.request import ConversionError, Request
from avdfd.corpora.cloning.world import Analysis, CloneSettings, analyse, clone

_FEWEST_VOICED = 20  # frames: of fewer a mean says nothing


def convert(request: Request) -> np.ndarray:
    """A candidate (S,) float32; the request's settings are those of CloneSettings. Raises ConversionError."""
    source, reference = (_analysed(sound.tobytes()) for sound in (request.source, request.reference))
    if min((source.f0 > 0).sum(), (reference.f0 > 0).sum()) < _FEWEST_VOICED:
        raise ConversionError("no voiced speech in the source or the reference")
    settings = CloneSettings(**request.settings)  # type: ignore[arg-type]
    return clone(source, reference, settings, len(request.source)).astype(np.float32)


def draw_settings(cfg: WorldConfig, seed: int) -> CloneSettings:
    """How rough the candidate of a seed is."""
    rng = np.random.default_rng(seed)
    return CloneSettings(
        cepstrum=int(rng.integers(cfg.cepstrum[0], cfg.cepstrum[1] + 1)),
        smooth=int(rng.integers(cfg.smooth[0], cfg.smooth[1] + 1)),
        flatten=_between(cfg.flatten, rng),
        voiced_to=_between(cfg.voiced_to, rng),
        band=_between(cfg.band, rng),
        missing=_between(cfg.missing, rng),
    )


@functools.lru_cache(maxsize=4)
def _analysed(samples: bytes) -> Analysis:
    """The analysis of a sound in float32; that of the candidate before is often the same."""
    return analyse(np.frombuffer(samples, np.float32).astype(np.float64))


def _between(span: list[float], rng: np.random.Generator) -> float:
    return round(float(rng.uniform(span[0], span[1])), 3)
