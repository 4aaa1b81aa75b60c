"""Real speech through a telephone, or a codec of few bits per second: what a listener accepts as the same recording.

Samples are (S,) float32 at 16 kHz.
"""

import numpy as np
import soxr
from numpy.random import Generator
from scipy.signal import butter, sosfilt

from avdfd.config.audio import CodecConfig
from avdfd.corpora.vocoding.spectral import RATE, fit
from avdfd.media.codecs import round_trip

_TELEPHONE = 8_000
_BAND = (300.0, 3_400.0)
_RATES = (12_000, 16_000, 24_000)


def telephone(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Band of 300 to 3400 Hz and mu-law at 8 kHz, as ITU-T G.711."""
    narrow = soxr.resample(samples, RATE, _TELEPHONE, "VHQ")
    narrow = sosfilt(butter(4, _BAND, "bandpass", fs=_TELEPHONE, output="sos"), narrow).astype(np.float32)
    coded = round_trip(CodecConfig(name="mulaw"), narrow, _TELEPHONE)
    return fit(soxr.resample(coded, _TELEPHONE, RATE, "VHQ"), len(samples))


def low_rate(samples: np.ndarray, rng: Generator) -> np.ndarray:
    """Opus at 12, 16 or 24 kbit/s, as in calls."""
    return round_trip(CodecConfig(name="opus", bit_rate=int(rng.choice(_RATES))), samples, RATE)
