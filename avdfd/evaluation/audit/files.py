"""Cues of media files, for the shortcut probes."""

from pathlib import Path
from typing import Any

import av
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.features.acoustics import edge_silence, loudness, spectral_edge

CUES = ("duration", "loudness", "edge_silence", "file_size", "bit_rate", "sample_rate", "spectral_edge", "tags")


def measure(path: Path | str) -> dict[str, Any]:
    """Return the cues of one file.

    duration (s), loudness (RMS, dB of full scale), edge_silence (s, at the start and the end together), file_size
    (bytes), bit_rate (bits/s of the whole file), sample_rate (Hz), spectral_edge (the highest frequency with audio, Hz,
    `avdfd.features.acoustics`), tags (metadata of the container and its streams).

    Raises MediaError for a file without readable audio.
    """
    path = Path(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path}: no audio stream")
            rate = container.streams.audio[0].rate
            duration = float(container.duration or 0) / av.time_base
            tags = _tags(container)
            resampler = av.AudioResampler("flt", "mono")
            pieces = [out.to_ndarray()[0] for f in container.decode(audio=0) for out in resampler.resample(f)]
    except av.FFmpegError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from error
    if not pieces or duration <= 0:
        raise MediaError(f"{path}: contains no audio")
    waveform = np.concatenate(pieces)
    size = float(path.stat().st_size)
    return {
        "duration": duration,
        "loudness": loudness(waveform),
        "edge_silence": sum(edge_silence(waveform, rate)),
        "file_size": size,
        "bit_rate": 8 * size / duration,
        "sample_rate": float(rate),
        "spectral_edge": spectral_edge(waveform, rate),
        "tags": tags,
    }


def _tags(container: Any) -> frozenset[str]:
    """Return the metadata of a container and its streams: the name of each field, alone and with its value."""
    facts = {"format": container.format.name, **container.metadata}
    for stream in container.streams:
        context = stream.codec_context
        if context is not None:
            names = ("name", "profile", "width", "height", "pix_fmt", "framerate", "channels")
            known = {name: getattr(context, name, None) for name in names}
            facts |= {f"{stream.type}.{name}": value for name, value in {**known, **stream.metadata}.items()}
    present = {name: value for name, value in facts.items() if value is not None}
    return frozenset([*present, *(f"{name}={value}" for name, value in present.items())])
