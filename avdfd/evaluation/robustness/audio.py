"""Perturbations of audio: functions (waveform, level, rng) -> waveform, both (S,) float32 at 16 kHz.

They keep the length, and so the alignment with the video. A generator gives the same draw at every level, so that a
curve over levels shows the effect of the level alone. Others are in `avdfd.features.distortions`.
"""

from typing import Literal

import numpy as np
import soxr
import torch
from numpy.random import Generator
from torchaudio.functional import phase_vocoder

from avdfd.config import CodecConfig
from avdfd.features.distortions import fit_length, match_rms
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.codecs import round_trip

MUTED_PIECE = 0.16
"""Length of a muted segment in seconds."""

_N_FFT, _HOP = 512, 128  # of the phase vocoder
_BLEND = 0.005  # seconds of crossfade at a seam


def mp3(waveform: np.ndarray, kbps: float, rng: Generator) -> np.ndarray:
    """Encode and decode as MP3 of this bit rate."""
    return _through(waveform, "mp3", kbps)


def aac(waveform: np.ndarray, kbps: float, rng: Generator) -> np.ndarray:
    """Encode and decode as AAC of this bit rate."""
    return _through(waveform, "aac", kbps)


def opus(waveform: np.ndarray, kbps: float, rng: Generator) -> np.ndarray:
    """Encode and decode as Opus of this bit rate."""
    return _through(waveform, "opus", kbps)


def pitch(waveform: np.ndarray, semitones: float, rng: Generator) -> np.ndarray:
    """Raise the pitch at the same duration: stretch by a phase vocoder, then resample."""
    factor = 2 ** (semitones / 12)
    window, advance = torch.hann_window(_N_FFT), torch.linspace(0, np.pi * _HOP, _N_FFT // 2 + 1)[:, None]
    spectrum = torch.stft(torch.from_numpy(waveform), _N_FFT, _HOP, window=window, return_complex=True)
    longer = torch.istft(phase_vocoder(spectrum, 1 / factor, advance), _N_FFT, _HOP, window=window)
    return fit_length(soxr.resample(longer.numpy(), SAMPLE_RATE * factor, SAMPLE_RATE, "VHQ"), len(waveform))


def clipping(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Clip the loudest `percent` of the samples at one level, and restore the RMS."""
    height = np.quantile(np.abs(waveform), 1 - percent / 100).astype(np.float32)
    return match_rms(np.clip(waveform, -height, height), waveform)


def muted(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Mute `percent` of the segments of 0.16 s. Segments muted at a lower level are muted at every higher one."""
    size = round(MUTED_PIECE * SAMPLE_RATE)
    order = rng.permutation(-(-len(waveform) // size))
    quiet = np.isin(np.arange(len(waveform)) // size, order[: round(len(order) * percent / 100)])
    return np.where(quiet, np.float32(0), waveform)


def missing(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Mute the last `percent` of the waveform."""
    left = round(len(waveform) * (1 - percent / 100))
    return np.where(np.arange(len(waveform)) < left, waveform, np.float32(0))


def seamless(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Join two waveforms. The end of the first, mirrored, fades out over the first 5 ms of the second."""
    count = min(round(_BLEND * SAMPLE_RATE), len(before), len(after))
    fade = np.cos(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
    start = fade * before[::-1][:count] + (1 - fade) * after[:count]
    return np.concatenate([before, start, after[count:]])


def _through(waveform: np.ndarray, codec: Literal["mp3", "aac", "opus"], kbps: float) -> np.ndarray:
    return round_trip(CodecConfig(name=codec, bit_rate=round(1000 * kbps)), waveform, SAMPLE_RATE)
