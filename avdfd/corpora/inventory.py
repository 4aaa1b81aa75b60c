"""What a video file is, told by opening it: its bytes, streams, edge silence and fingerprints."""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from avdfd.core.errors import MediaError
from avdfd.core.files import sha256_of
from avdfd.features.acoustics import edge_silence
from avdfd.features.mel import SAMPLE_RATE
from avdfd.media.decode import first_stream, open_media, read_audio, read_video
from avdfd.media.fingerprints import picture_hash, sound_hash

# Root mean square below which all of a sound is silence, as in avdfd.media.windows.
_SILENCE = 10 ** (-70 / 20)
# A file whose packets end this long (s) before the stated end has lost its end.
_LOST = 1.0


class Streams(NamedTuple):
    """What the container of a file states. Seconds, Hz, frames per second, pixels; None where it does not say."""

    duration: float | None = None
    video_codec: str | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    audio_codec: str | None = None
    sample_rate: int | None = None
    channels: int | None = None


class Facts(NamedTuple):
    """What is known of a file. `error` says why it cannot be used; what was learned before it stays."""

    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    streams: Streams = Streams()
    leading_silence: float | None = None
    trailing_silence: float | None = None
    sound_hash: bytes | None = None
    picture_hash: bytes | None = None
    error: str = ""


def examine(path: Path) -> Facts:
    """Everything about a file; runs in a worker, as decoding may crash. What is wrong with it is in `error`."""
    cv2.setNumThreads(1)  # there is one worker per core already
    torch.set_num_threads(1)
    facts = stamp(path)
    if facts.error:
        return facts
    try:
        facts = facts._replace(sha256=sha256_of(path))
        facts = facts._replace(streams=read_streams(path))
        facts = facts._replace(picture_hash=picture_hash(read_video(path, "pyav")))
        samples = np.concatenate([sound.samples for sound in read_audio(path)])
        leading, trailing = edge_silence(samples, SAMPLE_RATE)
        facts = facts._replace(leading_silence=leading, trailing_silence=trailing)
        if np.sqrt(np.square(samples).mean()) < _SILENCE:
            raise MediaError("silent audio")
        facts = facts._replace(sound_hash=sound_hash(samples))
    except MediaError as error:
        return facts._replace(error=str(error))
    except OSError as error:
        return facts._replace(error=f"cannot be read ({error.strerror})")
    return facts


def stamp(path: Path) -> Facts:
    """Size and time of change of a file: equal as long as nobody wrote to it."""
    try:
        status = path.stat()
    except OSError as error:
        return Facts(error=f"cannot be read ({error.strerror})")
    return Facts(size=status.st_size, mtime_ns=status.st_mtime_ns)


def read_streams(path: Path) -> Streams:
    """What a file states of its first video and first audio stream, without decoding. Raises MediaError."""
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
    """The streams of a file, after a look at all its packets, without decoding them.

    Raises MediaError if a stream is not there or the file ends before the time it states.
    """
    streams = read_streams(path)
    with open_media(path) as container:
        video, _ = first_stream(container, "video"), first_stream(container, "audio")
        shown = [float(p.pts * video.time_base) for p in container.demux(video) if p.pts is not None and p.size]
        begin = (container.start_time or 0) / 1e6
    if not shown:
        raise MediaError("no picture in it")
    if streams.duration and max(shown) - begin < streams.duration - _LOST:
        raise MediaError(f"truncated: {max(shown) - begin:.2f} s of the stated {streams.duration:.2f} s are there")
    return streams


def _found(container: Any, kind: str) -> Any:
    try:
        return first_stream(container, kind)
    except MediaError:
        return None
