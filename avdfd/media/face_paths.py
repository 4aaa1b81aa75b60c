"""Places of each face over time, from the tracks of the video: where it is, and the smooth square that is cut out.

Both are given at 25 points a second within each shot: nothing is interpolated or smoothed over a cut. Centre and side
of the square pass a Gaussian filter that delays nothing, and its pixels change only when they have to.
"""

import itertools
from typing import NamedTuple

import numpy as np

from avdfd.config import FaceConfig
from avdfd.features.window import FPS
from avdfd.media.boxes import SAME_FACE, middle, overlap, shared
from avdfd.media.crops import Square
from avdfd.media.faces import Shot, Track, longest_gap

# Standard deviation of the filter in seconds.
_SMOOTH = 0.25
# Larger side of the box of `media.face.margin`, relative to that of the landmarks: from the brows to the chin, as dlib
# gave it to earlier versions (median of 1,300 faces).
_BROWS_TO_CHIN = 0.92
# A square is moved by whole pixels, when it is off by more than this.
_SLACK = 0.75
# Part of a face's box that has to be in the square.
_INSIDE = 0.75
_ROUNDING = 1e-6


class Stretch(NamedTuple):
    """A face in one shot, at N points of time."""

    shot: tuple[float, float]
    """Start and end of the shot in seconds."""
    there: tuple[float, float]
    """Seconds from and to which the face is there: up to half-way to the searched frames without it."""
    times: np.ndarray
    """(N,) seconds, from the first sample of the face to the last."""
    boxes: np.ndarray
    """(N, 4) places of the face."""
    found: np.ndarray
    """(N,) bool: True where it is there."""
    squares: np.ndarray
    """(N, 3) int: left, top, side of the square that is cut out."""
    mouths: np.ndarray
    """(N, 4) shapes of the mouth, see `faces.mouth_of`."""


class Places(NamedTuple):
    """Places of a face at T times."""

    boxes: np.ndarray
    """(T, 4)"""
    squares: np.ndarray
    """(T, 3) int: left, top, side of the squares that are cut out."""
    mouths: np.ndarray
    """(T, 4) shapes of the mouth, see `faces.mouth_of`."""
    inside: np.ndarray
    """(T,) bool: True where the face is there, and inside its square."""


class Face:
    """One face of a video over time."""

    def __init__(self, stretches: list[Stretch]) -> None:
        self.stretches = stretches
        areas = [s.boxes[s.found, 2:].prod(axis=1).sum() for s in stretches]
        self.weight = float(sum(areas))
        """Area summed over time: high for large and persistent faces."""
        self._squares: dict[float, Square] = {}
        self._limits = (
            [stretch.shot for stretch in stretches],
            [(stretch.times[0], stretch.times[-1]) for stretch in stretches],
            [stretch.there for stretch in stretches],
        )

    def square(self, time: float) -> Square:
        """Return the square that is cut out at a time."""
        if time not in self._squares:
            self._squares[time] = Square(*self.at(np.array([time])).squares[0].tolist())
        return self._squares[time]

    def box(self, time: float) -> tuple[int, int, int, int]:
        """Return the box at a time in whole pixels."""
        left, top, width, height = np.round(self.at(np.array([time])).boxes[0]).astype(int).tolist()
        return left, top, width, height

    def is_seen(self, start: float, end: float) -> bool:
        """Return whether the face is there at any moment between two times."""
        return any(stretch.there[0] < end and start <= stretch.there[1] for stretch in self.stretches)

    def at(self, times: np.ndarray) -> Places:
        """Return the places of the face at some times (T,), the nearest ones where it is not there."""
        shots, ends, there = (np.array(given).T[..., None] for given in self._limits)
        outside = (times < shots[0] - _ROUNDING) | (times >= shots[1] - _ROUNDING)
        away = np.maximum(np.maximum(ends[0] - times, times - ends[1]), 0)
        chosen = np.lexsort((away, outside), axis=0)[0]
        places = Places(
            np.empty((len(times), 4)), np.empty((len(times), 3), int), np.empty((len(times), 4)), chosen > 0
        )
        for number, stretch in enumerate(self.stretches):
            mine = chosen == number
            at = np.round((times[mine] - stretch.times[0]) * FPS).astype(int).clip(0, len(stretch.times) - 1)
            found = stretch.found[at] & ~outside[number, mine]
            found &= (times[mine] >= there[0, number] - _ROUNDING) & (times[mine] <= there[1, number] + _ROUNDING)
            for all_, own in zip(places, (stretch.boxes, stretch.squares, stretch.mouths), strict=False):
                all_[mine] = own[at]
            places.inside[mine] = found & _is_inside(stretch.boxes[at], stretch.squares[at])
        squares = itertools.starmap(Square, places.squares.tolist())
        self._squares.update(zip(times.tolist(), squares, strict=True))  # for `square`
        return places


