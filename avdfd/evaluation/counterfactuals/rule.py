"""The rule by which a score uses the relation of audio and video. Needs no torch, as the report states it."""

from collections.abc import Mapping, Sequence
from typing import Any

from avdfd.core.tiers import FVRA

JUDGED_SHIFT = 400
"""Milliseconds of the shift that the rule takes."""
SHUFFLED_TIER = FVRA.name
"""Tier that the rule takes: its audio is real, so that only its video can show the fake."""


def verdict(result: Mapping[str, Any], branch: str) -> dict[str, Any]:
    """Return whether a branch `uses` the relation of audio and video, and each of the `checks`:

    `stranger`  the lower end of the interval of AUC for a stranger's audio is above 0.5
    `shift`     so is that for audio moved by 400 ms, in both directions together
    `shuffled`  shuffling the frames lowers AUC on FVRA: the interval of the difference excludes 0

    A check that was not possible is None. The relation is used if all are True; the last one may be None if there are
    no clips of FVRA.
    """
    stranger = result["stranger"]
    shift = next((one for one in result["shifts"] if one["ms"] == JUDGED_SHIFT), None)
    loss = result["shuffled_loss"]

    def above(interval: Sequence[float] | None, chance: float) -> bool | None:
        return None if interval is None else interval[0] > chance

    checks = {
        "stranger": above(stranger["branches"][branch]["auc_interval"], 0.5) if stranger else None,
        "shift": above(shift["both"]["branches"][branch]["auc_interval"], 0.5) if shift else None,
        "shuffled": above(loss[branch]["interval"], 0.0) if loss else None,
    }
    needed = ("stranger", "shift", "shuffled") if loss else ("stranger", "shift")
    return {"uses": all(checks[name] is True for name in needed), "checks": checks}
