"""Protocols that draw split lists. A list names its clips, so that it is the same on every machine.

No identity, source clip or near-duplicate is in two splits. A clip with identities of two splits, as in most face
swaps, or with a near-duplicate in a later split is left out, and counted. Two clips are near-duplicates if their bytes,
their video or their audio match. Identities are drawn within strata of race, gender and kinds of clips.

References:
    Khalid et al., "FakeAVCeleb", NeurIPS 2021 (methods).
    Oorloff et al., "AVFF", CVPR 2024 (70/30, leave one method out).
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024
    (five balanced folds).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from operator import attrgetter

import numpy as np

from avdfd.core.clips import ClipMeta
from avdfd.core.errors import UserError
from avdfd.core.tiers import RVRA
from avdfd.splits.files import SplitList, SplitRow
from avdfd.splits.lists import SPLITS
from avdfd.splits.strata import Stratum, deal, strata_of

CATEGORIES = ("RVRA", "RVFA", "FVRA", "FVFA")
METHODS = {
    "RVFA": ("RVFA", None),
    "FVRA-WL": ("FVRA", "wav2lip"),
    "FVFA-FS": ("FVFA", "faceswap-wav2lip"),
    "FVFA-GAN": ("FVFA", "fsgan-wav2lip"),
    "FVFA-WL": ("FVFA", "wav2lip"),
}
"""Name of a left-out method -> tier and method of FakeAVCeleb; None = all methods of the tier."""

Keep = Callable[[ClipMeta, str], bool]
"""(clip, split) -> True if a protocol takes the clip in that split."""

_GIVEN = {"": SPLITS, "train": SPLITS[:1], "held": SPLITS[1:], "untested": SPLITS[:2]}
"""Given fact about the split of an identity, as in the authors' lists -> splits that it is drawn into."""


def fractions(
    clips: Iterable[ClipMeta],
    shares: Mapping[str, float],
    seed: int,
    *,
    given: Mapping[str, str] | None = None,
    duplicates: Iterable[Sequence[str]] = (),
    keep: Keep = lambda clip, split: True,
    kind: Callable[[ClipMeta], str] = attrgetter("tier"),
    least: Mapping[str, int] | None = None,
) -> SplitList:
    """Draw identities into train, validation and test by `shares`, each with all its clips.

    They are drawn within strata of race, gender and the kinds of their clips, as named by `kind`. `given` maps some
    identities to "train", "held" (drawn into validation and test) or "untested" (into training and validation).
    `duplicates` are groups of sources that are near-duplicates. A split into which too few are drawn gets `least`
    identities with real clips, and one with fakes, from the others. Raises UserError for too few identities.
    """
    clips, given = unique_clips(clips), given or {}
    strata = strata_of(clips, kind)
    unknown = sorted(given.keys() - strata.keys())
    if unknown:
        raise UserError(f"the given lists name {len(unknown)} identities without clips, e.g. '{unknown[0]}'")
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for place, splits in _GIVEN.items():
        identities = {identity: stratum for identity, stratum in strata.items() if given.get(identity, "") == place}
        split_of |= deal(identities, {split: shares[split] for split in splits}, rng)
    if least is not None:
        _top_up(split_of, strata, least, given.keys())

    chosen = SplitList([])
    placed = []
    for clip, split in _place(clips, split_of, chosen.left_out):
        if keep(clip, split):
            placed.append((clip, split))
        else:
            chosen.left_out["not in this protocol"] += 1
    for clip, split in _without_copies(placed, duplicates, chosen.left_out):
        chosen.rows.append(SplitRow(split, clip.identities[0], clip.source))
    check_filled(chosen, clips, keep)
    return chosen


