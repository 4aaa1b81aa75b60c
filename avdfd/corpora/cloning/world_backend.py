"""WORLD as a back end: the settings are drawn from the seed of a candidate; converts in this process."""

import functools

import numpy as np

from avdfd.config import WorldConfig
from avdfd.corpora.cloning.request import ConversionError, Request
from avdfd.corpora.cloning.world import Analysis, CloneSettings, analyse, clone

_FEWEST_VOICED = 20  # frames that a mean needs


def convert(request: Request) -> np.ndarray:
    """Return a candidate (S,) float32; the request's settings are those of CloneSettings. Raises ConversionError."""
    source, reference = (_analysed(audio.tobytes()) for audio in (request.source, request.reference))
    if min((source.f0 > 0).sum(), (reference.f0 > 0).sum()) < _FEWEST_VOICED:
        raise ConversionError("no voiced speech in the source or the reference")
    settings = CloneSettings(**request.settings)  # type: ignore[arg-type]
    return clone(source, reference, settings, len(request.source)).astype(np.float32)


def draw_settings(cfg: WorldConfig, seed: int) -> CloneSettings:
    """Draw the settings of a candidate from its seed."""
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
    """Return the analysis of samples in float32, cached: consecutive candidates often share source or reference."""
    return analyse(np.frombuffer(samples, np.float32).astype(np.float64))


def _between(span: list[float], rng: np.random.Generator) -> float:
    return round(float(rng.uniform(span[0], span[1])), 3)
