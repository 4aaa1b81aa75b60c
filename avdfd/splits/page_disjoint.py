"""Page-disjoint folds, for collections from many web pages: the test pages of a fold are in no other split.

Fakes of one page share codec, level, system and speakers, and the same corpora and systems appear on several pages. So
the training clips of a fold share no page, method, vocoder, converter, identity or utterance with its validation and
test clips; those that do are left out and listed. Vocoders and converters come from a table
(`avdfd.splits.families`); a method that it does not know is its own family.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from avdfd.core.clips import ClipMeta
from avdfd.core.errors import UserError
from avdfd.core.tiers import OWN_METHOD, RVRA
from avdfd.splits.draw import check_filled, unique_clips
from avdfd.splits.families import Families
from avdfd.splits.files import SplitList, SplitRow

Pages = frozenset[str]

_LARGEST = 1.5
"""Largest number of fakes on the test pages of a fold, relative to an equal share; a larger page is a fold alone."""


class Trait(NamedTuple):
    """A property that clips of two pages may share."""

    kind: str
    value: str


def page_folds(
    clips: Iterable[ClipMeta],
    count: int,
    validation: float,
    *,
    table: Families | None = None,
    only_own: bool = False,
) -> list[SplitList]:
    """Return `count` folds of pages: each page with real clips and fakes is tested once, other pages only train.

    Pages that share most are tested together, as each would remove the other's clips from training. The validation
    pages have about a share `validation` of the remaining fakes, and are those that cost training least. A fake is
    trained on only together with a real clip of its identity. Nothing is random: equal clips give equal folds. Without
    a `table`, methods are compared by their names alone.

    Re-synthesised fakes (`avdfd.corpora.vocoding`) do not affect this: they are never validated or tested on, and are
    in training if their original is, unless their way, as `world`, is a method or a vocoder of held-out pages. Most
    ways are signal processing that no page publishes. With `only_own`, they are the only fakes in training.

    Raises UserError for clips without pages, too few pages, or `only_own` without re-synthesised fakes.
    """
    everything = unique_clips(clips)
    clips = [clip for clip in everything if not clip.method.startswith(OWN_METHOD)]
    own = [clip for clip in everything if clip.method.startswith(OWN_METHOD)]
    if only_own and not own:
        raise UserError("only fakes made by resynthesise.py were to be trained on, and there are none")
    family_of = families(fake_methods(clips))
    table = table or Families()
    traits = {clip.source: frozenset(_traits(clip, family_of, table)) for clip in clips}
    by_page: dict[str, list[ClipMeta]] = defaultdict(list)
    for clip in clips:
        by_page[clip.page].append(clip)
    whole = [page for page, members in sorted(by_page.items()) if _has_both(members)]
    if len(whole) < count + 1:
        raise UserError(
            f"{len(whole)} pages have real clips and fakes; {count} folds need {count + 1} or more. The pages of "
            "elements come from the column page of clips.csv"
        )
    groups = _groups({page: by_page[page] for page in whole}, traits, count)
    folds = [_fold(clips, tested, whole, traits, validation) for tested in groups]
    return [_with_own(fold, clips, own, table, only_own) for fold in folds]


def leave_pages_out(clips: Sequence[ClipMeta], table: Families) -> dict[str, tuple[list[int], list[int]]]:
    """Return, by page, the positions of its clips, and of the clips that share nothing with them.

    Those share no page, family of methods, vocoder, converter, identity or utterance. Re-synthesised fakes are not
    among the clips of a page that is left out.
    """
    family_of = families(fake_methods(clips))
    traits = [frozenset(_traits(clip, family_of, table)) for clip in clips]
    pages: dict[str, list[int]] = defaultdict(list)
    for at, clip in enumerate(clips):
        if not clip.method.startswith(OWN_METHOD):
            pages[clip.page].append(at)
    found = {}
    for page, held in sorted(pages.items()):
        seen = frozenset[Trait]().union(*(traits[at] for at in held))
        rest = [at for at, clip in enumerate(clips) if clip.page != page and not traits[at] & seen]
        found[page] = held, rest
    return found


def families(methods: Iterable[str]) -> dict[str, str]:
    """Return the family of each method.

    Two names are of one family if one has all words of the other (DiffWave, DiffWave-128), or through a third name.
    """
    names = sorted(methods)
    words = {name: _words(name) for name in names}
    family = {name: name for name in names}
    for one, other in itertools.combinations(names, 2):
        if _alike(words[one], words[other]):
            joined, left = family[one], family[other]
            family = {name: joined if group == left else group for name, group in family.items()}
    return family


def _words(name: str) -> set[str]:
    """Return the words of a method's name, or the name itself if it has none."""
    return set(re.findall(r"(?:[^\W_]|\+)+", name.casefold())) or {name}


def _alike(one: set[str], other: set[str]) -> bool:
    return one <= other or other <= one


def fake_methods(clips: Iterable[ClipMeta]) -> set[str]:
    """Return the methods of fakes, without those of re-synthesised ones."""
    return {clip.method for clip in clips if clip.tier != RVRA.name and not clip.method.startswith(OWN_METHOD)}


def _traits(clip: ClipMeta, family_of: dict[str, str], table: Families) -> Iterable[Trait]:
    yield from (Trait("speaker", identity) for identity in clip.identities)
    yield Trait("utterance", clip.base)
    yield Trait("file", clip.sha256)
    if clip.tier != RVRA.name:
        yield Trait("method", family_of.get(clip.method, clip.method))
        yield from (Trait(*part) for part in table.parts(clip.method, clip.page))


def _has_both(clips: Sequence[ClipMeta]) -> bool:
    return len({clip.tier == RVRA.name for clip in clips}) == 2