def _top_up(
    split_of: dict[str, str], strata: Mapping[str, Stratum], least: Mapping[str, int], fixed: Collection[str]
) -> None:
    """Move identities, but not the fixed ones, to splits with fewer than `least` real ones, or without fakes.

    With fewer real identities than that, one in every split is enough.
    """
    real = [identity for identity, stratum in strata.items() if RVRA.name in stratum.kinds]
    fake = [identity for identity, stratum in strata.items() if stratum.kinds and RVRA.name not in stratum.kinds]
    one = dict.fromkeys(SPLITS, 1)
    for identities, wanted in ((real, least if len(real) >= sum(least.values()) else one), (fake, one)):
        for _ in range(sum(wanted.values())):
            spare = Counter(split_of[identity] for identity in identities)
            spare.subtract(wanted)
            lacking = [split for split in SPLITS if spare[split] < 0]
            movable = [identity for identity in identities if spare[split_of[identity]] > 0 and identity not in fixed]
            if not lacking or not movable:
                break
            split_of[max(movable, key=lambda identity: (spare[split_of[identity]], identity))] = lacking[0]


def without(name: str) -> Keep:
    """Return a `keep` for `fractions` that tests on the fakes of one of METHODS alone and trains on all others."""

    def keep(clip: ClipMeta, split: str) -> bool:
        return clip.tier == RVRA.name or (_is(name, clip) == (split == "test"))

    return keep


def method_of(clip: ClipMeta) -> str:
    """Return the name in METHODS of a clip's method, or else its tier."""
    return next((name for name in METHODS if _is(name, clip)), clip.tier)


def real_only(clip: ClipMeta, split: str) -> bool:
    """A `keep` for `fractions` that trains on real clips alone."""
    return split != "train" or clip.tier == RVRA.name


def balanced_folds(
    clips: Iterable[ClipMeta],
    count: int,
    validation: float,
    seed: int,
    *,
    duplicates: Iterable[Sequence[str]] = (),
    trained_on: Sequence[Collection[str]] = (),
) -> list[SplitList]:
    """Draw `count` folds of identities: each is the test split once, and a `validation` share of the others selects.

    With `trained_on`, which has the identities of the authors' training list of each fold, all others are its test
    split. Otherwise identities are drawn within strata of race and gender. Each has one clip of every category, drawn
    for each fold from its clips without identities or near-duplicates of another split. An identity that lacks such a
    clip in one category is left out of the fold, so that the categories stay balanced. The published protocol has no
    validation split: it selects on the test fold. Raises UserError for too few identities.
    """
    clips = [clip for clip in unique_clips(clips) if clip.tier in CATEGORIES]
    strata = strata_of(clips, attrgetter("tier"))
    identities = {identity for identity, stratum in strata.items() if len(stratum.kinds) == len(CATEGORIES)}
    if len(identities) < 3 * count and not trained_on:
        raise UserError(
            f"{len(identities)} identities have clips of all of {', '.join(CATEGORIES)}; "
            f"{count} folds need {3 * count} or more"
        )
    duplicates = list(duplicates)
    rng = np.random.default_rng(seed)
    if trained_on:
        _check_have_clips(strata, trained_on)
        tested = [strata.keys() - {*listed} for listed in trained_on]
    else:
        part_of = deal(strata, dict.fromkeys(range(count), 1.0), rng)
        tested = [{identity for identity, part in part_of.items() if part == fold} for fold in range(count)]
    return [
        _fold(
            clips,
            identities,
            dict.fromkeys(test, "test")
            | deal(
                {identity: stratum for identity, stratum in strata.items() if identity not in test},
                {"validation": validation, "train": 1 - validation},
                rng,
            ),
            duplicates,
            rng,
        )
        for test in tested
    ]


def _check_have_clips(strata: Mapping[str, Stratum], lists: Iterable[Collection[str]]) -> None:
    """Raise UserError for an identity in a list that has no clips."""
    named = {identity for listed in lists for identity in listed}
    unknown = sorted(named - strata.keys())
    if unknown:
        raise UserError(
            f"the given lists name {len(named)} identities, {len(unknown)} of them without clips, e.g. '{unknown[0]}'; "
            "take the store or manifest of the whole data set"
        )


