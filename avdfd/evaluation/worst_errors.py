"""The worst errors of a system: the clips that rank furthest among the other class, with thumbnails.

A fake is as wrong as the fraction of real clips that score higher, a real clip as the fraction of fakes that score
lower. The mean over a class is 1 - AUC. No threshold is involved.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from avdfd.elements import ElementMeta
from avdfd.elements.form import encode_frame
from avdfd.elements.protocol import Store
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.features.window import FRAMES
from avdfd.metrics.paired import placements

_SHOWN = (0, FRAMES // 2, FRAMES - 1)
_STEP = 2  # a thumbnail has every second pixel of each side


def worst(
    clips: ScoredClips, windows: ScoredClips, metas: Sequence[ElementMeta], main: str, count: int = 6
) -> list[dict[str, Any]]:
    """Return, for report.json, the `count` most wrong clips of each class, the worst first; correct clips are left out.

    `windows` are the windows of the same clips, in the order of `metas`; `key` names the most wrong window of a clip,
    of those with its label if there are any.
    """
    wrong = 1 - np.mean([placements(clips.label, one) for one in clips.scores[main]], axis=0)
    score, by_window = clips.scores[main].mean(axis=0), windows.scores[main].mean(axis=0)
    found = []
    for label in (1, 0):
        members = np.flatnonzero((clips.label == label) & (wrong > 0))
        away = np.abs(label - score)
        for i in members[np.lexsort((-away[members], -wrong[members]))][:count].tolist():
            mine = np.flatnonzero(windows.source == clips.source[i])
            alike = mine[windows.label[mine] == label]
            mine = alike if len(alike) else mine
            window = int(mine[np.abs(label - by_window[mine]).argmax()])
            found.append(
                {
                    "clip": clips.source[i],
                    "tier": clips.tier[i],
                    "label": label,
                    "score": float(score[i]),
                    "scores": {name: float(values[:, i].mean()) for name, values in clips.scores.items()},
                    "wrong": float(wrong[i]),
                    "key": metas[window].key,
                    "start": metas[window].start,
                }
            )
    return found


def gallery(
    clips: ScoredClips, windows: ScoredClips, store: Store, metas: Sequence[ElementMeta], main: str, videos: str | None
) -> dict[str, Any]:
    """Return the `failures` of report.json: the worst errors, with thumbnails if the store has frames.

    `videos` is the root of the source videos.
    """
    found = worst(clips, windows, metas, main)
    return {
        "videos": videos,
        "worst": [one | {"picture": thumbnail(store, one["key"]) if store.has_frames else None} for one in found],
    }


def thumbnail(store: Store, key: str) -> str:
    """Return the first, middle and last frame of an element side by side, as the base64 of a JPEG."""
    frames = store.read(key, mel=False, frames=_SHOWN).frames
    return b64encode(encode_frame(np.concatenate([frame[::_STEP, ::_STEP] for frame in frames], axis=1), 80)).decode()
