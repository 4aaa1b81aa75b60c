"""Contents of a media file as they are stored: audio at its own rate, duration and metadata."""

from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from avdfd.core.errors import MediaError
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
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path}: no audio stream")
            stream = first_stream(container, "audio")
            rate = stream.rate
            duration = float(container.duration or 0) / av.time_base
            tags = _tags(container)
            resampler = av.AudioResampler("flt", "mono")
            pieces = [out.to_ndarray()[0] for f in container.decode(stream) for out in resampler.resample(f)]
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if not pieces or duration <= 0:
        raise MediaError(f"{path}: contains no audio")
    return Contents(np.concatenate(pieces), rate, duration, tags)


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
