"""Files beside the real clips of a root that they are made of: fakes `own/<way>/<source>.wav`, and vocoded clips that
stay real, `vocoded/<way>/<source>.wav`."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from avdfd.core.clips import UNKNOWN, Clip
from avdfd.core.errors import MediaError, UserError
from avdfd.core.files import write_atomic
from avdfd.core.tiers import OWN_METHOD, RVRA_V, VOCODED_METHOD
from avdfd.corpora.vocoding import RATE, SHORTEST, WAYS, remake, vocode
from avdfd.elements.form import encode_wav
from avdfd.media.audio import join_pieces, read_audio

FOLDER, REAL_FOLDER = "own", "vocoded"


def drawn(clips: Iterable[Clip], per_page: int) -> set[str]:
    """Return the sources of at most so many clips of each page: those with the smallest SHA-256 of their source.

    Raises UserError for clips without a page.
    """
    pages = defaultdict(list)
    for clip in clips:
        pages[clip.page].append(clip.source)
    if UNKNOWN in pages:
        raise UserError(
            f"per_page: no page is stated for {len(pages[UNKNOWN])} of the real clips, such as {min(pages[UNKNOWN])}: "
            "add it to clips.csv, or leave per_page out"
        )
    return {source for sources in pages.values() for source in sorted(sources, key=_digest)[:per_page]}


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


class Task(NamedTuple):
    """A file to be made: the real file, the output, the way, the name that seeds all draws, and whether it is real."""

    path: Path
    out: Path
    way: str
    source: str
    real: bool = False


def make(task: Task) -> None:
    """Write a file. Runs in a worker. Raises MediaError, also for audio that is too short to be analysed."""
    torch.set_num_threads(1)  # there is one worker per core already
    pieces = read_audio(task.path, video=False)
    samples = join_pieces(pieces, pieces[-1].end)
    if len(samples) < SHORTEST:
        raise MediaError(f"{len(samples) / RATE:.2f} s of audio are too short: {SHORTEST / RATE:.2f} s are needed")
    made = (vocode if task.real else remake)(samples, task.way, task.source)
    write_atomic(task.out, encode_wav(made / max(1.0, float(np.abs(made).max())), RATE))


def name_of(source: str, way: str, *, real: bool = False) -> str:
    """Return the path of a file that is made of a source, relative to the root."""
    return f"{REAL_FOLDER if real else FOLDER}/{way}/{source}.wav"


def clip_of(clip: Clip, way: str, *, real: bool = False) -> Clip:
    """Return the clip that is made of a real one, a fake or vocoded and `real`, with its identities and page."""
    source = name_of(clip.source, way, real=real)
    if real:
        return replace(clip, source=source, tier=RVRA_V.name, base=clip.source, method=VOCODED_METHOD + way)
    return replace(clip, source=source, tier=WAYS[way].tier.name, base=clip.source, method=OWN_METHOD + way)
