"""Assembly of windows in time: which audio and which frames of a file belong to each.

Windows start at 0, hop, 2 hop ... of each stretch in which audio and video are both continuous. Frame k of a window is
the one whose time stamp is nearest to k / 25 s after its start, at any frame rate: at most half a frame away. Windows
are not padded.

Of a file without a window, the longest stretch of at least 1 s is taken as it is, in whole frames of 40 ms
(media.short); readers repeat it (`avdfd.elements.form.repeated`).

With media.whole there is one window per stretch instead: all of it up to media.max_seconds, in whole frames of 40 ms.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from avdfd.config import MediaConfig
from avdfd.core.errors import MediaError
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, SECONDS, WINDOW
from avdfd.media.audio import AudioPiece
from avdfd.media.crops import WindowFace
from avdfd.media.video import Frame

# A video without a new frame for longer than this (seconds) is interrupted.
_INTERRUPTION = 0.5
# Shortest whole clip, and shortest clip that is taken without a window, in seconds.
_SHORTEST = 1.0

Keep = Callable[[Frame, float], Any]


class Window(NamedTuple):
    """Start in seconds, samples (49152,), and what `keep` of `assemble` returned for each of the 77 frames.

    A whole clip and one that is shorter than a window have as many frames as fit, and 640 samples for each.
    """

    start: float
    samples: np.ndarray
    frames: list[Any]
    face: WindowFace | None = None
    """Face that the frames are cropped to; None if they are not cropped."""
    reason: str | None = None
    """Why there is no face, though one is needed."""

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


def assemble(frames: Iterable[Frame], pieces: list[AudioPiece], media: MediaConfig, keep: Keep) -> Iterator[Window]:
    """Yield windows in order of their start while reading the frames, until no further window is possible.

    `keep(frame, start)` returns what a window that starts at `start` keeps of a frame. Raises MediaError if the file is
    too short.
    """
    made, longest, count, shown = 0, 0.0, 0, 0.0
    short: Window | None = None
    starts: list[float] = []
    for stretch in _stretches(frames):
        first = next(stretch)
        starts.append(first.time)
        open_windows = [_OpenWindow(start, piece, media) for start, piece in starts_of(first.time, pieces, media)]
        for frame, following in _with_next(itertools.chain([first], stretch)):
            count += 1
            shown = following.time - frame.time if following else min(frame.duration or shown, _INTERRUPTION)
            # The last frame serves no target time that is more than half a frame away.
            end = frame.time + (shown if following else min(shown, shown / 2 + _TAIL))
            until = frame.time + shown / 2
            for window in open_windows:
                if window.start > until:
                    break
                window.take(frame, until, keep)
            while open_windows and open_windows[0].done(end):
                done = open_windows.pop(0)
                if done.short:
                    short = _longer(short, done.window())
                    continue
                yield done.window()
                made += 1
                if made == media.max_windows:
                    return
            if not open_windows and made:
                return
        for window in open_windows if media.whole or (media.short and not made) else ():
            if window.shorten(frame.time):
                if media.whole:
                    yield window.window()
                    made += 1
                else:
                    short = _longer(short, window.window())
        longest = max([longest, *(min(end, piece.end) - max(first.time, piece.start) for piece in pieces)])
    if not made and short is not None:
        yield short
    elif not made:
        seconds = f"{longest:.2f} s of common audio and video"
        if count > 2 and len(starts) > count / 2:
            rate = (count - 1) / (first.time - starts[0])
            raise MediaError(f"{rate:.2g} frames a second: a window needs frames at most {_INTERRUPTION:g} s apart")
        raise MediaError("one frame only" if count == 1 else f"shorter than {_least(media)}: {seconds}")


class _OpenWindow:
    """Window that still lacks frames."""

    def __init__(self, start: float, piece: AudioPiece, media: MediaConfig) -> None:
        self.start, self.piece = start, piece
        self.frames: list[Any] = []
        self.count, self.samples = FRAMES, WINDOW
        """Numbers of frames and samples that it takes."""
        self.short = not media.whole and not _covers_window(start, piece)
        if media.whole or self.short:
            self._take_whole(min(media.max_seconds if media.whole else SECONDS, piece.end - start))

    def _take_whole(self, seconds: float) -> None:
        self.count = int(seconds * FPS + _ROUNDING)
        self.samples = self.count * SAMPLE_RATE // FPS

    def shorten(self, last: float) -> bool:
        """End the window with the last frame of the video, shown from `last` on; return True if enough is left."""
        self._take_whole(min(len(self.frames) / FPS, last - self.start + 1.5 / FPS))
        del self.frames[self.count :]
        return self.count >= _SHORTEST * FPS

    def take(self, frame: Frame, until: float, keep: Keep) -> None:
        """Use the frame for all target times up to `until`."""
        while len(self.frames) < self.count and self.start + len(self.frames) / FPS <= until:
            self.frames.append(keep(frame, self.start))

    def done(self, end: float) -> bool:
        return len(self.frames) == self.count and self.start + self.samples / SAMPLE_RATE <= end + _ROUNDING

    def window(self) -> Window:
        first = min(round((self.start - self.piece.start) * SAMPLE_RATE), len(self.piece.samples) - self.samples)
        return Window(self.start, self.piece.samples[first : first + self.samples], self.frames)


# Seconds from the target time of the last frame to the end of a window.
_TAIL = SECONDS - (FRAMES - 1) / FPS
_ROUNDING = 1e-6


def _stretches(frames: Iterable[Frame]) -> Iterator[Iterator[Frame]]:
    """Split frames where the video is interrupted."""
    number, last = 0, None

    def stretch(frame: Frame) -> int:
        nonlocal number, last
        number += last is not None and frame.time - last > _INTERRUPTION
        last = frame.time
        return number

    for _, group in itertools.groupby(frames, stretch):
        yield group


def _with_next(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    """Yield each frame with the next one."""
    rest = iter(frames)
    frame = next(rest)
    for following in rest:
        yield frame, following
        frame = following
    yield frame, None


def starts_of(first: float, pieces: list[AudioPiece], media: MediaConfig) -> Iterator[tuple[float, AudioPiece]]:
    """Yield possible starts of windows in a video that starts at `first`, each with the audio that covers it."""
    for piece in pieces:
        begin = max(first, piece.start)
        if (media.whole or media.short) and not _covers_window(begin, piece):
            if begin + _SHORTEST <= piece.end + _ROUNDING:
                yield begin, piece
            continue
        for k in range(1) if media.whole else itertools.count():
            start = begin + k * media.hop
            if not _covers_window(start, piece):
                break
            yield start, piece


def _covers_window(start: float, piece: AudioPiece) -> bool:
    return start + SECONDS <= piece.end + _ROUNDING


def _longer(before: Window | None, window: Window) -> Window:
    """Return the longer of two windows, of equal ones the first."""
    return window if before is None or len(window.samples) > len(before.samples) else before


def _least(media: MediaConfig) -> str:
    """Return the least duration of a clip as text."""
    return f"{_SHORTEST:g} s" if media.whole or media.short else "one window"


def audio_windows(pieces: list[AudioPiece], media: MediaConfig) -> Iterator[Window]:
    """Yield windows without frames. Raises MediaError if the audio is too short for a window."""
    opened = (_OpenWindow(start, piece, media) for start, piece in starts_of(-np.inf, pieces, media))
    full = itertools.islice((window for window in opened if not window.short), media.max_windows or None)
    made = 0
    for made, window in enumerate(full, 1):  # noqa: B007
        yield window.window()
    if not made:
        longest = max(pieces, key=lambda piece: len(piece.samples))
        seconds = longest.end - longest.start
        if not media.repeat_short and (not media.short or seconds < _SHORTEST):
            raise MediaError(f"shorter than {_least(media)}: {seconds:.2f} s of audio")
        yield Window(longest.start, longest.samples, [])
