"""From the channels of an audio stream to one, and from sample values to [-1, 1].

Channels are averaged. A centre channel, as in 5.1, is taken alone, as it carries the speech. Channels that cancel each
other in the mean are noticed by their energies after all of them were read; the loudest is then taken alone.
"""

import numpy as np

from avdfd.core.errors import MediaError
from avdfd.media.streams import Reading

_CANCELLED = 0.5
"""Channels cancel if their mean has less than this fraction of the energy that the mean of unrelated ones has."""
_EMPTY = 1e-3
"""A centre channel with less than this fraction of the energy of the loudest channel is not used."""
_OVER = 1.25
"""Float samples up to this value are within full scale: codecs and resampling overshoot."""
_FULL_SCALES = {8.0: None, 2.0**15: 16, 2.0**23: 24, 2.0**31: 32}
"""Largest float samples and the bits of the integers whose range they have; None: louder than full scale."""


class DownMix:
    """Way from channels to one, with the energies of what it has mixed."""

    def __init__(self, channels: dict[int, int] | None = None, *, centre: bool = True) -> None:
        self.channels = channels or {}
        """Channel to be taken alone, by the number of channels."""
        self.centre = centre
        """Take the centre channel alone if there is one."""
        self._energies: dict[int, np.ndarray] = {}
        self._centres: dict[int, int] = {}

    def __call__(self, samples: np.ndarray, names: list[str]) -> np.ndarray:
        """Mix channels (c, n) of any sample type, with names such as "FC", to (n,) float32 in [-1, 1]."""
        if samples.dtype == np.uint8:
            samples = samples.astype(np.float32) / 128 - 1
        elif samples.dtype.kind == "i":
            samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
        samples = samples.astype(np.float32, copy=False)
        count = len(samples)
        if count in self.channels:
            return samples[self.channels[count]]
        if count > 2 and self.centre and "FC" in names:
            self._centres[count] = names.index("FC")
            mixed = samples[names.index("FC")]
        else:
            full = [number for number, name in enumerate(names) if name != "LFE"]
            mixed = samples.mean(axis=0) if len(full) in (0, count) else samples[full].mean(axis=0)
        if count > 1:
            self._measure(samples, mixed)
        return mixed

    def better(self, reading: Reading) -> "DownMix | None":
        """Return the way by which the audio has to be read again, or None if this one is right."""
        for count, energies in self._energies.items():
            mixed, channels = energies[0], energies[1:]
            if count in self._centres and self.centre:
                if mixed < _EMPTY * channels.max():
                    return DownMix(centre=False)
            elif channels.max() > 0 and mixed < _CANCELLED / count * channels.mean():
                loudest = int(channels.argmax())
                reading.notes.append(f"channels cancel each other: channel {loudest + 1} of {count} alone")
                return DownMix({**self.channels, count: loudest}, centre=self.centre)
        return None

    def _measure(self, samples: np.ndarray, mixed: np.ndarray) -> None:
        """Add energies, of differences of neighbouring samples: of speech rather than of an offset or of hum."""
        steps = np.diff(np.vstack([mixed, samples]), axis=1)
        energies = np.einsum("cn,cn->c", steps, steps, dtype=np.float64)
        self._energies[len(samples)] = self._energies.get(len(samples), 0) + energies


def full_scale(peak: float, codec: str, reading: Reading) -> float:
    """Return the factor that brings samples of a codec with this peak into [-1, 1]: 1 unless they are float PCM.

    Raises MediaError for values that are not numbers, or of no known range.
    """
    if not np.isfinite(peak):
        raise MediaError("audio has samples that are not numbers (NaN or infinite)")
    if not codec.startswith("pcm_f") or peak <= _OVER:
        return 1.0
    for largest, bits in _FULL_SCALES.items():
        if peak <= largest * _OVER:
            of = f"in the range of {bits}-bit integers" if bits else "beyond full scale"
            reading.notes.append(f"float samples {of} (up to {peak:g}), scaled")
            return 1 / largest if bits else 1 / peak
    raise MediaError(f"float samples up to {peak:g}: beyond the range of 32-bit integers")
