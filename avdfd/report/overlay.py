"""A video with what the model saw drawn into it: the discrepancy on the face, the scores below, and its sound."""

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.features.mel import FPS, SAMPLE_RATE
from avdfd.inference.explanation import at
from avdfd.media.chain import join_pieces
from avdfd.media.decode import read_audio, read_video
from avdfd.media.faces import Square
from avdfd.media.mux import mux, read_packets

SUFFIX = ".mp4"
_CLOCK = 90_000  # ticks per second of the picture, fine enough for every frame rate
_BITS_PER_SECOND = 64_000
_BAND = 96  # pixels below the picture, for the scores
_LONGEST, _NARROWEST = 1280, 480  # sides of the picture in pixels; others are scaled, as words have to fit below
_BLUE, _ORANGE, _RED, _WHITE, _GREY = (178, 114, 0), (0, 94, 213), (32, 0, 176), (255, 255, 255), (120, 120, 120)
_COLORS = {"audio": _BLUE, "visual": _ORANGE}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Story(NamedTuple):
    """What is told of a file's N windows."""

    title: str
    starts: Sequence[float]
    """Seconds."""
    scores: Mapping[str, np.ndarray]
    """P(fake) (N,) of each branch, the main one last."""
    threshold: float
    w_audio: np.ndarray | None
    """(N,) weight of the audio branch."""
    discrepancy: np.ndarray | None
    """(N, T, R, C) on the grid of the face."""
    faces: Sequence[Square | None]
    """Where in the picture the face is, None if it is all of it."""
    end: float
    """Of the last window, in seconds."""


def overlay(path: Path, decoder: str, story: Story) -> bytes:
    """The pictures of a file with the story drawn into them, at their own times, and its sound (mono, 16 kHz) as MP4.

    Raises MediaError for a file that cannot be decoded.
    """
    sounds = read_audio(path)
    samples, start = join_pieces(sounds, sounds[-1].end), Fraction(sounds[0].start).limit_denominator(_CLOCK)
    with av.open(io.BytesIO(_pictures(path, decoder, story))) as drawn:
        video = drawn.streams.video[0]
        return mux(video, read_packets(video), samples, rate=SAMPLE_RATE, bit_rate=_BITS_PER_SECOND, start=start)


def _pictures(path: Path, decoder: str, story: Story) -> bytes:
    """The pictures as an MP4 file without sound."""
    buffer = io.BytesIO()
    band = None
    with av.open(buffer, "w", format="mp4") as container:
        # Without B-frames no picture waits for a later one, so that all keep their times.
        options = {"preset": "veryfast", "crf": "18", "bf": "0"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, _CLOCK)
        for frame in read_video(path, decoder):
            picture = cv2.cvtColor(frame.rgb(), cv2.COLOR_RGB2BGR)
            scale = max(min(1, _LONGEST / max(picture.shape[:2])), _NARROWEST / picture.shape[1])
            picture = _even(picture, scale)
            if band is None:
                band = _scores_band(story, picture.shape[1])
                video.width, video.height = picture.shape[1], picture.shape[0] + _BAND
            _draw_face(picture, story, frame.time, scale)
            canvas = np.vstack([picture, _with_cursor(band, story, frame.time)])
            shown = av.VideoFrame.from_ndarray(canvas, format="bgr24")
            shown.pts, shown.time_base = round(frame.time * _CLOCK), video.codec_context.time_base
            container.mux(video.encode(shown))
        if band is None:
            raise MediaError("no picture could be decoded")
        container.mux(video.encode(None))
    return buffer.getvalue()


def _draw_face(picture: np.ndarray, story: Story, time: float, scale: float) -> None:
    """Heats the places of the face where sound and picture disagree; the hottest place of the file is red."""
    if story.discrepancy is None or (heat := at(story.starts, story.discrepancy, time)) is None:
        return
    left, top, across, down = 0, 0, picture.shape[1], picture.shape[0]
    face = [face for start, face in zip(story.starts, story.faces, strict=True) if start <= time][-1]
    if face is not None:
        left, top = round(face.left * scale), round(face.top * scale)
        across = down = round(face.side * scale)
    part = picture[top : top + down, left : left + across]
    low, high = np.quantile(story.discrepancy, [0.5, 0.998])
    heat = np.clip((heat - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)
    heat = np.clip(cv2.resize(heat, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_CUBIC), 0, 1)
    colors = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)
    part[:] = (part * (1 - 0.6 * heat[..., None]) + colors * (0.6 * heat[..., None])).astype(np.uint8)
    cv2.rectangle(picture, (left, top), (left + across - 1, top + down - 1), _WHITE, 1)


def _scores_band(story: Story, width: int) -> np.ndarray:
    """P(fake) of every branch over the time of the file, without the cursor."""
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
    """The band at a moment: a cursor, and the scores of now in words."""
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


def _even(picture: np.ndarray, scale: float) -> np.ndarray:
    """A picture scaled to sides that H.264 can halve."""
    height, width = (max(2, round(side * scale) // 2 * 2) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
