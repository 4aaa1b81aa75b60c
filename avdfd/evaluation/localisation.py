"""Localisation of the fake periods in a clip, measured as LAV-DF and AV-Deepfake1M measure it.

A system's score over time is its P(fake) of each window, the mean where windows overlap. The evidence of the method's
detectors is finer: the log-ratio of consistency at every frame, or, with two branches, the discrepancy in eight steps
of a window. Proposals are made from either (`avdfd.metrics.localisation`).

N clips   S runs of one system
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avdfd.core.clips import PERIOD_FIELDS
from avdfd.elements import ElementMeta, coded
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.features.window import SECONDS
from avdfd.inference.scoring import Scores
from avdfd.metrics import bootstrap
from avdfd.metrics.localisation import Matches, curve, match, measures, propose
from avdfd.metrics.roc import Floats

EVIDENCE = "discrepancy"
"""Name of the score from the steps of the windows."""
LESS_IN_SYNC, UNUSUAL = "consistency, less in sync", "consistency, unusual for the clip"
"""Names of the scores from frames: the negative log-ratio of consistency, and its distance from the clip's median,
which presupposes no side."""


def localise(
    metas: Sequence[ElementMeta], windows: ScoredClips, scores: Scores, *, replicates: int, seed: int
) -> dict[str, Any] | None:
    """Return the `localisation` of report.json; None if no clip is partly fake.

    Fake periods are those of either modality. Clips in which a modality is fake throughout are left out; proposals in
    real clips are false ones. `windows` and `scores` are those of `metas`.
    """
    if not any(text for name in PERIOD_FIELDS for text in coded(metas, name).values):
        return None
    _, first, clip = np.unique(coded(metas, "source").codes, return_index=True, return_inverse=True)
    periods = [metas[i].fake_periods_of_either for i in first.tolist()]
    if not any(periods):
        return None
    judged = [number for number, of in enumerate(periods) if of is not None]
    members = np.split(np.argsort(clip, kind="stable"), np.cumsum(np.bincount(clip))[:-1])
    truth = [np.array(periods[number]).reshape(-1, 2) for number in judged]
    identity = windows.identity[first[judged]]
    assert windows.times is not None, "windows have times"
    start, end = windows.times.T

    def matched(values: Floats) -> Matches:
        curves = (curve(start[rows], end[rows], values[rows]) for rows in (members[number] for number in judged))
        return match([propose(one) for one in curves], truth)

    def section(values: Floats, source: str) -> dict[str, Any]:
        """Return the metrics of values (S, windows, steps)."""
        runs = [matched(one) for one in values]
        measured = bootstrap.measure(
            lambda weights, run: measures(runs[run], weights),
            None,
            identity,
            runs=len(runs),
            replicates=replicates,
            seed=seed,
        )
        return {"from": source, "proposals": int(np.mean([len(one.scores) for one in runs])), **measured}

    systems = {name: section(values[:, :, None], "windows") for name, values in windows.scores.items()}
    if scores.discrepancy is not None:
        systems[EVIDENCE] = section(own_steps(scores.discrepancy, end - start)[None], "steps of windows")
    if scores.frames is not None:
        log_ratio = own_steps(scores.frames, end - start)
        usual = np.array([np.median(log_ratio[rows]) for rows in members])[clip]
        systems[LESS_IN_SYNC] = section(-log_ratio[None], "frames")
        systems[UNUSUAL] = section(np.abs(log_ratio - usual[:, None])[None], "frames")
    return {
        "clips": len(judged),
        "partly_fake": sum(len(one) > 0 for one in truth),
        "periods": sum(len(one) for one in truth),
        "left_out": len(periods) - len(judged),
        "systems": systems,
    }


def own_steps(values: Floats, seconds: Floats) -> Floats:
    """Return values (N, steps) of even steps in N windows as even steps of the clip within the window.

    `seconds` (N,) are those of the clip: of one shorter than a window, which is repeated to fill it, the steps within
    its first run.
    """
    steps = values.shape[1]
    middles = (np.arange(steps) + 0.5) * np.minimum(seconds / SECONDS, 1)[:, None]
    return np.take_along_axis(values, middles.astype(np.int64), axis=1)