def _fakes(clips: Iterable[ClipMeta]) -> int:
    return sum(clip.tier != RVRA.name for clip in clips)


def _groups(by_page: dict[str, list[ClipMeta]], traits: dict[str, frozenset[Trait]], count: int) -> list[Pages]:
    """Return the pages in `count` groups: repeatedly, the two groups that cost each other most clips are merged."""
    of_page = {page: frozenset[Trait]().union(*(traits[c.source] for c in by_page[page])) for page in by_page}

    def lost(one: Pages, other: Pages) -> int:
        seen = frozenset[Trait]().union(*(of_page[page] for page in other))
        return sum(bool(traits[clip.source] & seen) for page in one for clip in by_page[page])

    def size(group: Pages) -> int:
        return sum(_fakes(by_page[page]) for page in group)

    groups = [frozenset([page]) for page in by_page]
    most = _LARGEST * size(frozenset(by_page)) / count
    while len(groups) > count:
        pairs = [*itertools.combinations(groups, 2)]
        fitting = [pair for pair in pairs if size(pair[0] | pair[1]) <= most]
        if fitting:
            one, other = max(fitting, key=lambda pair: (lost(*pair) + lost(*pair[::-1]), -size(pair[0] | pair[1])))
        else:
            one, other = min(pairs, key=lambda pair: size(pair[0] | pair[1]))
        groups = [group for group in groups if group not in (one, other)] + [one | other]
    return sorted(groups, key=sorted)


def _fold(
    clips: Sequence[ClipMeta],
    tested: Pages,
    whole: Sequence[str],
    traits: dict[str, frozenset[Trait]],
    validation: float,
) -> SplitList:
    """Return the fold of some test pages."""
    fold = SplitList([])
    test = [clip for clip in clips if clip.page in tested]
    rest = _apart(fold, [clip for clip in clips if clip.page not in tested], test, traits, "test")
    selecting = _selecting(rest, whole, traits, validation)
    select = [clip for clip in rest if clip.page in selecting]
    train = _apart(fold, [clip for clip in rest if clip.page not in selecting], select, traits, "validation")
    voices = {clip.identities[0] for clip in train if clip.tier == RVRA.name}
    for clip in train:
        if clip.identities[0] not in voices:
            _leave_out(fold, clip, "fake without a real clip of its identity in training")
    paired = [clip for clip in train if clip.identities[0] in voices]
    for split, members in (("train", paired), ("validation", select), ("test", test)):
        fold.rows += [SplitRow(split, clip.identities[0], clip.source) for clip in members]
    check_filled(fold, clips, lambda clip, split: True)
    return fold


def _with_own(
    fold: SplitList, clips: Sequence[ClipMeta], own: Sequence[ClipMeta], table: Families, only: bool
) -> SplitList:
    """Return a fold with the re-synthesised fakes of its training clips; with `only`, without other training fakes."""
    held = {row.source for row in fold.rows if row.split != "train"}
    fakes_held = [clip for clip in clips if clip.source in held and clip.tier != RVRA.name]
    names = {clip.method for clip in fakes_held}
    names |= {part.name for clip in fakes_held for part in table.parts(clip.method, clip.page)}
    known = [_words(name) for name in names]
    if only:
        fakes = {clip.source: clip for clip in clips if clip.tier != RVRA.name}
        for row in [row for row in fold.rows if row.split == "train" and row.source in fakes]:
            fold.rows.remove(row)
            _leave_out(fold, fakes[row.source], "fake that was not made by resynthesise.py")
    trained = {row.source for row in fold.rows if row.split == "train"}
    for clip in own:
        if clip.base not in trained:
            _leave_out(fold, clip, "re-synthesised from a clip that is not trained on")
        elif any(_alike(words, _words(clip.method.removeprefix(OWN_METHOD))) for words in known):
            _leave_out(fold, clip, "re-synthesised in the way of a validation or test page")
        else:
            fold.rows.append(SplitRow("train", clip.identities[0], clip.source))
    return fold


def _selecting(
    clips: Sequence[ClipMeta], whole: Sequence[str], traits: dict[str, frozenset[Trait]], share: float
) -> set[str]:
    """Return the validation pages, chosen greedily by cost.

    The cost of a page is the number of its clips and of other pages' fakes that it removes from training, per fake.
    """
    chosen: set[str] = set()
    wanted = share * _fakes(clips)
    while True:
        have = [clip for clip in clips if clip.page in chosen]
        if _has_both(have) and _fakes(have) >= wanted:
            return chosen
        costs = {}
        for page in (page for page in whole if page not in chosen):
            gained = [clip for clip in clips if clip.page == page]
            if _has_both(gained):
                seen = frozenset[Trait]().union(*(traits[clip.source] for clip in gained))
                taken = [c for c in clips if c.page not in chosen | {page} and traits[c.source] & seen]
                costs[page] = (_fakes(taken) + len(gained)) / _fakes(gained)
        if not costs:
            return chosen
        chosen.add(min(costs, key=lambda page: (costs[page], page)))


def _apart(
    fold: SplitList, clips: Sequence[ClipMeta], held: Sequence[ClipMeta], traits: dict[str, frozenset[Trait]], name: str
) -> list[ClipMeta]:
    """Return the clips that share no trait with the held-out ones; the others are left out."""
    seen: Set[Trait] = frozenset[Trait]().union(*(traits[clip.source] for clip in held))
    kept = []
    for clip in clips:
        common = sorted(traits[clip.source] & seen)
        if common:
            _leave_out(fold, clip, f"shares its {common[0].kind} with a {name} page")
        else:
            kept.append(clip)
    return kept


def _leave_out(fold: SplitList, clip: ClipMeta, reason: str) -> None:
    fold.left_out[reason] += 1
    fold.listed.append((clip.source, reason))
