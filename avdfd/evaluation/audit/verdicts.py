"""Verdicts on an audit, given as the `audit` of report.json:

{"probes": {"elements": {tier: {cue: {"auc", "by_chance", "shortcut"}}}, "files": ...},
 "leaks": [{"kind", "what", "splits", "clips"}, ...], "clips": {split: n}}
"""

from collections.abc import Mapping
from typing import Any

from avdfd.evaluation.audit.probes import SHORTCUT

Found = tuple[str, str, float]
"""Tier, cue and AUC of a probe."""


def shortcuts(audit: Mapping[str, Any]) -> list[Found]:
    """Return the probes that found a shortcut, the strongest first."""
    return _above_limit(audit, shortcut=True)


def possible_shortcuts(audit: Mapping[str, Any]) -> list[Found]:
    """Return the probes whose AUC is as high as that of a shortcut but may be so by chance, the highest first."""
    return _above_limit(audit, shortcut=False)


def passes(audit: Mapping[str, Any]) -> bool:
    """Return True if the audit found no shortcut and no leak between splits."""
    return not shortcuts(audit) and not audit.get("leaks")


def _above_limit(audit: Mapping[str, Any], *, shortcut: bool) -> list[Found]:
    found = [
        (tier, cue, probe["auc"])
        for tiers in audit.get("probes", {}).values()
        for tier, cues in tiers.items()
        for cue, probe in cues.items()
        if probe["auc"] > SHORTCUT and probe["shortcut"] == shortcut
    ]
    return sorted(found, key=lambda line: -line[2])
