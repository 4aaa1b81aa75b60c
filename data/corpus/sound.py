"""What every sound of the built-in corpus, real or fake, goes through: microphone and room, edges, noise, loudness.

Nothing here knows the tier: the edges, the level and the noise of a clip are drawn once and hold for its six versions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, lfilter

from data.corpus.speech import RATE


@dataclass(frozen=True)
class Take:
    """How a clip was taken: video frames, bit rate of the video (bits/s), samples of silence before the speech, samples
    of speech, loudness (RMS, dB below full scale) and noise (dB below the speech)."""

    frames: int
    bit_rate: int
    lead: int
    speech: int
    loudness: float
    noise: float


def draw_room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response (S,) of one person's microphone and room: a tilt of the spectrum and a short reverberation."""
    seconds = rng.uniform(0.08, 0.25)
    time = np.arange(int(seconds * RATE)) / RATE
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / seconds)
    tail *= rng.uniform(0.05, 0.25) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return lfilter([1.0, -rng.uniform(-0.25, 0.35)], [1.0], tail)


def record(voice: np.ndarray, room: np.ndarray, samples: int) -> np.ndarray:
    """The voice (S,) as the person's microphone hears it, cut to `samples`."""
    return fftconvolve(voice, room)[:samples]


def finish(voice: np.ndarray, take: Take, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Lay a voice (S,) of exactly the take's length into `samples` samples: edges, noise and loudness of the take."""
    if len(voice) != take.speech:
        raise ValueError(f"the voice has {len(voice)} samples where the take has {take.speech}")
    fade = np.minimum(1.0, np.arange(1, take.speech + 1) / (0.008 * RATE))
    voice = voice * fade * fade[::-1]
    voice /= np.sqrt((voice**2).mean())
    hiss = lfilter([1.0], [1.0, -0.7], rng.standard_normal(samples))
    sound = hiss / hiss.std() * 10 ** (-take.noise / 20)
    sound[take.lead : take.lead + take.speech] += voice
    sound *= 10 ** (-take.loudness / 20) / np.sqrt((sound**2).mean())
    return np.clip(sound, -1, 1).astype(np.float32)
