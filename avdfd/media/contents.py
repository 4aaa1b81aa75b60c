"""Contents of a media file as they are stored: audio at its own rate, duration and metadata."""

from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.media.ceilings import check_audio, check_seconds, longest_audio
from avdfd.media.container import open_media
from avdfd.media.streams import first_stream


class Contents(NamedTuple):
    """Audio and metadata of a file, before any resampling."""

    waveform: np.ndarray
    """(S,) float32, the mean of the channels."""
    rate: int
    """Sample rate in Hz."""
    duration: float
    """Duration in seconds, as the container states it."""
    tags: frozenset[str]
    """Metadata of the container and its streams: the name of each field, alone and with its value."""


def read_contents(path: Path) -> Contents:
    """Return the contents of a file. Raises MediaError for a file without readable audio."""
    try:
        with open_media(path) as container:
            stream = first_stream(container, "audio")
            duration = float(container.duration or 0) / av.time_base
            tags = _tags(container)
            waveform, rate = _decode(container, stream, longest_audio(path))
    except MediaError as error:
        raise MediaError(f"{path}: cannot be read ({error})") from None
    if duration <= 0:
        raise MediaError(f"{path}: contains no audio")
    return Contents(waveform, rate, duration, tags)


def _decode(container: Any, stream: Any, longest: float) -> tuple[np.ndarray, int]:
    """Return the audio of a stream, the mean of its channels, and its rate. Raises MediaError."""
    resampler = av.AudioResampler("flt", "mono")
    pieces: list[np.ndarray] = []
    seconds = 0.0
    for frame in container.decode(stream):
        check_audio(frame.rate, frame.layout.nb_channels)
        seconds += frame.samples / frame.rate
        check_seconds(seconds, longest)
        pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    if not pieces:
        raise MediaError("contains no audio")
    return np.concatenate(pieces), stream.rate


def _tags(container: Any) -> frozenset[str]:
    facts = {"format": container.format.name, **container.metadata}
    for stream in container.streams:
        context = stream.codec_context
        if context is not None:
            names = ("name", "profile", "width", "height", "pix_fmt", "framerate", "channels")
            known = {name: getattr(context, name, None) for name in names}
            facts |= {f"{stream.type}.{name}": value for name, value in {**known, **stream.metadata}.items()}
    present = {name: value for name, value in facts.items() if value is not None}
    return frozenset([*present, *(f"{name}={value}" for name, value in present.items())])
