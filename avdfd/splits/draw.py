"""Named protocols: which clips train, select and test. Every list names its clips, so that it means the same anywhere.

No person, source clip or near-duplicate is in two splits: a clip that shows people of two, as most face swaps would,
or that is a copy of one of a later split, is left out, and counted. A copy is one by its bytes, its picture or its
sound: each of them alone would tell. People are drawn within their race, gender and kinds of clips.

References:
    Khalid et al., "FakeAVCeleb", NeurIPS 2021 (methods).
    Oorloff et al., "AVFF", CVPR 2024 (70/30, leave one method out).
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024
    (five balanced folds).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from operator import attrgetter

import numpy as np

from avdfd.core.clips import ClipMeta
from avdfd.core.errors import UserError
from avdfd.core.tiers import RVRA
from avdfd.splits.files import SplitList, SplitRow
from avdfd.splits.lists import SPLITS
from avdfd.splits.strata import deal, strata_of

CATEGORIES = ("RVRA", "RVFA", "FVRA", "FVFA")
METHODS = {
    "RVFA": ("RVFA", None),
    "FVRA-WL": ("FVRA", "wav2lip"),
    "FVFA-FS": ("FVFA", "faceswap-wav2lip"),
    "FVFA-GAN": ("FVFA", "fsgan-wav2lip"),
    "FVFA-WL": ("FVFA", "wav2lip"),
}
"""Name of a left-out method -> tier and method of FakeAVCeleb (None for all of the tier)."""

Keep = Callable[[ClipMeta, str], bool]
"""(clip, split) -> whether a protocol wants it there."""

_GIVEN = {"": SPLITS, "train": SPLITS[:1], "held": SPLITS[1:]}
"""What the authors' lists say of a person -> the splits that are left to draw from."""


def fractions(
    clips: Iterable[ClipMeta],
    shares: Mapping[str, float],
    seed: int,
    *,
    given: Mapping[str, str] | None = None,
    duplicates: Iterable[Sequence[str]] = (),
    keep: Keep = lambda clip, split: True,
    kind: Callable[[ClipMeta], str] = attrgetter("tier"),
) -> SplitList:
    """People drawn into train, validation and test by `shares`, with all their clips.

    They are drawn within their race, gender and the kinds of clips that are theirs, which `kind` names.
    `given` says where some people are; of "held" ones, validation and test take parts by their shares.
    `duplicates` are groups of sources that show or say the same. Raises UserError for too few people.
    """
    clips, given = once(clips), given or {}
    strata = strata_of(clips, kind)
    unknown = sorted(given.keys() - strata.keys())
    if unknown:
        raise UserError(f"the given lists name {len(unknown)} people without clips, e.g. '{unknown[0]}'")
    rng = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    for place, splits in _GIVEN.items():
        people = {person: stratum for person, stratum in strata.items() if given.get(person, "") == place}
        split_of |= deal(people, {split: shares[split] for split in splits}, rng)

    chosen = SplitList([])
    placed = []
    for clip, split in _place(clips, split_of, chosen.left_out):
        if keep(clip, split):
            placed.append((clip, split))
        else:
            chosen.left_out["not of this protocol"] += 1
    for clip, split in _without_copies(placed, duplicates, chosen.left_out):
        chosen.rows.append(SplitRow(split, clip.identities[0], clip.source))
    check_filled(chosen, clips, keep)
    return chosen


def without(name: str) -> Keep:
    """For `fractions`: the fakes of one of METHODS are tested, and they alone; all others are trained on."""

    def keep(clip: ClipMeta, split: str) -> bool:
        return clip.tier == RVRA.name or (_is(name, clip) == (split == "test"))

    return keep


def method_of(clip: ClipMeta) -> str:
    """The one of METHODS that a clip is made by, or else its tier."""
    return next((name for name in METHODS if _is(name, clip)), clip.tier)


def real_only(clip: ClipMeta, split: str) -> bool:
    """For `fractions`: nothing but real clips in training."""
    return split != "train" or clip.tier == RVRA.name


