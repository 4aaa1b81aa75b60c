"""Elements of the splits, as the config of a run selects them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from avdfd.config import RunConfig
from avdfd.core.tiers import RVRA_V
from avdfd.datasets.samplers import with_fakes
from avdfd.elements import ElementMeta, coded
from avdfd.elements.protocol import Store
from avdfd.splits.lists import assign, check_classes, of_tiers, read_splits, take, without_elements


class TrainingElements(NamedTuple):
    """Elements that a training takes."""

    train: Sequence[ElementMeta]
    """Real windows, and fake ones with enough fake seconds (`data.min_fake`)."""
    validation: Sequence[ElementMeta]
    absent: str
    """Sentence about the identities in the lists that have no elements; empty if all have some."""


def training_elements(config: RunConfig, store: Store, tiers: Iterable[str] | None = None) -> TrainingElements:
    """Read the split lists once and return the elements to train and to validate on, of the tiers of `split_metas`.

    Raises UserError as `split_metas` does, and if no window of a fake has enough fake seconds.
    """
    lists = read_splits(config.data.splits)
    members = assign(store.metas, lists)
    tiers = None if tiers is None else [*tiers]
    train, validation = (_of_split(config, store, members, split, tiers) for split in ("train", "validation"))
    train = with_fakes(train, config.data.min_fake, config.data.elements)
    return TrainingElements(train, validation, without_elements(store.metas, lists))


def split_metas(
    config: RunConfig, store: Store, split: str, tiers: Iterable[str] | None = None
) -> Sequence[ElementMeta]:
    """Return the elements of a split: RVRA and the given fake tiers (default: the config's of this split).

    Checks all splits.

    Raises UserError for overlapping splits, and for a split that lacks real elements or wanted fakes.
    """
    return _of_split(config, store, assign(store.metas, read_splits(config.data.splits)), split, tiers)


def vocoded_elements(store: Store, splits: str | Path, split: str) -> Sequence[ElementMeta]:
    """Return the elements of vocoded real clips (RVRA-V) of a split, or of the whole store for "all"."""
    if split == "all" or RVRA_V.name not in coded(store.metas, "tier").values:
        return of_tiers(store.metas, {RVRA_V.name})
    return of_tiers(take(store.metas, assign(store.metas, read_splits(splits))[split]), {RVRA_V.name})


def absent_identities(config: RunConfig, store: Store) -> str:
    """Return a sentence about the identities in the split lists that have no elements; empty if all have some."""
    return without_elements(store.metas, read_splits(config.data.splits))


def _of_split(
    config: RunConfig,
    store: Store,
    members: Mapping[str, Sequence[int]],
    split: str,
    tiers: Iterable[str] | None = None,
) -> Sequence[ElementMeta]:
    """Return the elements of a split, whose positions are `members[split]`: RVRA and the given fake tiers (default: the
    config's of this split). Raises UserError if real elements or wanted fakes are missing.
    """
    wanted = {"RVRA", *(config.data.tiers_of(split) if tiers is None else tiers)}
    fakes = wanted != {"RVRA"}
    if split == "train" and config.data.vocoded:
        wanted.add(RVRA_V.name)
    present = take(store.metas, members[split])
    metas = of_tiers(present, wanted)
    check_classes(metas, split, config.data.splits, fakes=fakes, among=present)
    return metas
