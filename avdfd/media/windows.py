"""Cutting of media files into windows of audio and face frames, the contents of elements.

Windows start at 0, hop, 2 hop ... of each stretch in which audio and video are both continuous. Frame k of a window is
the one whose time stamp is nearest to k / 25 s after its start, at any frame rate: at most half a frame away. Windows
are not padded.

Of a file without a window, the longest stretch of at least 1 s is taken as it is, in whole frames of 40 ms
(media.short); readers repeat it (`avdfd.elements.form.repeated`).

With media.whole there is one window per stretch instead: all of it up to media.max_seconds, in whole frames of 40 ms.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avdfd.config import MediaConfig, ReconstructionConfig
from avdfd.core.errors import MediaError
from avdfd.elements.form import decode_wav, encode_array, encode_audio, encode_wav, mel_of, repeated
from avdfd.features.acoustics import edge_silence
from avdfd.features.window import FACE_SIZE, FPS, FRAMES, SAMPLE_RATE, SECONDS, WINDOW, frames_of
from avdfd.media.audio import AudioPiece, is_silent, read_audio
from avdfd.media.face_windows import FaceCropper, WindowFace, packed
from avdfd.media.streams import Reading
from avdfd.media.video import Frame, read_video

if TYPE_CHECKING:
    from avdfd.media.reconstruction import Reconstruction

# A video without a new frame for longer than this (seconds) is interrupted.
_INTERRUPTION = 0.5
# Shortest whole clip, and shortest clip that is taken without a window, in seconds.
_SHORTEST = 1.0
# Decoded frames of up to this many bytes are kept in memory until the face is known; above, the file is decoded twice.
_MAX_BUFFER = 512 * 2**20

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


def extract(path: str | Path, media: MediaConfig) -> list[dict[str, Any]]:
    """Return all usable windows of a file: dicts with `start` and `end` in seconds and `parts`, the packed arrays.

    `avdfd.elements.unpack` turns the parts into arrays. Raises MediaError if no window is usable.
    """
    return [window for window in windows(path, media) if "parts" in window]


def windows(
    path: str | Path, media: MediaConfig, reading: Reading | None = None, *, all_faces: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the windows of a file as they are cut; an unusable one has a `reason` in place of `parts`.

    `face` says where the face is that they are cropped to, None if frames are not cropped; with `all_faces` there is a
    window for each. `reading` names the streams to take, or is filled in with those taken, and with the damage. Raises
    MediaError, possibly only after the last window, if no window is usable.
    """
    reading = reading or Reading()
    with_frames = "frames" in media.keep
    pieces = read_audio(path, video=with_frames, reading=reading)
    if all(is_silent(piece.samples) for piece in pieces):
        raise MediaError("silent audio")
    if media.trim_silence:
        pieces = _trimmed(pieces)
    usable, reasons = 0, set()
    for window in _windows(path, pieces, media, reading, all_faces) if with_frames else _audio_windows(pieces, media):
        times = {"start": round(window.start, 6), "end": round(window.end, 6)}
        reason = _unusable(window)
        if reason:
            reasons.add(reason)
            yield {**times, "reason": reason}
        else:
            usable += 1
            yield {**times, "face": window.face, "parts": _parts(window, media)}
    if not usable:
        raise MediaError(", ".join(sorted(reasons)))


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
        open_windows = [_OpenWindow(start, piece, media) for start, piece in _starts(first.time, pieces, media)]
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


def _starts(first: float, pieces: list[AudioPiece], media: MediaConfig) -> Iterator[tuple[float, AudioPiece]]:
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


def _trimmed(pieces: list[AudioPiece]) -> list[AudioPiece]:
    """Return audio without the silence at the start of the first piece and at the end of the last."""
    lead, trail = edge_silence(np.concatenate([piece.samples for piece in pieces]), SAMPLE_RATE)
    total = sum(len(piece.samples) for piece in pieces)
    first, last = round(lead * SAMPLE_RATE), total - round(trail * SAMPLE_RATE)
    kept, passed = [], 0
    for piece in pieces:
        begin = max(first - passed, 0)
        samples = piece.samples[begin : max(last - passed, 0)]
        passed += len(piece.samples)
        if len(samples):
            kept.append(AudioPiece(piece.start + begin / SAMPLE_RATE, samples))
    return kept


def _unusable(window: Window) -> str | None:
    """Return the reason why a window is unusable, or None. No window is left out for being real: all are evaluated."""
    if is_silent(window.samples):
        return "silent audio"
    return window.reason


def _parts(window: Window, media: MediaConfig) -> dict[str, bytes]:
    """Encode the members of an element that `media.keep` names. The mel of a short clip is that of repeated audio."""
    samples = window.samples if media.whole else repeated(window.samples, WINDOW)
    parts = encode_audio(samples, mel="mel" in media.keep)
    if media.mel_err is not None:
        error = reconstruction(media.mel_err).error(mel_of(decode_wav(parts["wav"])))
        parts["mel_err.npy"] = encode_array(error)
    parts["wav"] = encode_wav(window.samples, SAMPLE_RATE)
    if "waveform" not in media.keep:
        del parts["wav"]
    if "frames" in media.keep:
        parts["mjpeg"] = b"".join(window.frames)
    return parts


@functools.cache
def reconstruction(config: ReconstructionConfig) -> "Reconstruction":
    """Return the diffusion model of mel_err, loaded once. Raises UserError if it cannot be loaded."""
    from avdfd.media.reconstruction import Reconstruction  # rarely needed, and slow to import

    return Reconstruction(config)


def _audio_windows(pieces: list[AudioPiece], media: MediaConfig) -> Iterator[Window]:
    """Yield windows without frames. Raises MediaError if the audio is too short for a window."""
    opened = (_OpenWindow(start, piece, media) for start, piece in _starts(-np.inf, pieces, media))
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


def _windows(
    path: str | Path, pieces: list[AudioPiece], media: MediaConfig, reading: Reading, all_faces: bool
) -> Iterator[Window]:
    """Yield windows whose frames are JPEG, or which have a reason if there is no face."""
    video = read_video(path, media.decoder, reading)
    first = next(video, None)
    if first is None:
        raise MediaError("no frame could be decoded")
    shape = first.gray().shape
    frames = itertools.chain([first], video)
    quality = media.jpeg_quality
    if media.face is None or shape == (FACE_SIZE, FACE_SIZE):
        yield from assemble(frames, pieces, media, lambda frame, _: packed(frame, None, quality))
        return

    def cut(frames: Iterable[Frame], keep: Keep) -> Iterator[Window]:
        return assemble(frames, pieces, media, keep)

    def again() -> Iterator[Frame]:
        video.close()  # its decoder holds frames
        return read_video(path, media.decoder, Reading(video_stream=reading.video_stream))

    cropper = FaceCropper(media.face, shape, quality, all_faces=all_faces)
    if _buffer_size(shape, first.duration, pieces, media) > _MAX_BUFFER:
        yield from cropper.decoded_twice(frames, again, cut)
    else:
        yield from cropper.buffered(frames, cut)


def _buffer_size(shape: tuple[int, ...], duration: float, pieces: list[AudioPiece], media: MediaConfig) -> float:
    """Estimate the bytes of all windows' decoded frames, each distinct frame once, at 1.5 bytes per pixel."""
    starts = list(_starts(-np.inf, pieces, media))[: media.max_windows or None]
    seconds = sum(piece.end - piece.start for piece in pieces)
    most = frames_of(media.max_seconds) if media.whole else FRAMES

    rate = 1 / duration if duration else 60
    return min(len(starts) * most, seconds * rate) * 1.5 * shape[0] * shape[1]
