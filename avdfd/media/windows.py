"""A media file -> windows of sound and face frames, the contents of elements.

A window starts at 0, hop, 2 hop ... of each stretch that has sound and picture throughout. Its frame k is the one
whose time stamp is nearest to k / 25 s into the window, whatever the frame rate: at most half a frame off.
Nothing is padded; sound alone that is too short may be repeated (media.repeat_short).
"""

import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avdfd.config import MediaConfig, ReconstructionConfig
from avdfd.core.errors import MediaError
from avdfd.elements.form import encode_array, encode_audio, encode_frame, mel_of, unpack
from avdfd.features.acoustics import edge_silence
from avdfd.features.mel import FACE_SIZE, FPS, FRAMES, SAMPLE_RATE, WINDOW
from avdfd.media.decode import AudioPiece, Frame, read_audio, read_video
from avdfd.media.faces import FaceTracker, Square, crop, square

if TYPE_CHECKING:
    from avdfd.media.reconstruction import Reconstruction

SECONDS = WINDOW / SAMPLE_RATE

# Without a new picture for this long (seconds), the video is taken to be interrupted.
_INTERRUPTION = 0.5
# Root mean square below which sound is silence: -70 dBFS.
_SILENCE = 10 ** (-70 / 20)
# Decoded frames up to this size in bytes wait in memory until the face is known; else the file is decoded twice.
_HELD = 512 * 2**20

Keep = Callable[[Frame, float], Any]


class Window(NamedTuple):
    """Start in seconds, samples (49152,), and for each of the 77 frames what `assemble` was told to keep of it."""

    start: float
    samples: np.ndarray
    frames: list[Any]
    face: Square | None = None
    """Where in the picture the frames are, if they are not all of it."""


def extract(path: str | Path, media: MediaConfig) -> list[dict[str, Any]]:
    """All usable windows of a file: dicts with `start` and `end` in seconds and `parts`, the packed arrays.

    `avdfd.elements.unpack` turns the parts into arrays. Raises MediaError if no window is usable.
    """
    return [window for window in windows(path, media) if "parts" in window]


def windows(
    path: str | Path, media: MediaConfig, fake_periods: Sequence[Sequence[float]] | None = None
) -> Iterator[dict[str, Any]]:
    """The windows of a file one by one, as they are cut; one that cannot be used has a `reason` in place of `parts`.

    `face` is where in the picture its frames are, None if they are all of it.

    `fake_periods` are the seconds of a fake that are fake, where that is not all of it. Raises MediaError, at the end
    at the latest, if no window is usable.
    """
    pictures = "frames" in media.keep
    sounds = read_audio(path, video=pictures)
    if all(_silent(sound.samples) for sound in sounds):
        raise MediaError("silent audio")
    if media.trim_silence:
        sounds = _trimmed(sounds)
    usable, reasons = 0, set()
    for window in _windows(path, sounds, media) if pictures else _sound_windows(sounds, media):
        times = {"start": round(window.start, 6), "end": round(window.start + SECONDS, 6)}
        reason = _unusable(window, media, fake_periods)
        if reason:
            reasons.add(reason)
            yield {**times, "reason": reason}
        else:
            usable += 1
            yield {**times, "face": window.face, "parts": _parts(window, media)}
    if not usable:
        raise MediaError(", ".join(sorted(reasons)))


