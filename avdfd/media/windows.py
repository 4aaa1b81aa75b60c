"""Windows of a media file as elements store them: assembled, cropped to the face, encoded, or left out for a reason."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avdfd.config import MediaConfig, ReconstructionConfig
from avdfd.core.errors import MediaError
from avdfd.elements.form import (
    LANDMARKS,
    NOT_FINITE,
    decode_wav,
    encode_array,
    encode_audio,
    encode_landmarks,
    encode_wav,
    is_finite,
    mel_of,
    repeated,
)
from avdfd.features.acoustics import edge_silence
from avdfd.features.window import FACE_SIZE, FRAMES, SAMPLE_RATE, WINDOW, frames_of
from avdfd.media.assembly import Keep, Window, assemble, audio_windows, starts_of
from avdfd.media.audio import AudioPiece, is_silent, read_audio
from avdfd.media.face_windows import FaceCropper, packed
from avdfd.media.landmarks import landmarks_of
from avdfd.media.streams import Reading
from avdfd.media.video import Frame, read_video

if TYPE_CHECKING:
    from avdfd.media.reconstruction import Reconstruction

BUFFER = 128 * 2**20
"""Bytes of decoded frames that are kept in memory until the face is known; of more, the file is decoded twice."""


def extract(path: str | Path, media: MediaConfig, *, buffer: int = BUFFER) -> list[dict[str, Any]]:
    """Return all usable windows of a file: dicts with `start` and `end` in seconds and `parts`, the packed arrays.

    `avdfd.elements.unpack` turns the parts into arrays. A file whose decoded frames take more than `buffer` bytes is
    decoded twice. Raises MediaError if no window is usable.
    """
    return [window for window in windows(path, media, buffer=buffer) if "parts" in window]


def windows(
    path: str | Path,
    media: MediaConfig,
    reading: Reading | None = None,
    *,
    all_faces: bool = False,
    buffer: int = BUFFER,
) -> Iterator[dict[str, Any]]:
    """Yield the windows of a file as they are cut; an unusable one has a `reason` in place of `parts`.

    `face` says where the face is that they are cropped to, None if frames are not cropped; with `all_faces` there is a
    window for each. `reading` names the streams to take, or is filled in with those taken, and with the damage. A file
    whose decoded frames take more than `buffer` bytes is decoded twice. Raises MediaError, possibly only after the last
    window, if no window is usable.
    """
    reading = reading or Reading()
    with_frames = "frames" in media.keep
    pieces = read_audio(path, video=with_frames, reading=reading)
    if all(is_silent(piece.samples) for piece in pieces):
        raise MediaError("silent audio")
    if media.trim_silence:
        pieces = _trimmed(pieces)
    usable, reasons = 0, set()
    cut = _windows(path, pieces, media, reading, all_faces, buffer) if with_frames else audio_windows(pieces, media)
    for window in cut:
        times = {"start": round(window.start, 6), "end": round(window.end, 6)}
        reason = _unusable(window)
        landmarks = landmarks_of(window.frames) if "landmarks" in media.keep and not reason else None
        if "landmarks" in media.keep and landmarks is None:
            reason = reason or "landmarks found in less than half of the frames"
        if reason:
            reasons.add(reason)
            yield {**times, "reason": reason}
        else:
            usable += 1
            parts = _parts(window, media) | ({} if landmarks is None else {LANDMARKS: encode_landmarks(landmarks)})
            yield {**times, "face": window.face, "parts": parts}
    if not usable:
        raise MediaError(", ".join(sorted(reasons)))


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
        if not is_finite(error):
            raise MediaError(f"its mel_err {NOT_FINITE}")
        parts["mel_err.npy"] = encode_array(error)
    if "waveform" not in media.keep:
        del parts["wav"]
    elif len(samples) != len(window.samples):
        parts["wav"] = encode_wav(window.samples, SAMPLE_RATE)
    if "frames" in media.keep:
        parts["mjpeg"] = b"".join(window.frames)
    return parts


@functools.cache
def reconstruction(config: ReconstructionConfig) -> "Reconstruction":
    """Return the diffusion model of mel_err, loaded once. Raises UserError if it cannot be loaded."""
    from avdfd.media.reconstruction import Reconstruction  # rarely needed, and slow to import

    return Reconstruction(config)


def _windows(
    path: str | Path, pieces: list[AudioPiece], media: MediaConfig, reading: Reading, all_faces: bool, buffer: int
) -> Iterator[Window]:
    """Yield windows whose frames are JPEG, or which have a reason if there is no face."""
    video = read_video(path, media.decoder, reading)
    first = next(video, None)
    if first is None:
        raise MediaError("no frame could be decoded")
    shape = first.shape
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
    if _buffer_size(shape, first.duration, pieces, media) > buffer:
        yield from cropper.decoded_twice(frames, again, cut)
    else:
        yield from cropper.buffered(frames, cut)


def _buffer_size(shape: tuple[int, ...], duration: float, pieces: list[AudioPiece], media: MediaConfig) -> float:
    """Estimate the bytes of all windows' decoded frames, each distinct frame once, at 1.5 bytes per pixel."""
    starts = list(starts_of(-np.inf, pieces, media))[: media.max_windows or None]
    seconds = sum(piece.end - piece.start for piece in pieces)
    most = frames_of(media.max_seconds) if media.whole else FRAMES

    rate = 1 / duration if duration else 60
    return min(len(starts) * most, seconds * rate) * 1.5 * shape[0] * shape[1]