def balanced_folds(
    clips: Iterable[ClipMeta],
    count: int,
    validation: float,
    seed: int,
    *,
    duplicates: Iterable[Sequence[str]] = (),
) -> list[SplitList]:
    """`count` folds of people: those of one part are tested, a `validation` share of all others is for selection.

    People are drawn within their race and gender. Everybody gives one clip of each category, drawn anew for every fold
    among those that show nobody of another split and have no copy there; a person without such a clip of every
    category is left out of the fold, so that the categories stay balanced. The published protocol has no validation
    people: it selects on the test fold. Raises UserError for fewer people than it takes.
    """
    clips = [clip for clip in once(clips) if clip.tier in CATEGORIES]
    strata = strata_of(clips, attrgetter("tier"))
    people = {person for person, stratum in strata.items() if len(stratum.kinds) == len(CATEGORIES)}
    if len(people) < 3 * count:
        raise UserError(
            f"{len(people)} people have clips of all of {', '.join(CATEGORIES)}; {count} folds take {3 * count} or more"
        )
    duplicates = list(duplicates)
    rng = np.random.default_rng(seed)
    part_of = deal(strata, dict.fromkeys(range(count), 1.0), rng)
    return [
        _fold(
            clips,
            people,
            {person: "test" for person, part in part_of.items() if part == tested}
            | deal(
                {person: stratum for person, stratum in strata.items() if part_of[person] != tested},
                {"validation": validation, "train": 1 - validation},
                rng,
            ),
            duplicates,
            rng,
        )
        for tested in range(count)
    ]


def _fold(
    clips: Sequence[ClipMeta],
    people: Set[str],
    split_of: Mapping[str, str],
    duplicates: Iterable[Sequence[str]],
    rng: np.random.Generator,
) -> SplitList:
    """One clip of each category for everybody of whom there is one of each."""
    fold = SplitList([])
    unused: Counter[str] = Counter()  # a fold leaves most clips out: it counts people instead
    of: dict[tuple[str, str], list[str]] = defaultdict(list)
    for clip, _ in _without_copies(_place(clips, split_of, unused), duplicates, unused):
        of[clip.identities[0], clip.tier].append(clip.source)
    for person in sorted(people, key=lambda person: (SPLITS.index(split_of[person]), person)):
        fitting = [of[person, category] for category in CATEGORIES]
        if all(fitting):
            chosen = (sources[int(rng.integers(len(sources)))] for sources in fitting)
            fold.rows += [SplitRow(split_of[person], person, source) for source in chosen]
        else:
            fold.left_out["people without a clip of every category that fits their split alone"] += 1
    check_filled(fold, clips, lambda clip, split: True)
    return fold


def _is(name: str, clip: ClipMeta) -> bool:
    tier, method = METHODS[name]
    return clip.tier == tier and method in (None, clip.method)


def once(clips: Iterable[ClipMeta]) -> list[ClipMeta]:
    """Clips by path; an element store has one for every window."""
    return [clip for _, clip in sorted({clip.source: clip for clip in clips}.items())]


def _place(
    clips: Iterable[ClipMeta], split_of: Mapping[str, str], left_out: Counter[str]
) -> list[tuple[ClipMeta, str]]:
    """Each clip with the split of the people in it, if that is one."""
    placed = []
    for clip in clips:
        splits = {split_of[identity] for identity in clip.identities}
        if len(splits) == 1:
            placed.append((clip, splits.pop()))
        else:
            left_out["shows people of two splits" if splits else "of nobody that is known"] += 1
    return placed


def _without_copies(
    placed: Sequence[tuple[ClipMeta, str]], duplicates: Iterable[Sequence[str]], left_out: Counter[str]
) -> list[tuple[ClipMeta, str]]:
    """The clips that share no file, source clip or near-duplicate with one of a later split: what is tested stays."""
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
    left_out["a copy of a clip of another split"] += len(copies)
    return [(clip, split) for clip, split in placed if clip.source not in copies]


def check_filled(chosen: SplitList, clips: Sequence[ClipMeta], keep: Keep) -> None:
    """Every split has somebody, real clips, and fakes where there are any that the protocol takes."""
    tier_of = {clip.source: clip.tier for clip in clips}
    fakes = [clip for clip in clips if clip.tier != RVRA.name]
    for split in SPLITS:
        real = {tier_of[row.source] == RVRA.name for row in chosen.rows if row.split == split}
        lacks_fakes = False not in real and any(keep(clip, split) for clip in fakes)
        lacking = "nobody" if not real else "no real clip" if True not in real else "no fake" if lacks_fakes else ""
        if lacking:
            reasons = chosen.reasons()
            raise UserError(
                f"too few people: {lacking} is left for {split}; the protocol needs more clips"
                + (f" ({reasons})" if reasons else "")
            )
