"""Cues of media files, for the shortcut probes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avdfd.core.errors import MediaError, UserError
from avdfd.core.tree import leads_out
from avdfd.features.acoustics import edge_silence, loudness, spectral_edge
from avdfd.media.contents import read_contents

CUES = ("duration", "loudness", "edge_silence", "file_size", "bit_rate", "sample_rate", "spectral_edge", "tags")


def check(root: Path, sources: Iterable[str]) -> None:
    """Raise UserError if one of the files to be probed is missing, or not below the root."""
    for source in sources:
        if leads_out(source):
            raise UserError(f"{source!r}: the source of an element leads out of its root; copy the store again")
        if not (root / source).is_file():
            raise UserError(f"{root / source}: no such file; --probes takes the root of the elements' source files")


def measure_all(root: Path, sources: Iterable[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the cues of each file under `root`, and the reason for each file that has no readable audio."""
    cues, unreadable = {}, {}
    for source in sources:
        try:
            cues[source] = measure(root / source)
        except MediaError as error:
            unreadable[source] = str(error).removeprefix(f"{root / source}: ")
    return cues, unreadable


def measure(path: Path | str) -> dict[str, Any]:
    """Return the cues of one file.

    duration (s), loudness (RMS, dB of full scale), edge_silence (s, at the start and the end together), file_size
    (bytes), bit_rate (bits/s of the whole file), sample_rate (Hz), spectral_edge (the highest frequency with audio, Hz,
    `avdfd.features.acoustics`), tags (metadata of the container and its streams).

    Raises MediaError for a file without readable audio.
    """
    path = Path(path)
    waveform, rate, duration, tags = read_contents(path)
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
