"""Exchange of audio with a program, through files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from avdfd.core.errors import MediaError
from avdfd.core.files import naming
from avdfd.corpora.cloning.request import ConversionError, Request
from avdfd.features.window import SAMPLE_RATE
from avdfd.media.audio import read_waveform


def hand_over(request: Request, folder: Path) -> dict[str, str]:
    """Write the audio of a request; return the paths of `source`, `reference` and the `output` to be written."""
    paths = {name: str((folder / f"{name}.wav").absolute()) for name in ("source", "reference", "output")}
    Path(paths["output"]).unlink(missing_ok=True)  # of the previous conversion
    write_wav(Path(paths["source"]), request.source)
    write_wav(Path(paths["reference"]), request.reference)
    return paths


def take_back(paths: Mapping[str, str]) -> np.ndarray:
    """Return the samples (S,) that a program wrote. Raises ConversionError if they are not an audio file."""
    try:
        return read_waveform(paths["output"])
    except MediaError as error:
        raise ConversionError(f"the program's result: {error}") from None


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write samples (S,) at 16 kHz as a WAV file of 16 bits."""
    with naming(path):
        wavfile.write(path, SAMPLE_RATE, np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16))