def assemble(frames: Iterable[Frame], sounds: list[AudioPiece], media: MediaConfig, keep: Keep) -> Iterator[Window]:
    """Windows in order of their start, made while the frames pass by; stops reading them once no window can follow.

    `keep(frame, start)` gives what a window that begins at `start` holds of a frame. Raises MediaError if there is
    no whole window.
    """
    made, longest, count, shown = 0, 0.0, 0, 0.0
    for stretch in _stretches(frames):
        first = next(stretch)
        open_windows = [_Open(start, sound) for start, sound in _starts(first.time, sounds, media.hop)]
        for frame, following in _with_next(itertools.chain([first], stretch)):
            count += 1
            shown = following.time - frame.time if following else min(frame.duration or shown, _INTERRUPTION)
            # No target may be more than half a frame away from the last one.
            end = frame.time + (shown if following else min(shown, shown / 2 + _TAIL))
            until = frame.time + shown / 2
            for window in open_windows:
                if window.start > until:
                    break
                window.take(frame, until, keep)
            while open_windows and open_windows[0].done(end):
                yield open_windows.pop(0).window()
                made += 1
                if made == media.max_windows:
                    return
            if not open_windows and made:
                return
        longest = max([longest, *(min(end, s.end) - max(first.time, s.start) for s in sounds)])
    if not made:
        seconds = f"{longest:.2f} s of common audio and video"
        raise MediaError("one frame only" if count == 1 else f"shorter than one window: {seconds}")


class _Open:
    """A window whose frames are still coming."""

    def __init__(self, start: float, sound: AudioPiece) -> None:
        self.start, self.sound = start, sound
        self.frames: list[Any] = []

    def take(self, frame: Frame, until: float, keep: Keep) -> None:
        """Fills the places whose time is not after `until`."""
        while len(self.frames) < FRAMES and self.start + len(self.frames) / FPS <= until:
            self.frames.append(keep(frame, self.start))

    def done(self, end: float) -> bool:
        return len(self.frames) == FRAMES and self.start + SECONDS <= end + _ROUNDING

    def window(self) -> Window:
        first = min(round((self.start - self.sound.start) * SAMPLE_RATE), len(self.sound.samples) - WINDOW)
        return Window(self.start, self.sound.samples[first : first + WINDOW], self.frames)


# From the last frame's time to the end of a window.
_TAIL = SECONDS - (FRAMES - 1) / FPS
_ROUNDING = 1e-6


def _stretches(frames: Iterable[Frame]) -> Iterator[Iterator[Frame]]:
    """Frames, parted where the video is interrupted."""
    number, last = 0, None

    def stretch(frame: Frame) -> int:
        nonlocal number, last
        number += last is not None and frame.time - last > _INTERRUPTION
        last = frame.time
        return number

    for _, group in itertools.groupby(frames, stretch):
        yield group


def _with_next(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Frame | None]]:
    """Each frame and the one after it."""
    rest = iter(frames)
    frame = next(rest)
    for following in rest:
        yield frame, following
        frame = following
    yield frame, None


def _starts(first: float, sounds: list[AudioPiece], hop: float) -> Iterator[tuple[float, AudioPiece]]:
    """Where windows may start in a video that begins at `first`, as far as the sound goes."""
    for sound in sounds:
        begin = max(first, sound.start)
        for k in itertools.count():
            start = begin + k * hop
            if start + SECONDS > sound.end + _ROUNDING:
                break
            yield start, sound


def _trimmed(sounds: list[AudioPiece]) -> list[AudioPiece]:
    """Sound without the silence before and after all of it."""
    lead, trail = edge_silence(np.concatenate([sound.samples for sound in sounds]), SAMPLE_RATE)
    total = sum(len(sound.samples) for sound in sounds)
    first, last = round(lead * SAMPLE_RATE), total - round(trail * SAMPLE_RATE)
    kept, passed = [], 0
    for sound in sounds:
        begin = max(first - passed, 0)
        samples = sound.samples[begin : max(last - passed, 0)]
        passed += len(sound.samples)
        if len(samples):
            kept.append(AudioPiece(sound.start + begin / SAMPLE_RATE, samples))
    return kept


def _unusable(window: Window, media: MediaConfig, fake_periods: Sequence[Sequence[float]] | None) -> str | None:
    """Why a window is left out."""
    if _silent(window.samples):
        return "silent audio"
    if None in window.frames:
        return "no face found"
    if fake_periods is not None:
        inside = [min(end, window.start + SECONDS) - max(start, window.start) for start, end in fake_periods]
        if sum(max(seconds, 0.0) for seconds in inside) < media.min_fake:
            return "nothing in it is fake"
    return None


