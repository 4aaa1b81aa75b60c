"""Evaluation of the clips that OpenAVFF's lists name, from a store of their elements."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avdfd.core.errors import UserError
from avdfd.corpora.video_list import VideoList, prediction
from avdfd.elements import ElementMeta, coded
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.splits.lists import take


def elements_of(listed: VideoList, metas: Sequence[ElementMeta]) -> Sequence[ElementMeta]:
    """Return the elements of the listed videos. Raises UserError if there are none, or if a label is another one."""
    videos = {video.source: video for video in listed.videos}
    first = listed.videos[0]
    source = coded(metas, "source")
    wanted = np.array([name in videos for name in source.values], bool)[source.codes]
    chosen = take(metas, np.flatnonzero(wanted))
    if not len(chosen):
        raise UserError(
            f"{first.place.rpartition(':')[0]}: the store has none of its {len(videos)} videos, e.g. '{first.source}', "
            f"but '{metas[0].source}': paths are relative to the root that data/preprocess.py was given as `input`"
        )
    source, label = coded(chosen, "source"), coded(chosen, "label")
    for row in np.unique(np.stack([source.codes, label.codes]), axis=1).T.tolist():
        video, known = videos[source.values[row[0]]], label.values[row[1]]
        if video.target != known:
            raise UserError(f"{video.place}: '{video.name}' has target {video.target}, but label {known} in the store")
    return chosen


def predicted(listed: VideoList, clips: ScoredClips, main: str) -> tuple[list[tuple[str, ...]], dict[str, Any]]:
    """Return the rows of prediction.csv, and what report.json says about the lists.

    The score is that of the main branch, the mean over the runs of a system.
    """
    scores = dict(zip(clips.source.tolist(), clips.scores[main].mean(axis=0).tolist(), strict=True))
    about = {"videos": len(listed.videos), "scored": len(scores), "repeated": listed.repeated}
    return prediction(listed, scores), about
