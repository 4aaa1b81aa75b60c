"""The worst errors of a system: which clips are furthest on the wrong side of the other class, and how they look.

A fake is as wrong as the part of the real clips that score higher, a real clip as the part of the fakes that score
lower; over all clips of a class, the mean of it is 1 - AUC. No threshold has a part in it.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from avdfd.elements import ElementMeta
from avdfd.elements.form import encode_frame
from avdfd.elements.protocol import Store
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.features.mel import FRAMES
from avdfd.metrics.paired import placements

_SHOWN = (0, FRAMES // 2, FRAMES - 1)
_STEP = 2  # a thumbnail has every second pixel


def worst(
    clips: ScoredClips, windows: ScoredClips, metas: Sequence[ElementMeta], main: str, count: int = 6
) -> list[dict[str, Any]]:
    """For report.json: of each class the `count` clips that are most wrong, if they are wrong at all, the worst first.

    `windows` are the same clips' windows, in the order of `metas`; `key` names the most wrong one of a clip.
    """
    wrong = 1 - np.mean([placements(clips.label, one) for one in clips.scores[main]], axis=0)
    score, by_window = clips.scores[main].mean(axis=0), windows.scores[main].mean(axis=0)
    found = []
    for label in (1, 0):
        members = np.flatnonzero((clips.label == label) & (wrong > 0))
        away = np.abs(label - score)
        for i in members[np.lexsort((-away[members], -wrong[members]))][:count].tolist():
            mine = np.flatnonzero(windows.source == clips.source[i])
            window = int(mine[np.abs(label - by_window[mine]).argmax()])
            found.append(
                {
                    "clip": clips.source[i],
                    "tier": clips.tier[i],
                    "label": label,
                    "score": float(score[i]),
                    "wrong": float(wrong[i]),
                    "key": metas[window].key,
                    "start": metas[window].start,
                }
            )
    return found


def gallery(
    clips: ScoredClips, windows: ScoredClips, store: Store, metas: Sequence[ElementMeta], main: str, videos: str | None
) -> dict[str, Any]:
    """For report.json: the worst errors, with pictures if the store has any; `videos` is the root of the clips."""
    found = worst(clips, windows, metas, main)
    return {
        "videos": videos,
        "worst": [one | {"picture": thumbnail(store, one["key"]) if store.has_frames else None} for one in found],
    }


def thumbnail(store: Store, key: str) -> str:
    """The first, middle and last picture of an element, side by side, as the base64 of a JPEG."""
    frames = store.read(key, mel=False, frames=_SHOWN).frames
    return b64encode(encode_frame(np.concatenate([frame[::_STEP, ::_STEP] for frame in frames], axis=1), 80)).decode()
