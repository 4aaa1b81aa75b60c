"""Augmentation of waveforms, clip by clip, on the processor: for models that take waveforms.

S samples at 16 kHz   B clips
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from avdfd.config import CodecConfig, WaveformAugmentConfig
from avdfd.elements.form import repeated
from avdfd.features import distortions, rawboost
from avdfd.features.window import SAMPLE_RATE

RoundTrip = Callable[[CodecConfig, np.ndarray, int], np.ndarray]
"""Encodes and decodes a waveform of a rate with a codec: `avdfd.media.codecs.round_trip`."""


def augmented(waveform: Tensor, cfg: WaveformAugmentConfig, rng: Generator, round_trip: RoundTrip | None) -> Tensor:
    """Waveform (S,) in [-1, 1] -> the waveform as one draw changes it, (S,), or of another length with another speed.

    From the source to the listener: speed, room, noise, channel, band, codec. `round_trip` may be None without codecs.
    """
    audio = waveform.numpy()
    if rng.random() < cfg.speed:
        audio = distortions.speed(audio, _between(cfg.speed_factor, rng))
    if rng.random() < cfg.reverberation:
        audio = distortions.reverberation(audio, _between(cfg.rt60, rng), rng)
    if rng.random() < cfg.noise:
        audio = distortions.noise(audio, _between(cfg.noise_snr, rng), rng)
    if rng.random() < cfg.convolutive:
        audio = rawboost.convolutive(audio, rng)
    if rng.random() < cfg.impulsive:
        audio = rawboost.impulsive(audio, cfg.impulsive_percent, cfg.impulsive_gain, rng)
    if rng.random() < cfg.stationary:
        audio = rawboost.stationary(audio, _between(cfg.stationary_snr, rng), rng)
    if rng.random() < cfg.band:
        audio = distortions.resampling(audio, 2 * _between(cfg.band_edge, rng))
    if rng.random() < cfg.codec:
        assert round_trip is not None, "codecs are applied by what opens media"
        audio = round_trip(cfg.codecs[int(rng.integers(len(cfg.codecs)))], audio, SAMPLE_RATE)
    return torch.from_numpy(np.ascontiguousarray(audio, np.float32))


def augmented_windows(
    waveforms: Tensor, cfg: WaveformAugmentConfig, rngs: Sequence[Generator], round_trip: RoundTrip | None
) -> Tensor:
    """Waveforms (B, S) -> augmented ones (B, S), repeated from their start where another speed made them shorter."""
    clips = [augmented(one, cfg, rng, round_trip).numpy() for one, rng in zip(waveforms, rngs, strict=True)]
    samples = waveforms.shape[1]
    return torch.from_numpy(np.stack([repeated(clip[:samples], samples) for clip in clips]))


def _between(values: Sequence[float], rng: Generator) -> float:
    low, high = values
    return rng.uniform(low, high)
