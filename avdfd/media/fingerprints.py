"""Short hashes of audio and video that survive re-encoding, to find near-duplicates.

audio  512 bits: changes of the energy in 33 bands over 4 s around the middle of the audio
video  256 bits: 64 of the mean frame, 192 of the motion over the first 8 s

Near-duplicates differ in few bits, different recordings in about half of them. Audio is analysed from 200 to 3400 Hz
and frames as 32 x 32 grey levels, so that size, bit rate, frame rate, sample rate and loudness hardly matter. Excerpts,
mirrored videos and videos at another speed are not found.

References: Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002 (signs of differences over
bands and time); Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002 (signs of random
projections).
"""

import functools
import hashlib
from collections.abc import Iterable

import cv2
import numpy as np
import scipy

from avdfd.features.window import SAMPLE_RATE
from avdfd.media.video import Frame

_BANDS = 33
_TIMES = 17
_SPAN = 4 * SAMPLE_RATE
_LOW, _HIGH = 200.0, 3400.0  # Hz
_N_FFT, _HOP = 512, 160
_FLOOR = 1e-5  # relative to the loudest band and time; below are silence and codec noise

_STEP = 0.25  # seconds over which frames are averaged
_STEPS = 32
_SIDE = 32
_MOTION = 192
_STILL = 0.3  # grey levels (RMS); motion below is codec noise


def audio_hash(samples: np.ndarray) -> bytes | None:
    """Return 512 bits of audio (S,) at 16 kHz, or None if it is silent or shorter than 0.5 s."""
    if len(samples) < SAMPLE_RATE // 2:
        return None
    power = _band_power(samples)
    energy = power.sum(axis=1)
    if energy.max() < 1e-10:
        return None
    middle = float(np.sqrt(energy) @ np.arange(len(energy)) / np.sqrt(energy).sum())
    centres = middle + (np.arange(_TIMES) - (_TIMES - 1) / 2) * (_SPAN / _HOP / _TIMES)
    distance = np.abs(np.arange(len(energy)) - centres[:, None]) / (_SPAN / _HOP / _TIMES)
    weights = np.cos(np.pi / 2 * np.minimum(distance, 1)) ** 2
    cells = weights @ power  # (times, bands)
    level = np.log(cells + cells.max() * _FLOOR)
    change = np.diff(np.diff(level, axis=0), axis=1)
    return np.packbits(change > 0).tobytes()


def video_hash(frames: Iterable[Frame]) -> bytes | None:
    """Return 256 bits of the frames of a video, or None if there are none; only the first 8 s are read."""
    pieces: list[list[np.ndarray]] = []
    begin = None
    for frame in frames:
        begin = frame.time if begin is None else begin
        place = int((frame.time - begin) / _STEP + 1e-6)
        if place >= _STEPS:
            break
        small = cv2.resize(frame.gray(), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        while len(pieces) < place:  # a frame is shown until the next one
            pieces.append(pieces[-1][-1:])
        if len(pieces) == place:
            pieces.append([])
        pieces[place].append(small)
    if not pieces:
        return None
    volume = np.stack([np.mean(piece, axis=0) for piece in pieces])
    still = volume.mean(axis=0)
    look = scipy.fft.dctn(still, norm="ortho")[:8, :8].ravel() > 0
    moves = volume - still
    if np.sqrt(np.square(moves).mean()) < _STILL:
        moves *= 0
    motion = _patterns()[:, : len(moves)].reshape(_MOTION, -1) @ moves.ravel() > 0
    return np.packbits(np.concatenate([look, motion])).tobytes()


@functools.cache
def _patterns() -> np.ndarray:
    """Return fixed pseudo-random signs (192, times, 32, 32): bits of SHAKE-256 digests, equal on every machine."""
    blocks = (
        hashlib.shake_256(number.to_bytes(2, "big")).digest(_STEPS * _SIDE * _SIDE // 8) for number in range(_MOTION)
    )
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), np.uint8)).reshape(_MOTION, _STEPS, _SIDE, _SIDE)
    return bits.astype(np.float32) * 2 - 1


def _band_power(samples: np.ndarray) -> np.ndarray:
    """Return the power (frames, 33) of the bands every 10 ms."""
    starts = np.arange(0, len(samples) - _N_FFT + 1, _HOP)
    window, filters = np.hanning(_N_FFT), _filters().T
    blocks = np.array_split(starts, len(starts) // 6000 + 1)  # one minute at a time bounds the memory
    frames = (samples[block[:, None] + np.arange(_N_FFT)] * window for block in blocks)
    return np.concatenate([np.square(np.abs(np.fft.rfft(block, axis=1))) @ filters for block in frames])


def _filters() -> np.ndarray:
    """Return weights (33, 257) of bands of equal width in log frequency."""

    edges = np.geomspace(_LOW, _HIGH, _BANDS + 1)
    bins = np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE)
    width = SAMPLE_RATE / _N_FFT
    overlap = np.minimum(edges[1:, None], bins + width / 2) - np.maximum(edges[:-1, None], bins - width / 2)
    return np.clip(overlap / width, 0, None)
