"""Facts about clips from what data sets state, or leave out: tiers from labels, and identities."""

import os
from collections.abc import Iterable
from typing import Any

from avdfd.core.clips import UNKNOWN
from avdfd.core.tiers import FAKE, FVFA, FVRA, RVFA, RVRA, Tier

REAL_WORDS = ("real", "0", "false", "bonafide", "genuine")
FAKE_WORDS = ("fake", "1", "true", "spoof")
NOT_KNOWN = "its label is not known"
"""Problem of a clip that its data set does not call real or fake."""
_UNSTATED = ("", "unknown", "none", "null", "nan")
_BY_MODALITY = {(0, 0): RVRA, (0, 1): RVFA, (1, 0): FVRA, (1, 1): FVFA}


def read_label(cell: Any, real: tuple[str, ...] = REAL_WORDS, fake: tuple[str, ...] = FAKE_WORDS) -> int | None:
    """Return the label in a cell of a table, 1 = fake, or None if it is empty or "unknown".

    Case is ignored, and 1.0 is 1. Raises ValueError for another cell, with what is expected.
    """
    integral = isinstance(cell, float) and cell.is_integer()
    word = str(int(cell) if integral else cell).strip().lower()
    if word in real or word in fake:
        return int(word in fake)
    if not states(cell):
        return None
    raise ValueError(f"'{str(cell)[:80]}'; expected {', '.join(real)} (real) or {', '.join(fake)} (fake)")


def states(cell: Any) -> bool:
    """Return False for a cell that says nothing: null, empty, or a word for that such as "nan"."""
    return cell is not None and str(cell).strip().lower() not in _UNSTATED


def tier_of(video: int | None, audio: int | None, label: int | None = None) -> Tier | None:
    """Return the tier that labels state (1 = fake, None = not stated), of the modalities and of the whole clip.

    A real clip has two real modalities, and a fake clip with one real modality has the other fake. A fake clip with a
    modality that is still not known has the tier FAKE, and other such clips none. Raises ValueError if the labels
    contradict each other.
    """
    if label == 0:
        video, audio = video or 0, audio or 0
    elif label == 1 and video is None and audio == 0:
        video = 1
    elif label == 1 and audio is None and video == 0:
        audio = 1
    stated = _BY_MODALITY.get((video, audio))  # type: ignore[arg-type]  # None is no key
    if stated is None:
        return FAKE if 1 in (video, audio, label) else None
    if label is not None and stated.label != label:
        raise ValueError("the label of the clip contradicts those of its modalities")
    return stated


def only_split(splits: Iterable[str]) -> str:
    """Return the split that all rows or identities of a clip have, and none if they differ or there are none."""
    found = set(splits)
    return found.pop() if len(found) == 1 else UNKNOWN


def own_identity(corpus: str, source: str) -> str:
    """Return the identity of a clip whose data set names none: its own path."""
    return f"{corpus}:{os.path.splitext(source)[0]}"
