"""Mouths of the built-in corpus: tracks of mouth shapes from phonemes, and the drawing of the lips.

Shapes: a track is (T, 5), one row per video frame, columns open, width, round, teeth, tongue, each 0 to 1 (0.5 is the
resting width).

Recordings differ in how far and how softly the mouth moves, and in how exactly it reaches each phoneme.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from data.corpus.speech import Speech

FPS = 25
OPEN, WIDTH = 0, 1  # columns of a track

_REST = (0.04, 0.5, 0.1, 0.0, 0.0)
_VISEMES: dict[str, tuple[float, float, float, float, float]] = {
    # open width round teeth tongue
    "p b m": (0.0, 0.45, 0.1, 0.0, 0.0),
    "f v": (0.12, 0.5, 0.0, 1.0, 0.0),
    "T D": (0.25, 0.5, 0.0, 0.7, 1.0),
    "t d n": (0.28, 0.55, 0.0, 0.7, 0.6),
    "l": (0.35, 0.5, 0.0, 0.5, 1.0),
    "s z": (0.16, 0.65, 0.0, 1.0, 0.1),
    "S Z tS dZ": (0.24, 0.25, 0.7, 0.9, 0.1),
    "k g N h x ?": (0.35, 0.5, 0.1, 0.4, 0.2),
    "w": (0.14, 0.05, 1.0, 0.0, 0.0),
    "r 3 R": (0.3, 0.25, 0.6, 0.4, 0.3),
    "j": (0.24, 0.75, 0.0, 0.7, 0.3),
    "i I i: i@": (0.36, 0.9, 0.0, 0.8, 0.3),
    "e E eI e@": (0.58, 0.8, 0.0, 0.7, 0.3),
    "a aI aU a# aa": (0.95, 0.6, 0.0, 0.6, 0.2),
    "A A: A@ V 0 3: @ @2 @L @r": (0.75, 0.45, 0.15, 0.4, 0.2),
    "O O: O@ OI o oU": (0.7, 0.15, 0.8, 0.1, 0.1),
    "u u: U U@": (0.3, 0.05, 1.0, 0.1, 0.0),
}
_TARGETS = {name: values for names, values in _VISEMES.items() for name in names.split()}
_REDUCED = {"@", "@2", "@L", "@r", "I", "3", "a#", "i"}  # unstressed vowels open the mouth half as far
_STEP = 0.005  # seconds between points of the fine track
# Standard deviation in seconds of the smoothing of each column: lips prepare their rounding earlier than their opening.
_SOFT = (0.028, 0.04, 0.045, 0.028, 0.028)


@dataclass(frozen=True)
class Habit:
    """Articulation in one recording: how far the mouth opens and how softly it moves, relative to the average; seconds
    by which it is ahead of the voice; standard deviation of the shape of a phoneme from one time to the next; and reach
    of the slow changes of its resting width.

    With the usual 0.02 s ahead, the opening and the loudness have lag 0 on average.
    """

    effort: float = 1.0
    softness: float = 1.0
    ahead: float = 0.02
    variation: float = 0.0
    mood: float = 0.0


def draw_habit(rng: np.random.Generator) -> Habit:
    """Draw the articulation of one recording."""
    return Habit(
        effort=rng.uniform(0.8, 1.1),
        softness=rng.uniform(0.85, 1.3),
        ahead=rng.uniform(0.005, 0.035),
        variation=rng.uniform(0.05, 0.12),
        mood=rng.uniform(0.0, 0.1),
    )


def viseme(phoneme: str) -> tuple[float, ...] | None:
    """Return the mouth shape of an espeak-ng phoneme, or None for a pause or an unknown phoneme."""
    name = phoneme.lstrip("',%=|")
    while name and name not in _TARGETS:
        name = name[:-1]
    if not name:
        return None
    shape = _TARGETS[name]
    reduced = name in _REDUCED and not phoneme.startswith("'")
    return (0.55 * shape[0], *shape[1:]) if reduced else shape


def mouth_track(speech: Speech, lead: float, frames: int, habit: Habit, rng: np.random.Generator) -> np.ndarray:
    """Return the track (frames, 5) of a mouth whose `speech` starts at `lead` s; a frame shows the middle of its time.

    Shapes are smoothed (co-articulation: Gaussians of 28 to 45 ms) and slightly ahead of the audio, as in real mouths,
    but the lips close completely for p, b, m.
    """
    points = int(frames / FPS / _STEP) + 1
    fine = np.tile(np.array(_REST), (points, 1))
    closed = np.zeros(points)
    ends = [t for t, _ in speech.phonemes[1:]] + [speech.seconds]
    for (start, name), end in zip(speech.phonemes, ends, strict=True):
        shape = viseme(name)
        first, last = (max(0, round((lead + max(0.0, t) - habit.ahead) / _STEP)) for t in (start, end))
        if shape is None:
            continue
        fine[first:last] = shape + habit.variation * rng.standard_normal(len(_REST))
        fine[first:last, OPEN] *= habit.effort
        if shape[OPEN] == 0.0:
            closed[first:last] = 1.0
    for column, soft in enumerate(_SOFT):
        fine[:, column] = gaussian_filter1d(fine[:, column], habit.softness * soft / _STEP, mode="nearest")
    fine[:, OPEN] *= 1 - np.minimum(1.0, 1.3 * gaussian_filter1d(closed, 0.012 / _STEP))
    time = np.arange(points) * _STEP
    fine[:, WIDTH] += habit.mood * np.sin(2 * np.pi * (rng.uniform(0.05, 0.3) * time + rng.uniform()))
    middles = np.round((np.arange(frames) + 0.5) / FPS / _STEP).astype(int)
    return np.clip(fine[np.minimum(middles, points - 1)], 0, 1)


@dataclass(frozen=True)
class Lips:
    """Mouth of an identity: half width, thickness of the two lips and opening in pixels of the head's canvas, colours
    (blue, green, red) of lips and teeth."""

    half_width: float
    upper: float
    lower: float
    opening: float
    colour: tuple[float, float, float]
    teeth: tuple[float, float, float]

    def draw(self, canvas: np.ndarray, centre: tuple[float, float], shape: np.ndarray) -> None:
        """Draw the mouth in one `shape` (5,) into a BGRA canvas, in place; `centre` is (x, y) of the resting lips."""
        opening, width, rounding, teeth, tongue = shape
        x = np.linspace(-1, 1, 25)
        dome = 1 - x**2
        half = self.half_width * (0.82 + 0.36 * width - 0.28 * rounding)
        gap = self.opening * opening
        bow = 1 - 0.28 * np.exp(-((x / 0.16) ** 2)) + 0.12 * np.exp(-(((np.abs(x) - 0.3) / 0.2) ** 2))
        top_in = -0.28 * gap * dome**0.8
        low_in = 0.72 * gap * dome**0.8
        top_out = top_in - self.upper * (1 + 0.25 * rounding) * bow * dome**0.75
        low_out = low_in + self.lower * (1 + 0.2 * rounding) * dome**0.6
        red = np.array(self.colour)

        def fill(upper: np.ndarray, lower: np.ndarray, colour: np.ndarray) -> None:
            outline = np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])
            outline = outline * (half, 1) + centre
            cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], (*colour.tolist(), 255.0), cv2.LINE_AA, 4)

        fill(top_out, top_in, red * 0.86)
        fill(low_in, low_out, red)
        fill(low_in + 0.35 * (low_out - low_in), low_in + 0.7 * (low_out - low_in), np.minimum(255, red * 1.1 + 8))
        fill(top_in - 0.6, low_in + 0.6, np.array([28.0, 18.0, 42.0]))
        if gap > 3:
            inner = low_in - top_in
            if tongue > 0.05:
                fill(low_in - np.minimum(0.75, 0.25 + 0.45 * tongue) * inner * dome**0.5, low_in, red * 0.8)
            if teeth > 0.05:
                shown = np.minimum(self.upper * 0.9 * teeth, 0.6 * inner)
                fill(top_in, top_in + shown, np.array(self.teeth))
