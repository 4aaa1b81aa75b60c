"""Vocoded real clips (RVRA-V) in split lists: they follow the clip that they were made of, but are not trained on."""

from collections.abc import Sequence

from avdfd.core.clips import ClipMeta
from avdfd.core.tiers import RVRA_V
from avdfd.splits.draw import unique_clips
from avdfd.splits.files import SplitList, SplitRow

TRAINED = "vocoded real clip of a training clip; --train-vocoded lists it"
ALONE = "vocoded from a clip that is in no split"


def apart(clips: Sequence[ClipMeta]) -> tuple[list[ClipMeta], list[ClipMeta]]:
    """Return the clips of all other tiers, which a protocol draws, and the vocoded ones; each clip once."""
    once = unique_clips(clips)
    return [clip for clip in once if clip.tier != RVRA_V.name], [clip for clip in once if clip.tier == RVRA_V.name]


def add_vocoded(chosen: SplitList, vocoded: Sequence[ClipMeta], *, train: bool = False) -> None:
    """Add vocoded clips to the split of their original; to training only if `train`. The others are left out."""
    split_of = {row.source: row.split for row in chosen.rows}
    for clip in vocoded:
        split = split_of.get(clip.base)
        if split is not None and (train or split != "train"):
            chosen.rows.append(SplitRow(split, clip.identities[0], clip.source))
            continue
        reason = ALONE if split is None else TRAINED
        chosen.left_out[reason] += 1
        chosen.listed.append((clip.source, reason))
