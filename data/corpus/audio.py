"""Audio chain of the built-in corpus, for real and fake clips: microphone and room, edges, noise, loudness.

It does not depend on the tier: edges, level and noise of a clip are drawn once for its six versions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, lfilter

from data.corpus.speech import RATE


@dataclass(frozen=True)
class Take:
    """Recording conditions of a clip: number of video frames, bit rate of the video (bits/s), samples of silence before
    the speech, samples of speech, loudness (RMS, dB below full scale) and noise (dB below the speech)."""

    frames: int
    bit_rate: int
    lead: int
    speech: int
    loudness: float
    noise: float


def draw_room(rng: np.random.Generator) -> np.ndarray:
    """Draw the impulse response (S,) of a microphone and a room: a tilt of the spectrum and a short reverberation."""
    seconds = rng.uniform(0.08, 0.25)
    time = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / seconds)
    tail *= rng.uniform(0.05, 0.25) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return lfilter([1.0, -rng.uniform(-0.25, 0.35)], [1.0], tail)


def record(voice: np.ndarray, room: np.ndarray, samples: int) -> np.ndarray:
    """Return the voice (S,) after microphone and room, cut to `samples`."""
    return fftconvolve(voice, room)[:samples]


def finish(voice: np.ndarray, take: Take, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Place a voice (S,) of the take's length into `samples` samples, with the take's edges, noise and loudness."""
    if len(voice) != take.speech:
        raise ValueError(f"the voice has {len(voice)} samples where the take has {take.speech}")
    fade = np.minimum(1.0, np.arange(1, take.speech + 1) / (0.008 * RATE))
    voice = voice * fade * fade[::-1]
    voice /= np.sqrt((voice**2).mean())
    hiss = lfilter([1.0], [1.0, -0.7], rng.standard_normal(samples))
    audio = hiss / hiss.std() * 10 ** (-take.noise / 20)
    audio[take.lead : take.lead + take.speech] += voice
    audio *= 10 ** (-take.loudness / 20) / np.sqrt((audio**2).mean())
    return np.clip(audio, -1, 1).astype(np.float32)