def _parts(window: Window, media: MediaConfig) -> dict[str, bytes]:
    """The members of an element that are kept."""
    parts = encode_audio(window.samples, mel="mel" in media.keep)
    if media.mel_err is not None:
        error = reconstruction(media.mel_err).error(mel_of(unpack({"wav": parts["wav"]}).waveform))
        parts["mel_err.npy"] = encode_array(error)
    if "waveform" not in media.keep:
        del parts["wav"]
    if "frames" in media.keep:
        parts["mjpeg"] = b"".join(window.frames)
    return parts


@functools.cache
def reconstruction(config: ReconstructionConfig) -> "Reconstruction":
    """The diffusion model of mel_err, loaded once. Raises UserError."""
    from avdfd.media.reconstruction import Reconstruction  # few need it, and its imports take time

    return Reconstruction(config)


def _sound_windows(sounds: list[AudioPiece], media: MediaConfig) -> Iterator[Window]:
    """Windows of sound alone. Raises MediaError if there is no whole one."""
    starts = itertools.islice(_starts(-np.inf, sounds, media.hop), media.max_windows or None)
    made = 0
    for made, (start, sound) in enumerate(starts, 1):  # noqa: B007
        yield _Open(start, sound).window()
    if not made:
        longest = max(sounds, key=lambda sound: len(sound.samples))
        if not media.repeat_short:
            raise MediaError(f"shorter than one window: {longest.end - longest.start:.2f} s of audio")
        yield Window(longest.start, np.resize(longest.samples, WINDOW), [])


def _windows(path: str | Path, sounds: list[AudioPiece], media: MediaConfig) -> Iterator[Window]:
    """Windows whose frames are JPEG, or None where no face was found."""
    frames = read_video(path, media.decoder)
    first = next(frames, None)
    if first is None:
        raise MediaError("no picture could be decoded")
    shape = first.gray().shape
    frames = itertools.chain([first], frames)
    if shape == (FACE_SIZE, FACE_SIZE):
        yield from assemble(frames, sounds, media, lambda frame, _: _packed(frame, None, media))
        return

    tracker = FaceTracker(media.face)

    @functools.cache
    def face(start: float) -> Square | None:
        box = tracker.box(start, start + SECONDS)
        return None if box is None else square(shape, box, media.face.margin)

    def cropped(frame: Frame, start: float) -> bytes | None:
        place = face(start)
        return None if place is None else _packed(frame, place, media)

    if _size(shape, first.duration, sounds, media) > _HELD:
        for _ in assemble(tracker.watch(frames), sounds, media, lambda frame, start: None):
            pass
        for window in assemble(read_video(path, media.decoder), sounds, media, cropped):
            yield window._replace(face=face(window.start))
        return
    waiting = deque(assemble(tracker.watch(frames), sounds, media, lambda frame, start: frame))
    while waiting:
        window = waiting.popleft()
        pictures = [cropped(frame, window.start) for frame in window.frames]
        yield window._replace(frames=pictures, face=face(window.start))


def _packed(frame: Frame, face: Square | None, media: MediaConfig) -> bytes:
    """JPEG of the face, or of the whole frame. It is made once, however many windows the frame is part of."""
    if face not in frame.encoded:
        picture = frame.rgb() if face is None else crop(frame.rgb(), face)
        frame.encoded[face] = encode_frame(picture, media.jpeg_quality)
    return frame.encoded[face]


def _size(shape: tuple[int, ...], duration: float, sounds: list[AudioPiece], media: MediaConfig) -> float:
    """Bytes of the frames of all windows of a file, at 1.5 bytes per pixel and no more frames than there are."""
    starts = list(_starts(-np.inf, sounds, media.hop))[: media.max_windows or None]
    seconds = sum(sound.end - sound.start for sound in sounds)
    rate = 1 / duration if duration else 60
    return min(len(starts) * FRAMES, seconds * rate) * 1.5 * shape[0] * shape[1]


def _silent(samples: np.ndarray) -> bool:
    return bool(np.sqrt(np.mean(np.square(samples))) < _SILENCE)
