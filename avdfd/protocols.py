"""Named protocols: which clips train, select and test. Every list names its clips, so that it means the same anywhere.

No person, source clip or near-duplicate is in two splits: a clip that shows people of two, as most face swaps would,
is left out, and counted. People are drawn within their race and gender.

References:
    Khalid et al., "FakeAVCeleb", NeurIPS 2021 (methods).
    Oorloff et al., "AVFF", CVPR 2024 (70/30, leave one method out).
    Zou et al., "Cross-Modality and Within-Modality Regularization for Audio-Visual DeepFake Detection", ICASSP 2024
    (five balanced folds).
"""

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from avdfd.datasets.splits import CLIP_COLUMNS, SPLIT_FACTS, SPLITS
from avdfd.datasets.tiers import RVRA
from avdfd.errors import UserError
from avdfd.files import write_atomic

CATEGORIES = ("RVRA", "RVFA", "FVRA", "FVFA")
METHODS = {
    "RVFA": ("RVFA", None),
    "FVRA-WL": ("FVRA", "wav2lip"),
    "FVFA-FS": ("FVFA", "faceswap-wav2lip"),
    "FVFA-GAN": ("FVFA", "fsgan-wav2lip"),
    "FVFA-WL": ("FVFA", "wav2lip"),
}
"""Name of a left-out method -> tier and method of FakeAVCeleb (None for all of the tier)."""


