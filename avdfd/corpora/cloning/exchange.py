"""Sounds that go to a program and come back from it, as files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from avdfd.core.errors import MediaError
from avdfd.corpora.cloning.request import ConversionError, Request
from avdfd.features.mel import SAMPLE_RATE
from avdfd.media.decode import read_sound


def hand_over(request: Request, folder: Path) -> dict[str, str]:
    """Writes the sounds of a request; returns the paths of `source`, `reference` and, not there yet, `output`."""
    paths = {name: str((folder / f"{name}.wav").absolute()) for name in ("source", "reference", "output")}
    Path(paths["output"]).unlink(missing_ok=True)  # of the conversion before
    write_sound(Path(paths["source"]), request.source)
    write_sound(Path(paths["reference"]), request.reference)
    return paths


def take_back(paths: Mapping[str, str]) -> np.ndarray:
    """The samples (S,) that a program left. Raises ConversionError if that is not a sound file."""
    try:
        return read_sound(paths["output"])
    except MediaError as error:
        raise ConversionError(f"the program's result: {error}") from None


def write_sound(path: Path, samples: np.ndarray) -> None:
    """A sound (S,) at 16 kHz as a WAV file of 16 bits."""
    wavfile.write(path, SAMPLE_RATE, np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16))
