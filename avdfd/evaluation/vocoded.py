"""False alarms on real speech that was vocoded or coded (RVRA-V): real clips that a detector of vocoders calls fake.

Such clips have no part in any other figure: neither AUC nor thresholds nor calibration depends on them.

    V clips of RVRA-V   S runs of one system
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from avdfd.core.tiers import VOCODED_METHOD
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, Fitted
from avdfd.evaluation.scored_clips import ScoredClips
from avdfd.metrics import bootstrap
from avdfd.metrics.roc import Floats


def summarise(
    vocoded: ScoredClips, overall: Mapping[str, Any], fitted: Fitted, *, replicates: int, seed: int
) -> dict[str, Any]:
    """Return the `vocoded` of report.json: the share of clips at or above each branch's threshold of validation, of all
    and by method, with intervals over identities, beside that of the other real clips (`overall`, from the report).

    A branch without a threshold has its mean score alone.
    """

    def section(clips: ScoredClips) -> dict[str, Any]:
        measured = {
            branch: _measure(clips, scores, fitted.get(branch), replicates, seed)
            for branch, scores in clips.scores.items()
        }
        return {"clips": len(clips), "identities": len(set(clips.identity)), **measured}

    names = [method.removeprefix(VOCODED_METHOD) for method in vocoded.method.tolist()]
    methods = np.array(names, object)
    real = {
        branch: {key: value for key, value in overall[branch].items() if key.startswith(FALSE_ALARMS)}
        for branch in vocoded.scores
    }
    return {
        "all": section(vocoded),
        "methods": {name: section(vocoded.where(methods == name)) for name in sorted(set(names))},
        "real": real,
    }


def _measure(
    clips: ScoredClips, scores: Floats, fitted: Mapping[str, Any] | None, replicates: int, seed: int
) -> dict[str, Any]:
    def statistic(weights: Floats | None, run: int) -> dict[str, Any]:
        counted = np.ones((1, len(clips))) if weights is None else weights
        total = counted.sum(axis=1)
        values = {"mean_score": counted @ scores[run] / total}
        if fitted is not None:
            alarms = scores[run] >= fitted["eer_threshold"][run]
            values[FALSE_ALARMS] = counted @ alarms / total
        return {name: value[0] for name, value in values.items()} if weights is None else values

    return bootstrap.measure(statistic, None, clips.identity, runs=len(scores), replicates=replicates, seed=seed)
