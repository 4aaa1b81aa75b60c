"""What may happen to a sound on its way: functions (waveform, level, rng) -> waveform, both (S,) float32 at 16 kHz.

The length stays, and with it the time line beside the picture. The same generator gives the same draw at every level,
so that a curve over levels shows the level and not luck.
"""

from typing import Literal

import numpy as np
import soxr
import torch
from numpy.random import Generator
from scipy.signal import oaconvolve
from torchaudio.functional import phase_vocoder

from avdfd.config.audio import CodecConfig
from avdfd.features.mel import SAMPLE_RATE
from avdfd.media.codecs import round_trip

MUTED_PIECE = 0.16
"""Seconds of a muted stretch."""

_PRE_DELAY = 0.0025  # seconds from the direct sound to the first reflections
_TAIL = 0.03  # RMS of the first reflections; all of them are as loud as the direct sound at an RT60 of 0.96 s
_N_FFT, _HOP = 512, 128  # of the phase vocoder
_BLEND = 0.005  # seconds in which the two sides of a seam are mixed


def noise(waveform: np.ndarray, snr: float, rng: Generator) -> np.ndarray:
    """White noise `snr` dB below the sound, by the power of the whole of it. Silence stays."""
    added = rng.standard_normal(len(waveform)).astype(np.float32)
    return waveform + added * np.float32(_rms(waveform) / _rms(added) * 10 ** (-snr / 20))


def reverberation(waveform: np.ndarray, rt60: float, rng: Generator) -> np.ndarray:
    """A room whose echoes fall by 60 dB in `rt60` seconds, without delay of the direct sound and as loud as before.

    The reflections are noise that decays exponentially, of the same density in every room: the longer they last, the
    louder they are beside the direct sound.

    References: Polack, "La transmission de l'énergie sonore dans les salles", 1988 (the statistical model).
    """
    return _as_loud(oaconvolve(waveform, room(rt60, rng))[: len(waveform)], waveform)


def room(rt60: float, rng: Generator) -> np.ndarray:
    """Impulse response (R,) of a room, 1.2 times as long as `rt60` seconds."""
    count, first = round(1.2 * rt60 * SAMPLE_RATE), round(_PRE_DELAY * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(count) / (rt60 * SAMPLE_RATE))
    response = _TAIL * rng.standard_normal(count) * decay
    response[:first] = 0
    response[0] = 1
    return response


def resampling(waveform: np.ndarray, rate: float, rng: Generator) -> np.ndarray:
    """Down to `rate` Hz and up again: nothing is left above half of it."""
    low = soxr.resample(waveform, SAMPLE_RATE, rate, "VHQ")
    return _of_length(soxr.resample(low, rate, SAMPLE_RATE, "VHQ"), len(waveform))


def mp3(waveform: np.ndarray, kbps: float, rng: Generator) -> np.ndarray:
    """MP3 of so many kbit/s, and decoded."""
    return _through(waveform, "mp3", kbps)


def aac(waveform: np.ndarray, kbps: float, rng: Generator) -> np.ndarray:
    """AAC of so many kbit/s, and decoded."""
    return _through(waveform, "aac", kbps)


def opus(waveform: np.ndarray, kbps: float, rng: Generator) -> np.ndarray:
    """Opus of so many kbit/s, and decoded."""
    return _through(waveform, "opus", kbps)


def pitch(waveform: np.ndarray, semitones: float, rng: Generator) -> np.ndarray:
    """So many semitones higher, in the same time: longer by a phase vocoder, then played faster."""
    factor = 2 ** (semitones / 12)
    window, advance = torch.hann_window(_N_FFT), torch.linspace(0, np.pi * _HOP, _N_FFT // 2 + 1)[:, None]
    spectrum = torch.stft(torch.from_numpy(waveform), _N_FFT, _HOP, window=window, return_complex=True)
    longer = torch.istft(phase_vocoder(spectrum, 1 / factor, advance), _N_FFT, _HOP, window=window)
    return _of_length(soxr.resample(longer.numpy(), SAMPLE_RATE * factor, SAMPLE_RATE, "VHQ"), len(waveform))


def clipping(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """The loudest `percent` of the samples are cut off at one height; the whole is as loud as before."""
    height = np.quantile(np.abs(waveform), 1 - percent / 100).astype(np.float32)
    return _as_loud(np.clip(waveform, -height, height), waveform)


def muted(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """Stretches of 0.16 s, `percent` of all of them, are digital silence. More of them include fewer of them."""
    size = round(MUTED_PIECE * SAMPLE_RATE)
    order = rng.permutation(-(-len(waveform) // size))
    quiet = np.isin(np.arange(len(waveform)) // size, order[: round(len(order) * percent / 100)])
    return np.where(quiet, np.float32(0), waveform)


def missing(waveform: np.ndarray, percent: float, rng: Generator) -> np.ndarray:
    """The sound breaks off: the last `percent` of it are digital silence, at 100 all of it."""
    left = round(len(waveform) * (1 - percent / 100))
    return np.where(np.arange(len(waveform)) < left, waveform, np.float32(0))


def late(waveform: np.ndarray, milliseconds: float, rng: Generator) -> np.ndarray:
    """The sound comes so much later than the picture.

    What leaves at the end comes in at the start, so that there is neither silence nor another sound in it that could
    be told without looking. The seam is blended over 5 ms.
    """
    return _turned(waveform, round(milliseconds * SAMPLE_RATE / 1000))


def early(waveform: np.ndarray, milliseconds: float, rng: Generator) -> np.ndarray:
    """The sound comes so much earlier than the picture; see `late`."""
    return _turned(waveform, -round(milliseconds * SAMPLE_RATE / 1000))


def seamless(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Two sounds, one after the other. Into the first 5 ms of the second the first goes on, mirrored and fading out."""
    count = min(round(_BLEND * SAMPLE_RATE), len(before), len(after))
    fade = np.cos(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
    start = fade * before[::-1][:count] + (1 - fade) * after[:count]
    return np.concatenate([before, start, after[count:]])


def _turned(waveform: np.ndarray, samples: int) -> np.ndarray:
    cut = -samples % len(waveform)
    return seamless(waveform[cut:], waveform[:cut])


def _through(waveform: np.ndarray, codec: Literal["mp3", "aac", "opus"], kbps: float) -> np.ndarray:
    return round_trip(CodecConfig(name=codec, bit_rate=round(1000 * kbps)), waveform, SAMPLE_RATE)


def _of_length(waveform: np.ndarray, count: int) -> np.ndarray:
    """Rounding of rates may have left a few samples too many, or too few."""
    return np.pad(waveform[:count], (0, max(count - len(waveform), 0)), mode="edge").astype(np.float32)


def _as_loud(waveform: np.ndarray, model: np.ndarray) -> np.ndarray:
    level = _rms(waveform)
    return (waveform * (_rms(model) / level if level else 0.0)).astype(np.float32)


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.square(waveform, dtype=np.float64).mean()))