class Facts(Protocol):
    """What is known of a clip; elements and manifest rows have it."""

    @property
    def source(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def race(self) -> str: ...
    @property
    def gender(self) -> str: ...
    @property
    def identities(self) -> Sequence[str]: ...


class Row(NamedTuple):
    """A clip of a list."""

    split: str
    identity: str
    source: str


@dataclass
class SplitList:
    """One list: its rows, and what was left out of it."""

    rows: list[Row]
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> clips."""


Keep = Callable[[Facts, str], bool]
"""(clip, split) -> whether a protocol wants it there."""


def fractions(
    clips: Iterable[Facts],
    shares: Mapping[str, float],
    seed: int,
    *,
    given: Mapping[str, str] | None = None,
    duplicates: Iterable[Iterable[str]] = (),
    keep: Keep = lambda clip, split: True,
) -> SplitList:
    """People drawn into train, validation and test by `shares`, within race and gender, with all their clips.

    `given` says where some people are; of "held" ones, validation and test take parts by their shares.
    `duplicates` are groups of sources that show or say the same. Raises UserError for too few people.
    """
    clips = _once(clips)
    split_of = _draw(clips, shares, given or {}, np.random.default_rng(seed))
    chosen = SplitList([])
    wanted: list[tuple[Facts, str]] = []
    for clip in clips:
        splits = {split_of.get(identity) for identity in clip.identities} - {None}
        if len(splits) != 1:
            chosen.left_out["shows people of two splits" if splits else "shows nobody of any split"] += 1
            continue
        (split,) = splits
        assert split is not None
        if keep(clip, split):
            wanted.append((clip, split))
        else:
            chosen.left_out["not of this protocol"] += 1
    shared = _crossing(wanted, duplicates)
    for clip, split in wanted:
        if clip.source in shared and split != "test":
            chosen.left_out["a copy of a clip of another split"] += 1
        else:
            chosen.rows.append(Row(split, clip.identities[0], clip.source))
    _check_filled(chosen.rows)
    return chosen


def without(name: str) -> Keep:
    """For `fractions`: the fakes of one of METHODS are tested, and they alone; all others are trained on."""
    tier, method = METHODS[name]

    def keep(clip: Facts, split: str) -> bool:
        if clip.tier == RVRA.name:
            return True
        return (clip.tier == tier and method in (None, clip.method)) == (split == "test")

    return keep


def real_only(clip: Facts, split: str) -> bool:
    """For `fractions`: nothing but real clips in training."""
    return split != "train" or clip.tier == RVRA.name


def balanced_folds(clips: Iterable[Facts], count: int, validation: float, seed: int) -> list[SplitList]:
    """`count` folds of people: those of one part are tested, a `validation` share of all others is for selection.

    Every person gives one clip of each category, drawn anew for every fold among those that show nobody of another
    split; a person without such a clip of every category is left out of the fold, so that the categories stay
    balanced. The published protocol has no validation people: it selects on the test fold.
    Raises UserError for fewer people than it takes.
    """
    of: dict[tuple[str, str], dict[str, Sequence[str]]] = defaultdict(dict)
    for clip in _once(clips):
        if clip.tier in CATEGORIES:
            of[clip.identities[0], clip.tier][clip.source] = clip.identities
    people = sorted({person for person, _ in of})
    people = [person for person in people if all((person, category) in of for category in CATEGORIES)]
    if len(people) < 3 * count:
        raise UserError(
            f"{len(people)} people have clips of all of {', '.join(CATEGORIES)}; {count} folds take {3 * count} or more"
        )
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(people), count)
    folds = []
    for tested in range(count):
        others = rng.permutation(np.concatenate([part for number, part in enumerate(parts) if number != tested]))
        held = max(1, round(validation * len(others)))
        split_of = {str(person): "test" for person in parts[tested]}
        split_of |= {str(person): "validation" for person in others[:held]}
        split_of |= {str(person): "train" for person in others[held:]}
        fold = SplitList([])
        for person in split_of:
            rows = _one_of_each(person, of, split_of, rng)
            fold.rows += rows
            fold.left_out["people without a clip of every category that shows nobody of another split"] += not rows
        folds.append(fold)
    return folds


def _once(clips: Iterable[Facts]) -> list[Facts]:
    """Clips by path; an element store has one for every window."""
    return [clip for _, clip in sorted({clip.source: clip for clip in clips}.items())]


def _draw(
    clips: Sequence[Facts], shares: Mapping[str, float], given: Mapping[str, str], rng: np.random.Generator
) -> dict[str, str]:
    """Person -> split: real people, within race and gender; a rest goes where most is missing."""
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for person, (race, gender) in sorted(
        {clip.identities[0]: (clip.race, clip.gender) for clip in clips if clip.tier == RVRA.name}.items()
    ):
        strata[race, gender].append(person)
    split_of, missing = {}, dict.fromkeys(SPLITS, 0.0)
    for _, people in sorted(strata.items()):
        for person in rng.permutation(people).tolist():
            allowed = {"held": SPLITS[1:]}.get(given.get(person, ""), (given[person],) if person in given else SPLITS)
            total = sum(shares[split] for split in allowed)
            for split in allowed:
                missing[split] += shares[split] / total
            split = max(allowed, key=lambda split: missing[split])
            missing[split] -= 1
            split_of[person] = split
    unknown = sorted(given.keys() - split_of.keys())
    if unknown:
        raise UserError(f"the given lists name {len(unknown)} people without real clips, e.g. '{unknown[0]}'")
    return split_of


def _crossing(wanted: Sequence[tuple[Facts, str]], duplicates: Iterable[Iterable[str]]) -> set[str]:
    """Sources that share a file, a source clip or a near-duplicate with a clip of another split."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    split_of = {clip.source: split for clip, split in wanted}
    for clip, _ in wanted:
        groups["file", clip.sha256].append(clip.source)
        groups["clip", clip.base].append(clip.source)
    for number, group in enumerate(duplicates):
        groups["copies", str(number)] += [source for source in group if source in split_of]
    crossing = (group for group in groups.values() if len({split_of[source] for source in group}) > 1)
    return {source for group in crossing for source in group}


def _check_filled(rows: Sequence[Row]) -> None:
    people = {split: {row.identity for row in rows if row.split == split} for split in SPLITS}
    empty = [split for split, members in people.items() if not members]
    if empty:
        raise UserError(f"too few people: nobody is left for {empty[0]}; the protocol needs more clips")


def _one_of_each(
    person: str,
    of: Mapping[tuple[str, str], Mapping[str, Sequence[str]]],
    split_of: Mapping[str, str],
    rng: np.random.Generator,
) -> list[Row]:
    """One clip of each category, or none at all."""
    rows = []
    for category in CATEGORIES:
        fitting = [
            source
            for source, shown in sorted(of[person, category].items())
            if all(split_of.get(other, split_of[person]) == split_of[person] for other in shown)
        ]
        if not fitting:
            return []
        rows.append(Row(split_of[person], person, fitting[int(rng.integers(len(fitting)))]))
    return rows


def save(folder: Path, protocol: str, seed: int, lists: Mapping[str, SplitList], clips: Iterable[Facts]) -> list[str]:
    """Writes each list as `<name>.csv`, and beside them, last, their counts and hashes. Returns a line about each."""
    tier_of = {clip.source: clip.tier for clip in clips}
    facts, lines = {}, []
    for name, one in lists.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CLIP_COLUMNS)
        writer.writerows(one.rows)
        data = text.getvalue().encode()
        write_atomic(folder / f"{name}.csv", data)
        facts[f"{name}.csv"] = {"sha256": hashlib.sha256(data).hexdigest(), **_counts(one, tier_of)}
        people = facts[f"{name}.csv"]["identities"]
        left_out = "".join(f"; {count} {reason}" for reason, count in one.left_out.items() if count)
        lines.append(f"{folder / name}.csv: {len(one.rows)} clips; people: {people}{left_out}")
    about = {"protocol": protocol, "seed": seed, "lists": facts}
    write_atomic(folder / SPLIT_FACTS, (json.dumps(about, indent=2) + "\n").encode())
    return lines


def _counts(one: SplitList, tier_of: Mapping[str, str]) -> dict[str, Any]:
    clips = {split: Counter(tier_of[row.source] for row in one.rows if row.split == split) for split in SPLITS}
    people = {split: len({row.identity for row in one.rows if row.split == split}) for split in SPLITS}
    return {"identities": people, "clips": clips, "left_out": one.left_out}
