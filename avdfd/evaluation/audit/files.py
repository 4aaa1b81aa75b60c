"""Cues of media files, for the shortcut probes."""

from pathlib import Path
from typing import Any

import av
import numpy as np

from avdfd.core.errors import MediaError
from avdfd.features.acoustics import edge_silence, loudness, spectral_edge

CUES = ("duration", "loudness", "edge_silence", "file_size", "bit_rate", "sample_rate", "spectral_edge", "tags")


def measure(path: Path | str) -> dict[str, Any]:
    """The cues of one file: duration (s), loudness (RMS, dB of full scale), edge_silence (s, before and after the
    sound together), file_size (bytes), bit_rate (bits/s of the whole file), sample_rate (Hz), spectral_edge (Hz up to
    which there is sound, `avdfd.features.acoustics`), tags (what the container says of itself and its streams).

    Raises MediaError for a file without readable sound.
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
        raise MediaError(f"{path}: no sound in it")
    sound = np.concatenate(pieces)
    size = float(path.stat().st_size)
    return {
        "duration": duration,
        "loudness": loudness(sound),
        "edge_silence": sum(edge_silence(sound, rate)),
        "file_size": size,
        "bit_rate": 8 * size / duration,
        "sample_rate": float(rate),
        "spectral_edge": spectral_edge(sound, rate),
        "tags": tags,
    }


def _tags(container: Any) -> frozenset[str]:
    """What a container states of itself and its streams: names of fields, each alone and with its value."""
    facts = {"format": container.format.name, **container.metadata}
    for stream in container.streams:
        context = stream.codec_context
        if context is not None:
            names = ("name", "profile", "width", "height", "pix_fmt", "framerate", "channels")
            known = {name: getattr(context, name, None) for name in names}
            facts |= {f"{stream.type}.{name}": value for name, value in {**known, **stream.metadata}.items()}
    present = {name: value for name, value in facts.items() if value is not None}
    return frozenset([*present, *(f"{name}={value}" for name, value in present.items())])
