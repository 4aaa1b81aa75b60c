"""Copy of a video with the evidence drawn into it: discrepancy on the face, scores below, and the original audio."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from avdfd.features.window import FPS, SAMPLE_RATE
from avdfd.inference.columns import at, best_lag
from avdfd.media.audio import join_pieces, read_audio
from avdfd.media.ceilings import check_frame
from avdfd.media.crops import WindowFace
from avdfd.media.mux import encode_mp4
from avdfd.media.streams import Reading
from avdfd.media.video import Frame, read_video

SUFFIX = ".mp4"
_BITS_PER_SECOND = 64_000
# Heights in pixels of what is below the video: a line of text, the scores, and the consistency.
_LINE, _SCORES, _LANE = 20, 66, 48
_LONGEST, _NARROWEST = 1280, 480  # side limits in pixels; other videos are scaled, as text has to fit below
_BLUE, _ORANGE, _GREEN, _RED = (178, 114, 0), (0, 94, 213), (115, 158, 0), (32, 0, 176)
_WHITE, _GREY = (255, 255, 255), (120, 120, 120)
_COLORS = {"audio": _BLUE, "visual": _ORANGE, "consistency": _ORANGE, "picture": _GREEN}
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


class Story(NamedTuple):
    """Content of an overlay: scores and evidence of the N windows of a file."""

    title: str
    starts: Sequence[float]
    """Seconds."""
    scores: Mapping[str, np.ndarray]
    """P(fake) (N,) of each branch, the main branch last."""
    threshold: float
    weights: Mapping[str, np.ndarray]
    """(N,) weight of each branch; empty without fusion."""
    discrepancy: np.ndarray | None
    """(N, T, R, C) on the grid of the face crop."""
    consistency: np.ndarray | None
    """(N, 77) log-ratio of audio and mouth belonging together, at every frame."""
    agreement: np.ndarray | None
    """(N, 31) correlation of predicted and actual movement of the mouth at each lag."""
    faces: Sequence[WindowFace | None]
    """The face that the frames are cropped to; None for the whole frame."""
    end: float
    """End of the last window in seconds."""


def overlay(path: Path, decoder: str, story: Story, reading: Reading | None = None) -> bytes:
    """Return an MP4 of a file: its frames at their own times, with the story drawn in, and its audio (mono, 16 kHz).

    The streams are those that `reading` names. Raises MediaError for a file that cannot be decoded, lasts too long, or
    is too narrow to draw on.
    """
    streams = Reading(reading.audio_stream, reading.video_stream) if reading else Reading()
    pieces = read_audio(path, reading=streams)
    audio = join_pieces(pieces, pieces[-1].end)
    frames = _drawn(read_video(path, decoder, streams), story)
    return encode_mp4(frames, audio, start=pieces[0].start, rate=SAMPLE_RATE, bit_rate=_BITS_PER_SECOND)


def _drawn(frames: Iterable[Frame], story: Story) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time and the image (H, W, 3) uint8 BGR of each frame, with the story drawn in."""
    band = None
    for frame in frames:
        image = cv2.cvtColor(frame.framed(), cv2.COLOR_RGB2BGR)
        scale = max(min(1, _LONGEST / max(image.shape[:2])), _NARROWEST / image.shape[1])
        check_frame(round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = _even(image, scale)
        if band is None:
            band = _scores_band(story, image.shape[1])
        _draw_face(image, story, frame.time, scale)
        yield frame.time, np.vstack([image, _with_cursor(band, story, frame.time)])


def _draw_face(image: np.ndarray, story: Story, time: float, scale: float) -> None:
    """Draw the audio-visual discrepancy on the face as a heat map, scaled to the whole file."""
    if story.discrepancy is None or (heat := at(story.starts, story.discrepancy, time)) is None:
        return
    left, top, across, down = 0, 0, image.shape[1], image.shape[0]
    start, face = [(start, face) for start, face in zip(story.starts, story.faces, strict=True) if start <= time][-1]
    if face is not None:
        square = face.squares[min(round((time - start) * FPS), len(face.squares) - 1)]
        left, top, across = (round(float(length) * scale) for length in square)
        down = across
    part = image[top : top + down, left : left + across]
    low, high = np.quantile(story.discrepancy, [0.5, 0.998])
    heat = np.clip((heat - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    heat = np.clip(cv2.resize(heat, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_CUBIC), 0, 1)
    colors = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)
    part[:] = (part * (1 - 0.6 * heat[..., None]) + colors * (0.6 * heat[..., None])).astype(np.uint8)
    cv2.rectangle(image, (left, top), (left + across - 1, top + down - 1), _WHITE, 1)


def _scores_band(story: Story, width: int) -> np.ndarray:
    """Draw P(fake) of every branch and, below, the consistency over the time of the file, without the cursor."""
    lines = len(_words(story, 0.0))
    top = lines * _LINE + 4
    bottom = top + _SCORES
    height = bottom + 6 + (_LANE if story.consistency is not None else 0)
    band = np.full((height + height % 2, width, 3), 24, np.uint8)

    def place(time: float, score: float) -> tuple[int, int]:
        return round(time / story.end * (width - 1)), round(bottom - score * (bottom - top))

    cv2.line(band, place(0, story.threshold), place(story.end, story.threshold), _RED, 1)
    middles = np.asarray(story.starts) + (story.end - story.starts[-1]) / 2
    for name, values in story.scores.items():
        color = _COLORS.get(name, _WHITE)
        points = [place(0, values[0]), *map(place, middles, values), place(story.end, values[-1])]
        cv2.polylines(band, [np.array(points, np.int32)], False, color, 2 if color == _WHITE else 1, cv2.LINE_AA)
    if story.consistency is not None:
        _draw_consistency(band[-_LANE:], story.starts, story.consistency, story.end)
    return band


def _draw_consistency(lane: np.ndarray, starts: Sequence[float], log_ratio: np.ndarray, end: float) -> None:
    """Draw the log-ratio of consistency into a lane (H, W, 3), with a line at 0: below it, audio and mouth disagree."""
    height, width = lane.shape[:2]
    low, high = min(0.0, float(log_ratio.min())), max(float(log_ratio.max()), 1e-6)
    times = np.arange(0, end, 1 / FPS)
    values = [at(starts, log_ratio, time) for time in times.tolist()]

    def down(value: float) -> int:
        return round(2 + (high - value) / (high - low) * (height - 8))

    cv2.line(lane, (0, down(0)), (width - 1, down(0)), _GREY, 1)
    points = [
        (round(time / end * (width - 1)), down(float(value)))
        for time, value in zip(times.tolist(), values, strict=True)
        if value is not None
    ]
    cv2.polylines(lane, [np.array(points, np.int32)], False, _COLORS["consistency"], 1, cv2.LINE_AA)


def _words(story: Story, time: float) -> list[list[tuple[str, tuple[int, int, int]]]]:
    """Return lines of words with their colours: the current scores and weights, and consistency in a line of its own.

    Where no window is, there are fewer words.
    """
    words, more = [(story.title, _WHITE)], []
    for name, values in story.scores.items():
        now = at(story.starts, values[:, None], time)
        if now is not None:
            words.append((f"{name} {now:.2f}", _COLORS.get(name, _WHITE)))
    weights = [at(story.starts, values[:, None], time) for values in story.weights.values()]
    if weights and None not in weights:
        more.append((f"weights {'/'.join(f'{weight:.2f}' for weight in weights)}", _GREY))
    if story.consistency is None or story.agreement is None:
        return [words + more]
    now, agreement = at(story.starts, story.consistency, time), at(story.starts, story.agreement[:, None], time)
    if now is not None and agreement is not None:
        more.append((f"log-ratio {now:+.1f}  audio late by {best_lag(agreement):+.0f} ms", _COLORS["consistency"]))
    return [words, more]


def _with_cursor(band: np.ndarray, story: Story, time: float) -> np.ndarray:
    """Return the band at a moment, with a cursor and the current scores as text."""
    band = band.copy()
    lines = _words(story, time)
    x = round(min(max(time / story.end, 0), 1) * (band.shape[1] - 1))
    cv2.line(band, (x, len(lines) * _LINE + 2), (x, len(band)), _GREY, 1)
    for number, words in enumerate(lines):
        left = 6
        for word, color in words:
            cv2.putText(band, word, (left, 16 + number * _LINE), _FONT, _SIZE, color, 1, cv2.LINE_AA)
            left += cv2.getTextSize(word, _FONT, _SIZE, 1)[0][0] + 10
    return band


def _even(image: np.ndarray, scale: float) -> np.ndarray:
    """Scale a frame to even sides, as 4:2:0 chroma needs."""
    height, width = (max(2, round(side * scale) // 2 * 2) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
