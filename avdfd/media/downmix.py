"""From the channels of an audio stream to one, and from sample values to [-1, 1].

Channels are averaged. A centre channel, as in 5.1, is taken alone, as it carries the speech. Channels that cancel each
other in the mean are noticed by their energies after all of them were read; the loudest is then taken alone. If they
cancel in a part of the file only, that holds for this part: a stretch of whole blocks of about a second, with one block
more at either end.
"""

import itertools
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from avdfd.core.errors import MediaError
from avdfd.media.streams import Reading

_CANCELLED = 0.5
"""Channels cancel if their mean has less than this fraction of the energy that the mean of unrelated ones has."""
_FAINT = 0.01
"""A block with less than this fraction of the mean energy of the file's blocks has no speech that could cancel."""
_NEAR = 2
"""Stretches with at most this many blocks between them are one, so that channels do not alternate."""
_FADE = 0.02
"""Seconds in which a stretch begins and ends."""
_EMPTY = 1e-3
"""A centre channel with less than this fraction of the energy of the loudest channel is not used."""
_OVER = 1.25
"""Float samples up to this value are within full scale: codecs and resampling overshoot."""
_FULL_SCALES = {100.0: None, 2.0**15: 16, 2.0**23: 24, 2.0**31: 32}
"""Largest float samples and the bits of the integers whose range they have; None: louder than full scale."""


class Block(NamedTuple):
    """Energies of about a second of audio, each per sample."""

    seconds: float
    mixed: float
    channels: np.ndarray
    """(c,)"""

    @property
    def cancels(self) -> bool:
        return bool(self.mixed < _CANCELLED / len(self.channels) * self.channels.mean())


class Stretches(NamedTuple):
    """Blocks, by number, in which one of `total` channels is taken alone."""

    total: int
    channel: int
    blocks: Collection[int]


class DownMix:
    """Way from channels to one, with the energies of what it has mixed."""

    def __init__(
        self, channels: dict[int, int] | None = None, stretches: Stretches | None = None, *, centre: bool = True
    ) -> None:
        self.channels = channels or {}
        """Channel to be taken alone, by the number of channels."""
        self.stretches = stretches
        self.centre = centre
        """Take the centre channel alone if there is one."""
        self._number = 0
        self._blocks: dict[int, dict[int, Block]] = {}
        """Blocks by their number, by the number of channels."""
        self._centres: dict[int, int] = {}

    def __call__(self, samples: np.ndarray, names: list[str], rate: int) -> np.ndarray:
        """Mix a block of channels (c, n) of any sample type, with names such as "FC", to (n,) float32 in [-1, 1].

        Blocks come in the order of the file, and are the same when it is read again.
        """
        if samples.dtype == np.uint8:
            samples = samples.astype(np.float32) / 128 - 1
        elif samples.dtype.kind == "i":
            samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
        samples = samples.astype(np.float32, copy=False)
        count = len(samples)
        number, self._number = self._number, self._number + 1
        if count in self.channels:
            return samples[self.channels[count]]
        if count > 2 and self.centre and "FC" in names:
            self._centres[count] = names.index("FC")
            mixed = samples[names.index("FC")]
        else:
            full = [number for number, name in enumerate(names) if name != "LFE"]
            mixed = samples.mean(axis=0) if len(full) in (0, count) else samples[full].mean(axis=0)
        if self.stretches is not None:
            return self._with_stretch(mixed, samples, number, rate)
        if count > 1 and samples.shape[1] > 1:
            self._measure(samples, mixed, number, rate)
        return mixed

    def better(self, reading: Reading) -> "DownMix | None":
        """Return the way by which the audio has to be read again, or None if this one is right."""
        for count, blocks in self._blocks.items():
            seconds = np.array([block.seconds for block in blocks.values()])
            mean = seconds / seconds.sum()
            whole = Block(
                float(seconds.sum()),
                float(mean @ [block.mixed for block in blocks.values()]),
                mean @ np.stack([block.channels for block in blocks.values()]),
            )
            if count in self._centres and self.centre:
                if whole.mixed < _EMPTY * whole.channels.max():
                    return DownMix(centre=False)
            elif whole.cancels:
                loudest = int(whole.channels.argmax())
                reading.notes.append(f"channels cancel each other: channel {loudest + 1} of {count} alone")
                return DownMix({**self.channels, count: loudest}, centre=self.centre)
            elif stretches := _stretches(blocks, whole):
                alone = sum(blocks[number].seconds for number in stretches.blocks if number in blocks)
                reading.notes.append(
                    f"channels cancel each other in a part: channel {stretches.channel + 1} of {count} alone for "
                    f"{alone:.0f} s"
                )
                return DownMix(self.channels, stretches, centre=self.centre)
        return None

    def _with_stretch(self, mixed: np.ndarray, samples: np.ndarray, number: int, rate: int) -> np.ndarray:
        """Return a block with the one channel in place of the mean, faded in and out, if it is in a stretch."""
        assert self.stretches is not None
        total, channel, blocks = self.stretches
        if len(samples) != total or number not in blocks:
            return mixed
        share = np.ones(len(mixed), np.float32)
        ramp = np.linspace(0, 1, min(round(_FADE * rate), len(mixed) // 2), dtype=np.float32)
        if number - 1 not in blocks and number > 0:
            share[: len(ramp)] = ramp
        if number + 1 not in blocks:
            share[len(share) - len(ramp) :] = ramp[::-1]
        return mixed + share * (samples[channel] - mixed)

    def _measure(self, samples: np.ndarray, mixed: np.ndarray, number: int, rate: int) -> None:
        """Keep energies, of differences of neighbouring samples: of speech rather than of an offset or of hum."""
        steps = np.diff(np.vstack([mixed, samples]), axis=1)
        energies = np.einsum("cn,cn->c", steps, steps, dtype=np.float64) / steps.shape[1]
        block = Block(samples.shape[1] / rate, float(energies[0]), energies[1:])
        self._blocks.setdefault(len(samples), {})[number] = block


def _stretches(blocks: dict[int, Block], whole: Block) -> Stretches | None:
    """Return the stretches in which channels cancel, or None."""
    cancelling = [
        number
        for number, block in blocks.items()
        if block.cancels and block.channels.mean() > _FAINT * whole.channels.mean()
    ]
    if not cancelling:
        return None
    loudest = np.sum([blocks[number].channels for number in cancelling], axis=0).argmax()
    taken = {near for number in cancelling for near in (number - 1, number, number + 1)}
    ends = sorted(taken)
    for before, after in itertools.pairwise(ends):
        taken.update(range(before, after) if after - before <= _NEAR + 1 else ())
    return Stretches(len(whole.channels), int(loudest), taken & blocks.keys())


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
