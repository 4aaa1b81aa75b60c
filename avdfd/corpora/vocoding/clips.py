"""Files of the fakes beside the real clips of a root: `own/<way>/<source>.wav`."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avdfd.core.clips import Clip
from avdfd.core.errors import MediaError
from avdfd.core.files import write_atomic
from avdfd.core.tiers import OWN_METHOD
from avdfd.corpora.vocoding import RATE, SHORTEST, WAYS, remake
from avdfd.elements.form import encode_wav
from avdfd.media.audio import join_pieces, read_audio

FOLDER = "own"


class Task(NamedTuple):
    """A fake to be made: the real file, the output, the way, and the name that seeds all draws."""

    path: Path
    out: Path
    way: str
    source: str


def make(task: Task) -> None:
    """Write a fake. Runs in a worker. Raises MediaError, also for audio that is too short to be analysed."""
    torch.set_num_threads(1)  # there is one worker per core already
    pieces = read_audio(task.path, video=False)
    samples = join_pieces(pieces, pieces[-1].end)
    if len(samples) < SHORTEST:
        raise MediaError(f"{len(samples) / RATE:.2f} s of audio are too short: {SHORTEST / RATE:.2f} s are needed")
    made = remake(samples, task.way, task.source)
    write_atomic(task.out, encode_wav(made / max(1.0, float(np.abs(made).max())), RATE))


def name_of(source: str, way: str) -> str:
    """Return the path of a fake, relative to the root."""
    return f"{FOLDER}/{way}/{source}.wav"


def fake_of(clip: Clip, way: str) -> Clip:
    """Return the clip that is re-synthesised from a real one, with its identities and page."""
    source = name_of(clip.source, way)
    return replace(clip, source=source, tier=WAYS[way].tier.name, base=clip.source, method=OWN_METHOD + way)