def _fold(
    clips: Sequence[ClipMeta],
    identities: Set[str],
    split_of: Mapping[str, str],
    duplicates: Iterable[Sequence[str]],
    rng: np.random.Generator,
) -> SplitList:
    """Draw one clip of each category for every identity that has one of each."""
    fold = SplitList([])
    unused: Counter[str] = Counter()  # a fold leaves out most clips, so it counts identities instead
    of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for clip, _ in _without_copies(_place(clips, split_of, unused), duplicates, unused):
        of[clip.identities[0], clip.tier].append(clip.source)
    for identity in sorted(identities, key=lambda identity: (SPLITS.index(split_of[identity]), identity)):
        fitting = [of[identity, category] for category in CATEGORIES]
        if all(fitting):
            chosen = (sources[int(rng.integers(len(sources)))] for sources in fitting)
            fold.rows += [SplitRow(split_of[identity], identity, source) for source in chosen]
        else:
            fold.left_out["identities without a suitable clip of every category"] += 1
    check_filled(fold, clips, lambda clip, split: True)
    return fold


def _is(name: str, clip: ClipMeta) -> bool:
    tier, method = METHODS[name]
    return clip.tier == tier and method in (None, clip.method)


def unique_clips(clips: Iterable[ClipMeta]) -> list[ClipMeta]:
    """Return one item per clip, by source; an element store has one per window."""
    return [clip for _, clip in sorted({clip.source: clip for clip in clips}.items())]


def _place(
    clips: Iterable[ClipMeta], split_of: Mapping[str, str], left_out: Counter[str]
) -> list[tuple[ClipMeta, str]]:
    """Return each clip with the split of its identities, if all of them are in the same."""
    placed = []
    for clip in clips:
        splits = {split_of[identity] for identity in clip.identities}
        if len(splits) == 1:
            placed.append((clip, splits.pop()))
        else:
            left_out["has identities of two splits" if splits else "has no known identity"] += 1
    return placed


def _without_copies(
    placed: Sequence[tuple[ClipMeta, str]], duplicates: Iterable[Sequence[str]], left_out: Counter[str]
) -> list[tuple[ClipMeta, str]]:
    """Return the clips that share no file, source clip or near-duplicate with a clip of a later split."""
    rank_of = {clip.source: SPLITS.index(split) for clip, split in placed}
    copies: set[str] = set()
    for value in (attrgetter("sha256"), attrgetter("base")):
        last: dict[str, int] = {}
        for clip, _ in placed:
            last[value(clip)] = max(last.get(value(clip), 0), rank_of[clip.source])
        copies.update(clip.source for clip, _ in placed if rank_of[clip.source] < last[value(clip)])
    for group in duplicates:
        there = [source for source in group if source in rank_of]
        highest = max((rank_of[source] for source in there), default=0)
        copies.update(source for source in there if rank_of[source] < highest)
    left_out["near-duplicate of a clip of another split"] += len(copies)
    return [(clip, split) for clip, split in placed if clip.source not in copies]


def check_filled(chosen: SplitList, clips: Sequence[ClipMeta], keep: Keep) -> None:
    """Raise UserError unless every split has real clips, and fakes if the protocol takes any in that split."""
    tier_of = {clip.source: clip.tier for clip in clips}
    fakes = [clip for clip in clips if clip.tier != RVRA.name]
    with_real, with_fakes = (
        len({clip.identities[0] for clip in clips if (clip.tier == RVRA.name) == real and clip.identities})
        for real in (True, False)
    )
    for split in SPLITS:
        real = {tier_of[row.source] == RVRA.name for row in chosen.rows if row.split == split}
        lacks_fakes = False not in real and any(keep(clip, split) for clip in fakes)
        lacking = "no clip" if not real else "no real clip" if True not in real else "no fake" if lacks_fakes else ""
        if lacking:
            reasons = chosen.reasons()
            raise UserError(
                f"too few identities: {lacking} is left for {split}; identities with real clips: {with_real}, with "
                f"fakes: {with_fakes}; every split needs its own: add clips of others"
                + (f" ({reasons})" if reasons else "")
            )
