"""Inspection of a media file: its bytes, streams, leading and trailing silence, and fingerprints."""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.core.files import sha256_of
from avdfd.features.acoustics import edge_silence
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.decode import first_stream, open_media, read_audio, read_video
from avdfd.media.fingerprints import audio_hash, video_hash

# Root mean square below which audio is silent, as in avdfd.media.windows.
_SILENCE = 10 ** (-70 / 20)
# A file whose packets end this many seconds before its stated duration is truncated.
_LOST = 1.0


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
        facts = facts._replace(picture_hash=video_hash(read_video(path, "pyav")))
        samples = np.concatenate([block.samples for block in read_audio(path)])
        leading, trailing = edge_silence(samples, SAMPLE_RATE)
        facts = facts._replace(leading_silence=leading, trailing_silence=trailing)
        if np.sqrt(np.square(samples).mean()) < _SILENCE:
            raise MediaError("silent audio")
        facts = facts._replace(sound_hash=audio_hash(samples))
    except MediaError as error:
        return facts._replace(error=str(error))
    except OSError as error:
        return facts._replace(error=f"cannot be read ({error.strerror})")
    return facts


def stamp(path: Path) -> FileFacts:
    """Return size and modification time of a file alone: both stay equal as long as it is not written to."""
    try:
        status = path.stat()
    except OSError as error:
        return FileFacts(error=f"cannot be read ({error.strerror})")
    return FileFacts(size=status.st_size, mtime_ns=status.st_mtime_ns)


def read_streams(path: Path) -> Streams:
    """Return the metadata of a file's first video and first audio stream, without decoding. Raises MediaError."""
    with open_media(path) as container:
        video, audio = _found(container, "video"), _found(container, "audio")
        return Streams(
            duration=container.duration / 1e6 if container.duration else None,
            video_codec=video.codec_context.name if video else None,
            fps=float(video.average_rate) if video and video.average_rate else None,
            width=video.codec_context.width if video else None,
            height=video.codec_context.height if video else None,
            audio_codec=audio.codec_context.name if audio else None,
            sample_rate=audio.codec_context.sample_rate if audio else None,
            channels=audio.codec_context.layout.nb_channels if audio else None,
        )


def probe(path: Path) -> Streams:
    """Return the streams of a file after reading all its packets, without decoding them.

    Raises MediaError if the file has no video or no audio stream, or ends before its stated duration.
    """
    streams = read_streams(path)
    with open_media(path) as container:
        video, _ = first_stream(container, "video"), first_stream(container, "audio")
        shown = [float(p.pts * video.time_base) for p in container.demux(video) if p.pts is not None and p.size]
        begin = (container.start_time or 0) / 1e6
    if not shown:
        raise MediaError("no video frames")
    if streams.duration and max(shown) - begin < streams.duration - _LOST:
        raise MediaError(f"truncated: {max(shown) - begin:.2f} s of the stated {streams.duration:.2f} s exist")
    return streams


def _found(container: Any, kind: str) -> Any:
    try:
        return first_stream(container, kind)
    except MediaError:
        return None
