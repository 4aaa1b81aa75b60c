"""Which protocol an evaluation follows: what a system was trained on beside what it is judged on.

    within                  every kind of fake that is judged was trained on; other people
    cross-manipulation      none of them was, or some were not
    leave one method out    the lists left one method for the test
    cross-dataset           the elements are of another store
    real-only               no fake was trained on

A kind of fake is a tier and a method. People are always others than in training and validation
(`avdfd.splits.lists.check_unseen`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.config import RunConfig
from avdfd.core.tiers import RVRA
from avdfd.elements import ElementMeta, coded
from avdfd.splits.lists import assign, of_tiers, read_split_json, read_splits, take

LEAVE_ONE_OUT = "leave_one_method_out"
_LEFT_OUT = "without_"


def describe(
    configs: Sequence[RunConfig],
    *,
    sees_fakes: bool,
    own: Sequence[ElementMeta] | None,
    judged: Sequence[ElementMeta],
) -> dict[str, Any]:
    """The protocol as report.json has it: name, lists, tiers that were trained on and judged, kinds of fakes that are
    new to the system.

    `configs` are all that its weights were trained under, the run's own first. `own` are all elements of the store that
    it was trained on, None where another one is judged; then the configs say what it was trained on. `sees_fakes`:
    whether its training does.
    """
    config = configs[0]
    lists, facts = read_splits(config.data.splits), read_split_json(config.data.splits)
    tested = _kinds(of_tiers(judged, set(coded(judged, "tier").values) - {RVRA.name}))
    trained: set[tuple[str, str | None]] = set()
    for one in configs if sees_fakes else []:
        same_store = Path(one.data.elements).resolve() == Path(config.data.elements).resolve()
        trained |= _trained(one, own if same_store else None)
    tiers = {tier for tier, _ in trained}
    new = {(tier, method) for tier, method in tested if not trained & {(tier, method), (tier, None)}}
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
        "trained_tiers": sorted(tiers),
        "judged_tiers": sorted({tier for tier, _ in tested}),
        "new_tiers": sorted({tier for tier, _ in tested} - tiers),
        "new_kinds": sorted(f"{tier} {method}".rstrip() for tier, method in new),
        "people": {split: list(lists.split_of.values()).count(split) for split in ("train", "validation")},
    }


def _trained(config: RunConfig, own: Sequence[ElementMeta] | None) -> set[tuple[str, str | None]]:
    """Kinds of fakes that a config trains on. Without the elements their methods are not known, and are None."""
    if own is None:
        return {(tier, None) for tier in config.data.fake_tiers}
    train = take(own, assign(own, read_splits(config.data.splits))["train"])
    return {*_kinds(of_tiers(train, config.data.fake_tiers))}


def _kinds(metas: Sequence[ElementMeta]) -> set[tuple[str, str]]:
    """Tier and method of what is there."""
    tier, method = coded(metas, "tier"), coded(metas, "method")
    pairs = np.unique(np.stack([tier.codes, method.codes]), axis=1).T
    return {(tier.values[t], method.values[m]) for t, m in pairs.tolist()}
