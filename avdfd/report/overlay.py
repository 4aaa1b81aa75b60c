"""Copy of a video with the evidence drawn into it: discrepancy on the face, scores below, and the original audio."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from avdfd.features.window import FPS, SAMPLE_RATE
from avdfd.inference.explanation import at
from avdfd.media.audio import join_pieces, read_audio
from avdfd.media.ceilings import check_frame
from avdfd.media.crops import WindowFace
from avdfd.media.mux import encode_mp4
from avdfd.media.streams import Reading
from avdfd.media.video import Frame, read_video

SUFFIX = ".mp4"
_BITS_PER_SECOND = 64_000
_BAND = 96  # height in pixels of the scores below the video
_LONGEST, _NARROWEST = 1280, 480  # side limits in pixels; other videos are scaled, as text has to fit below
_BLUE, _ORANGE, _RED, _WHITE, _GREY = (178, 114, 0), (0, 94, 213), (32, 0, 176), (255, 255, 255), (120, 120, 120)
_COLORS = {"audio": _BLUE, "visual": _ORANGE}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Story(NamedTuple):
    """Content of an overlay: scores and evidence of the N windows of a file."""

    title: str
    starts: Sequence[float]
    """Seconds."""
    scores: Mapping[str, np.ndarray]
    """P(fake) (N,) of each branch, the main branch last."""
    threshold: float
    w_audio: np.ndarray | None
    """(N,) weight of the audio branch."""
    discrepancy: np.ndarray | None
    """(N, T, R, C) on the grid of the face crop."""
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
    """Draw P(fake) of every branch over the time of the file, without the cursor."""
    band = np.full((_BAND, width, 3), 24, np.uint8)
    top, bottom = 24, _BAND - 6

    def place(time: float, score: float) -> tuple[int, int]:
        return round(time / story.end * (width - 1)), round(bottom - score * (bottom - top))

    cv2.line(band, place(0, story.threshold), place(story.end, story.threshold), _RED, 1)
    middles = np.asarray(story.starts) + (story.end - story.starts[-1]) / 2
    for name, values in story.scores.items():
        color = _COLORS.get(name, _WHITE)
        points = [place(0, values[0]), *map(place, middles, values), place(story.end, values[-1])]
        cv2.polylines(band, [np.array(points, np.int32)], False, color, 2 if color == _WHITE else 1, cv2.LINE_AA)
    return band


def _with_cursor(band: np.ndarray, story: Story, time: float) -> np.ndarray:
    """Return the band at a moment, with a cursor and the current scores as text."""
    band = band.copy()
    x = round(min(max(time / story.end, 0), 1) * (band.shape[1] - 1))
    cv2.line(band, (x, 22), (x, _BAND), _GREY, 1)
    words = [(story.title, _WHITE)]
    for name, values in story.scores.items():
        now = at(story.starts, values[:, None], time)
        if now is not None:
            words.append((f"{name} {now:.2f}", _COLORS.get(name, _WHITE)))
    weight = None if story.w_audio is None else at(story.starts, story.w_audio[:, None], time)
    if weight is not None:
        words.append((f"weights {weight:.2f}/{1 - weight:.2f}", _GREY))
    left = 6
    for word, color in words:
        cv2.putText(band, word, (left, 16), _FONT, 0.5, color, 1, cv2.LINE_AA)
        left += cv2.getTextSize(word, _FONT, 0.5, 1)[0][0] + 12
    return band


def _even(image: np.ndarray, scale: float) -> np.ndarray:
    """Scale a frame to even sides, as 4:2:0 chroma needs."""
    height, width = (max(2, round(side * scale) // 2 * 2) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
