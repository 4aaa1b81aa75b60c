"""Protocol of an evaluation: what the system was trained on, compared with what it is tested on.

    within                  every kind of fake in the test was trained on; the identities are new
    cross-manipulation      at least one kind of fake is new to the system
    leave one method out    the split lists hold one method back for the test
    cross-dataset           the elements come from another store
    real-only               the system was trained on real clips only
    published weights       its authors trained it: the lists and tiers of its config say nothing about that

A kind of fake is a tier and a method. Identities are never those of training or validation
(`avdfd.splits.lists.check_unseen`), except in a fold that is tested as its authors published it: `shared_identities`
counts the clips concerned, and is None where no training list is known.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.config import RunConfig
from avdfd.core.tiers import FAKES, RVRA
from avdfd.elements import ElementMeta, coded
from avdfd.splits.lists import assign, of_tiers, read_split_json, read_splits, shared_identities, take

LEAVE_ONE_OUT = "leave_one_method_out"
PUBLISHED = "published weights"
"""Name of the protocol of weights that were not trained here."""
_LEFT_OUT = "without_"


def describe(
    configs: Sequence[RunConfig],
    *,
    trains_on_fakes: bool,
    published: bool = False,
    own: Sequence[ElementMeta] | None,
    tested: Sequence[ElementMeta],
) -> dict[str, Any]:
    """Return the `protocol` of report.json: name, split lists, trained and tested tiers, new kinds of fakes.

    `configs` are those that the weights were trained under, the run's own first. `own` are all elements of the store
    that the system was trained on, or None if it is tested on another store; its training tiers are then taken from
    the configs. `trains_on_fakes` is False for a system that is trained on real clips only. What `published` weights
    were trained on is not known, so nothing is called new to them.
    """
    config = configs[0]
    lists, facts = read_splits(config.data.splits), read_split_json(config.data.splits)
    kinds = _kinds(of_tiers(tested, set(coded(tested, "tier").values) - {RVRA.name}))
    trained: set[tuple[str, str | None]] = set()
    elsewhere = published and trains_on_fakes
    for one in configs if trains_on_fakes and not elsewhere else []:
        same_store = Path(one.data.elements).resolve() == Path(config.data.elements).resolve()
        trained |= _trained(one, own if same_store else None)
    tiers = {tier for tier, _ in trained}
    count = {split: list(lists.split_of.values()).count(split) for split in ("train", "validation")}
    new = {(tier, method) for tier, method in kinds if not trained & {(tier, method), (tier, None)}}
    if elsewhere:
        name, new = PUBLISHED, set()
    elif own is None:
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
        "judged_tiers": sorted({tier for tier, _ in kinds}),
        "new_tiers": sorted({tier for tier, _ in new} - tiers),
        "new_kinds": sorted(f"{tier} {method}".rstrip() for tier, method in new),
        "shared_identities": shared_identities(tested, lists) if lists.published and count["train"] else None,
        "people": {} if elsewhere else count,
    }


def fitted_tiers(protocol: Mapping[str, Any]) -> list[str]:
    """Return the fake tiers of validation by which thresholds and temperatures of a system are fitted: those that it
    was trained on, or all if that is not known."""
    return [*FAKES] if protocol["name"] == PUBLISHED else [*protocol["trained_tiers"]]


def _trained(config: RunConfig, own: Sequence[ElementMeta] | None) -> set[tuple[str, str | None]]:
    """Return the kinds of fakes that a config trains on. Without the elements their methods are unknown: None."""
    if own is None:
        return {(tier, None) for tier in config.data.fake_tiers}
    train = take(own, assign(own, read_splits(config.data.splits))["train"])
    if not len(train):  # a published checkpoint, and a store of its test clips
        return _trained(config, None)
    return {*_kinds(of_tiers(train, config.data.fake_tiers))}


def _kinds(metas: Sequence[ElementMeta]) -> set[tuple[str, str]]:
    """Return the pairs of tier and method of the elements."""
    tier, method = coded(metas, "tier"), coded(metas, "method")
    pairs = np.unique(np.stack([tier.codes, method.codes]), axis=1).T
    return {(tier.values[t], method.values[m]) for t, m in pairs.tolist()}
