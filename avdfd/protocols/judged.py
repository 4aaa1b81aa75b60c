"""Which protocol an evaluation follows: what a system was trained on beside what it is judged on.

    within                  every kind of fake that is judged was trained on; other people
    cross-manipulation      none of them was, or some were not
    leave one method out    the lists left one method for the test
    cross-dataset           the elements are of another store
    real-only               no fake was trained on

A kind of fake is a tier and a method. People are always others than in training and validation
(`avdfd.datasets.splits.check_unseen`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.config import RunConfig
from avdfd.datasets.splits import assign, of_tiers, read_facts, read_splits, take
from avdfd.elements import ElementMeta, coded

LEAVE_ONE_OUT = "leave_one_method_out"
_LEFT_OUT = "without_"


def describe(
    config: RunConfig,
    *,
    sees_fakes: bool,
    own: Sequence[ElementMeta] | None,
    judged: Sequence[ElementMeta],
) -> dict[str, Any]:
    """The protocol as report.json has it: name, lists, tiers that were trained on and judged, kinds of fakes that are
    new to the system.

    `own` are all elements of the store that the run was trained on, None where another one is judged; then its config
    says what it was trained on. `sees_fakes`: whether its training does.
    """
    lists = read_splits(config.data.splits)
    facts = read_facts(config.data.splits)
    tested = _kinds(of_tiers(judged, set(coded(judged, "tier").values) - {"RVRA"}))
    if not sees_fakes:
        trained: set[tuple[str, str]] = set()
    elif own is None:
        trained = {(tier, "") for tier in config.data.fake_tiers}
    else:
        trained = _kinds(of_tiers(take(own, assign(own, lists)["train"]), config.data.fake_tiers))
    trained_tiers = sorted({tier for tier, _ in trained})
    new = tested - trained if own is not None else set()
    if own is None:
        name = "cross-dataset"
    elif not trained:
        name = "real-only"
    elif facts.get("protocol") == LEAVE_ONE_OUT:
        name = "leave one method out"
    else:
        name = "cross-manipulation" if new else "within"
    return {
        "name": name,
        "lists": config.data.splits,
        "lists_protocol": facts.get("protocol"),
        "left_out": Path(config.data.splits).stem.removeprefix(_LEFT_OUT) if name == "leave one method out" else None,
        "trained_tiers": trained_tiers,
        "judged_tiers": sorted({tier for tier, _ in tested}),
        "new_tiers": sorted({tier for tier, _ in tested} - set(trained_tiers)),
        "new_kinds": sorted(f"{tier} {method}".rstrip() for tier, method in new),
        "people": {split: list(lists.split_of.values()).count(split) for split in ("train", "validation")},
    }


def _kinds(metas: Sequence[ElementMeta]) -> set[tuple[str, str]]:
    """Tier and method of what is there."""
    tier, method = coded(metas, "tier"), coded(metas, "method")
    pairs = np.unique(np.stack([tier.codes, method.codes]), axis=1).T
    return {(tier.values[t], method.values[m]) for t, m in pairs.tolist()}
