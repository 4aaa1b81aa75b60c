"""Source-filter re-synthesis of speech: WORLD, linear prediction, harmonics plus noise.

Samples are (S,) float32 at 16 kHz.
"""

import numpy as np
import pyworld
from numpy.random import Generator
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from avdfd.corpora.cloning.world import RATE, Analysis
from avdfd.corpora.cloning.world import analyse as analyse_voice
from avdfd.corpora.vocoding.bands import mel_bands
from avdfd.corpora.vocoding.spectral import analyse, fit, synthesise

_FRAME_MS = 5.0
_EPSILON = 1e-9


def world(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """WORLD's analysis and re-synthesis; half of the time through a mel-cepstrum of order 24 to 60.

    References: Morise, Yokomori and Ozawa, IEICE Trans. Inf. Syst. 2016.
    """
    voice = analyse_voice(samples.astype(np.float64))
    return _say(voice, voice.f0, _coded(voice.envelope, rng), len(samples))


def world_shifted(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Like `world`, with F0 scaled by 0.75 to 1.33 and formants by 0.87 to 1.15: another voice."""
    voice = analyse_voice(samples.astype(np.float64))
    f0 = voice.f0 * np.exp(rng.uniform(-0.29, 0.29))
    bins = np.arange(voice.envelope.shape[1])
    places = np.minimum(bins * np.exp(rng.uniform(-0.14, 0.14)), bins[-1])
    left = np.minimum(places.astype(int), bins[-1] - 1)
    share = places - left
    log_envelope = np.log(voice.envelope)
    envelope = np.exp((1 - share) * log_envelope[:, left] + share * log_envelope[:, left + 1])
    return _say(voice, f0, _coded(envelope, rng), len(samples))


def linear_prediction(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """All-pole filters of order 12 to 24 for frames of 20 ms, excited by pulses and noise.

    References: Atal and Hanauer, J. Acoust. Soc. Am. 1971.
    """
    order, hop = int(rng.integers(12, 25)), RATE // 100
    window = np.hanning(2 * hop + 1)[:-1]
    voice = take_f0(samples)
    source = _pulses(voice, len(samples), rng)
    padded, excitation = (np.pad(signal, (hop, 2 * hop)) for signal in (samples.astype(np.float64), source))
    made = np.zeros(len(padded))
    for start in range(0, len(samples) + hop, hop):
        frame = padded[start : start + 2 * hop] * window
        correlation = np.correlate(frame, frame, "full")[2 * hop - 1 :][: order + 1]
        correlation[0] = correlation[0] * (1 + 1e-4) + _EPSILON
        filt = np.concatenate([[1], -solve_toeplitz(correlation[:-1], correlation[1:])])
        filtered = lfilter([1], filt, excitation[start : start + 2 * hop] * window)
        made[start : start + 2 * hop] += filtered * np.sqrt((frame**2).sum() / ((filtered**2).sum() + _EPSILON))
    return fit(made[hop:], len(samples))


def harmonics_and_noise(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """All harmonics of F0 plus noise, shaped to the mel spectrum of the speech in 40, 80 or 128 bands.

    References: Wang, Takaki and Yamagishi, "Neural source-filter waveform models", 2019; here without the network.
    """
    source = _pulses(take_f0(samples), len(samples), rng)
    mixed = fit(source + rng.uniform(0.1, 0.5) * rng.standard_normal(len(samples)), len(samples))
    n_fft = int(rng.choice([512, 1024]))
    wanted, spectrum = analyse(samples, n_fft), analyse(mixed, n_fft)
    bands = mel_bands(int(rng.choice([40, 80, 128])), len(wanted))
    gain = (bands @ wanted.abs().square() + _EPSILON) / (bands @ spectrum.abs().square() + _EPSILON)
    return synthesise(spectrum * (bands.T @ gain.sqrt() / bands.sum(0)[:, None]), len(samples))


def take_f0(samples: np.ndarray) -> np.ndarray:
    """Return F0 (T,) in Hz every 5 ms; 0 is unvoiced."""
    samples = samples.astype(np.float64)
    rough, times = pyworld.dio(samples, RATE, f0_floor=60.0, f0_ceil=420.0, frame_period=_FRAME_MS)
    return pyworld.stonemask(samples, rough, times, RATE)


def _pulses(f0: np.ndarray, count: int, rng: Generator) -> np.ndarray:
    """Draw an excitation (count,): pulses of unit power at the periods of F0 (T,), white noise where unvoiced."""
    of_sample = f0[np.minimum(np.arange(count) * 200 // RATE, len(f0) - 1)]
    periods = np.floor(np.cumsum(of_sample / RATE))
    pulse = np.diff(periods, prepend=0) > 0
    height = np.sqrt(RATE / np.maximum(of_sample, 60))
    return np.where(of_sample > 0, pulse * height, rng.standard_normal(count))


def _coded(envelope: np.ndarray, rng: Generator) -> np.ndarray:
    size = int(rng.integers(24, 61))
    if rng.random() < 0.5:
        return envelope
    coded = pyworld.code_spectral_envelope(np.ascontiguousarray(envelope), RATE, size)
    return pyworld.decode_spectral_envelope(coded, RATE, 2 * (envelope.shape[1] - 1))


def _say(voice: Analysis, f0: np.ndarray, envelope: np.ndarray, count: int) -> np.ndarray:
    envelope = np.ascontiguousarray(envelope)
    return fit(pyworld.synthesize(f0, envelope, voice.aperiodicity, RATE, _FRAME_MS), count)