def _is_inside(boxes: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return (N,) bool: True where enough of a box (N, 4) is in its square (N, 3)."""
    return shared(boxes, squares[:, [0, 1, 2, 2]]) >= _INSIDE * boxes[:, 2:].prod(axis=1)


def faces_of(shots: list[Shot], shape: tuple[int, ...], config: FaceConfig) -> list[Face]:
    """Return the faces of a video with frames (H, W, ...), the largest and most persistent first."""
    chains: list[list[tuple[Track, Stretch]]] = []
    for shot in shots:
        ended = [chain for chain in chains if chain[-1][1].shot[1] == shot.start]
        for track in shot.tracks:
            stretch = _stretch(track, shot, shape, config)
            same = [c for c in ended if _continues(c[-1][0], track, shot, config)]
            chain = max(same, key=lambda chain: overlap(chain[-1][0].box, track.samples[0].box), default=None)
            if chain is None:
                chains.append([(track, stretch)])
            else:
                ended.remove(chain)
                chain.append((track, stretch))
    faces = [Face([stretch for _, stretch in chain]) for chain in chains]
    return sorted(faces, key=lambda face: -face.weight)


def _continues(before: Track, after: Track, shot: Shot, config: FaceConfig) -> bool:
    """Return whether a track at the start of a shot is in the place of one at the end of the shot before."""
    margin = 1.5 / config.detect_fps
    at_the_cut = before.samples[-1].time > shot.start - margin and after.samples[0].time < shot.start + margin
    return at_the_cut and bool(overlap(before.box, after.samples[0].box) > SAME_FACE)


def _stretch(track: Track, shot: Shot, shape: tuple[int, ...], config: FaceConfig) -> Stretch:
    known = np.array([sample.time for sample in track.samples])
    times = known[0] + np.arange(round((known[-1] - known[0]) * FPS) + 1) / FPS
    columns = np.array([[*sample.box, *sample.mouth] for sample in track.samples]).T
    values = np.stack([np.interp(times, known, column) for column in columns], axis=1)
    boxes, mouths = values[:, :4], values[:, 4:]
    found = _found(times, known, longest_gap(config), 0.5 / config.detect_fps)
    there = _there(track, shot, longest_gap(config))
    return Stretch((shot.start, shot.end), there, times, boxes, found, _squares(boxes, shape, config), mouths)


def _there(track: Track, shot: Shot, gap: float) -> tuple[float, float]:
    first, last = track.samples[0].time, track.samples[-1].time
    earlier = [time for time in shot.searched if time < first]
    begin = (earlier[-1] + first) / 2 if earlier else shot.start
    return max(begin, first - gap / 2), last if track.lost is None else min((last + track.lost) / 2, last + gap / 2)


def _found(times: np.ndarray, known: np.ndarray, gap: float, reach: float) -> np.ndarray:
    """Return (N,) bool: False between samples that are more than `gap` apart, if both are more than `reach` away."""
    after = np.clip(np.searchsorted(known, times), min(1, len(known) - 1), len(known) - 1)
    before = np.maximum(after - 1, 0)
    away = np.minimum(np.abs(times - known[before]), np.abs(known[after] - times))
    return (known[after] - known[before] <= gap + _ROUNDING) | (away <= reach + _ROUNDING)


def _squares(boxes: np.ndarray, shape: tuple[int, ...], config: FaceConfig) -> np.ndarray:
    """Return the squares (N, 3) around the boxes (N, 4), smoothed, and moved and shrunk into the frame."""
    height, width = shape[:2]
    centres = smoothed(middle(boxes))
    sides = smoothed(boxes[:, 2:].max(axis=1)) * (config.margin * _BROWS_TO_CHIN)
    side = _whole(np.clip(sides, 1, min(height, width)))
    left, top = (_whole(centres[:, axis] - side / 2) for axis in (0, 1))
    return np.stack([left.clip(0, width - side), top.clip(0, height - side), side], axis=1)


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return values (N, ...) at 25 points a second without what is faster than about half a hertz; steady motion is
    kept up to both ends, where the values are continued by turning them about the last one."""
    if len(values) < 2:
        return values
    from scipy.ndimage import gaussian_filter1d  # here, as scipy takes a third of a second and audio does without

    reach = round(4 * _SMOOTH * FPS)
    around = [(reach, reach)] + [(0, 0)] * (values.ndim - 1)
    longer = np.pad(values, around, mode="reflect", reflect_type="odd")
    return gaussian_filter1d(longer, _SMOOTH * FPS, axis=0)[reach:-reach]


def _whole(values: np.ndarray) -> np.ndarray:
    """Round values (N,), each to the one before it if that is less than `_SLACK` away: they do not flicker."""
    whole = np.empty(len(values), int)
    last = round(float(values[0]))
    for position, value in enumerate(values.tolist()):
        if abs(value - last) > _SLACK:
            last = round(value)
        whole[position] = last
    return whole
