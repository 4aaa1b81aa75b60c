"""The rule by which a score uses the relation of audio and video. Needs no torch, as the report states it."""

from collections.abc import Mapping, Sequence
from typing import Any

from avdfd.core.tiers import FVRA

JUDGED_SHIFT = 400
"""Milliseconds of the shift that the rule takes."""
SHUFFLED_TIER = FVRA.name
"""Tier that the rule takes: its audio is real, so that only its video can show the fake."""


def judged(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any] | None]:
    """Return the tests of real clips that the rule takes; None for one that was not possible."""
    shift = next((one["both"] for one in result["shifts"] if one["ms"] == JUDGED_SHIFT), None)
    return {"stranger": result["stranger"], "shift": shift}


def verdict(result: Mapping[str, Any], branch: str) -> dict[str, Any]:
    """Return whether a branch `uses` the relation of audio and video, and each of the `checks`:

    `stranger`  the lower end of the interval of AUC for a stranger's audio is above 0.5
    `shift`     so is that for audio moved by 400 ms, in both directions together
    `shuffled`  shuffling the frames lowers AUC on FVRA: the interval of the difference excludes 0

    A check that was not possible is None. The relation is used if all are True; the last one may be None if there are
    no clips of FVRA. A score of a single frame (`one_image` of the result) has no order and no time, and is judged by
    the stranger's audio alone; to one that takes no video (`audio_only`), the question does not apply, and `uses` is
    None.
    """
    if branch in result["audio_only"]:
        return {"uses": None, "checks": {}}
    loss = result["shuffled_loss"]

    def above(interval: Sequence[float] | None, chance: float) -> bool | None:
        return None if interval is None else interval[0] > chance

    checks = {
        name: above(of["branches"][branch]["auc_interval"], 0.5) if of else None for name, of in judged(result).items()
    }
    if branch in result["one_image"]:
        return {"uses": checks["stranger"] is True, "checks": {"stranger": checks["stranger"]}}
    checks["shuffled"] = above(loss[branch]["interval"], 0.0) if loss else None
    needed = ("stranger", "shift", "shuffled") if loss else ("stranger", "shift")
    return {"uses": all(checks[name] is True for name in needed), "checks": checks}
