"""Inspection of a media file: its bytes, streams, leading and trailing silence, and fingerprints."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from avdfd.core.clips import Clip
from avdfd.core.errors import MediaError
from avdfd.core.files import sha256_of
from avdfd.core.workers import Failure, run_killable
from avdfd.features.acoustics import SILENCE, edge_silence
from avdfd.features.window import SAMPLE_RATE, SECONDS
from avdfd.media.audio import read_audio
from avdfd.media.container import open_media
from avdfd.media.fingerprints import audio_hash, video_hash
from avdfd.media.packets import packets_of
from avdfd.media.streams import Reading, first_stream
from avdfd.media.truncation import Extent
from avdfd.media.video import Frame, read_video


class Streams(NamedTuple):
    """Container metadata of a file, in s, frames/s, pixels and Hz; None for what the container does not state."""

    duration: float | None = None
    video_codec: str | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    audio_codec: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    audio_stream: int | None = None
    """Index of the stream in the container, likewise below."""
    video_stream: int | None = None


class FileFacts(NamedTuple):
    """Facts about a file. `error` says why it cannot be used; facts found before the error are kept.

    Silences are in seconds; hashes are the fingerprints of avdfd.media.fingerprints.
    """

    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    streams: Streams = Streams()
    leading_silence: float | None = None
    trailing_silence: float | None = None
    sound_hash: bytes | None = None
    picture_hash: bytes | None = None
    damaged_frames: int | None = None
    """Frames that could not be decoded, of the audio and of as much video as its fingerprint takes (8 s)."""
    short: bool | None = None
    """True if the audio and the video have less than a window, 3.072 s, in common."""
    error: str = ""


def examine(path: Path) -> FileFacts:
    """Return all facts about a file; a problem is in `error`. Runs in a worker process, as decoding may crash."""
    cv2.setNumThreads(1)  # there is one worker per core already
    facts = stamp(path)
    if facts.error:
        return facts
    try:
        facts = facts._replace(sha256=sha256_of(path))
        facts = facts._replace(streams=read_streams(path))
        reading = Reading()
        shown = _Shown(read_video(path, "pyav", reading))
        facts = facts._replace(picture_hash=video_hash(shown))
        pieces = read_audio(path, reading=reading)
        common = min(shown.end, pieces[-1].end) - max(shown.start, pieces[0].start)
        facts = facts._replace(short=common < SECONDS)
        samples = np.concatenate([piece.samples for piece in pieces])
        taken = read_streams(path, reading)
        facts = facts._replace(streams=taken, damaged_frames=reading.damaged_frames)
        leading, trailing = edge_silence(samples, SAMPLE_RATE)
        facts = facts._replace(leading_silence=leading, trailing_silence=trailing)
        if np.sqrt(np.square(samples).mean()) < SILENCE:
            raise MediaError("silent audio")
        facts = facts._replace(sound_hash=audio_hash(samples))
    except MediaError as error:
        return facts._replace(error=str(error))
    except OSError as error:
        return facts._replace(error=f"cannot be read ({error.strerror})")
    return facts


class _Shown:
    """Iterator over frames that notes from when to when those read so far are shown, in seconds."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.frames = frames
        self.start, self.end = np.inf, -np.inf

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.frames:
            self.start, self.end = min(self.start, frame.time), frame.time + frame.duration
            yield frame


def stamp(path: Path) -> FileFacts:
    """Return size and modification time of a file alone: both stay equal as long as it is not written to."""
    try:
        status = path.stat()
    except OSError as error:
        return FileFacts(error=f"cannot be read ({error.strerror})")
    return FileFacts(size=status.st_size, mtime_ns=status.st_mtime_ns)


def hash_of(path: Path) -> str:
    """Return the sha256 of a file, empty if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def hash_all(paths: Collection[Path], *, workers: int, time_limit: float) -> Iterator[tuple[Path, str]]:
    """Yield files and their sha256, empty for those that cannot be read in time. Worker processes read them."""
    found = run_killable(hash_of, paths, workers=min(workers, len(paths)), time_limit=time_limit)
    return ((path, "" if isinstance(sha256, Failure) else sha256) for path, sha256 in found)


def read_streams(path: Path, reading: Reading | None = None) -> Streams:
    """Return the metadata of a file's video and audio stream, without decoding. Raises MediaError.

    They are those that `reading` names, or would be tried first.
    """
    reading = reading or Reading()
    with open_media(path) as container:
        video = _found(container, "video", reading.video_stream)
        audio = _found(container, "audio", reading.audio_stream)
        return Streams(
            duration=container.duration / 1e6 if container.duration else None,
            video_codec=video.codec_context.name if video else None,
            fps=float(video.average_rate) if video and video.average_rate else None,
            width=video.codec_context.width if video else None,
            height=video.codec_context.height if video else None,
            audio_codec=audio.codec_context.name if audio else None,
            sample_rate=audio.codec_context.sample_rate if audio else None,
            channels=audio.codec_context.layout.nb_channels if audio else None,
            audio_stream=audio.index if audio else None,
            video_stream=video.index if video else None,
        )


def check_periods(clip: Clip) -> None:
    """Raise MediaError if fake periods of a clip end after its file, with a second to spare for rounding and padding.

    So do periods of another version of the clip, and those in frames or milliseconds; their windows would be called
    real in silence.
    """
    last = max((end for periods in clip.fake_periods_by_modality for _, end in periods), default=0.0)
    duration = read_streams(clip.path).duration if last else None
    if duration is not None and last > duration + 1:
        raise MediaError(
            f"a fake period ends at {last:g} s, but the file at {duration:.1f} s: the periods are not in seconds, or "
            "of another version of it"
        )


def probe(path: Path) -> Streams:
    """Return the streams of a file after reading all its packets, without decoding them.

    Raises MediaError if the file has no video or no audio stream, or is truncated.
    """
    streams = read_streams(path)
    with open_media(path) as container:
        video, _ = first_stream(container, "video"), first_stream(container, "audio")
        extent = Extent(path, container, video)
        for packet in packets_of(container, [video]):
            extent.add(packet)
        if not extent.count:
            raise MediaError("no video frames")
        extent.check()
    return streams


def _found(container: Any, kind: str, index: int | None) -> Any:
    try:
        return first_stream(container, kind, index)
    except MediaError:
        return None
