"""Counterfactuals of whole clips, whose lengths differ.

Wherever a clip gets another stream, both sides of the comparison show the same stretch of it, and that stretch is cut
from the clip: nothing is repeated or filled, so that neither length nor a seam says that something was changed.

strangers  two clips that swap their audio are cut to the length of the shorter one
shifts     video without its first frames and the audio of an earlier stretch of the same length (late), and video
           without its last frames and the audio of a later one (early). Each stretch of either stream is once with its
           own and once with the other, so that a score of one stream alone has an AUC of 0.5 over both directions;
           700 ms are no whole number of frames, and there the two stretches of audio differ by 20 ms
fixed      all clips are cut to 3.04 s, and get the first 3.04 s of the drawn one
"""

from collections.abc import Mapping, Sequence

import numpy as np

from avdfd.core.tiers import RVRA
from avdfd.elements import ElementMeta
from avdfd.evaluation.counterfactuals.case import ALL_SHORT, NO_STRANGER, SHIFTS, SWAPS, Case
from avdfd.evaluation.counterfactuals.store import Change
from avdfd.evaluation.counterfactuals.strangers import swaps
from avdfd.features.window import FPS, SAMPLE_RATE, WINDOW, frames_of, samples_of

FIXED = WINDOW * FPS // SAMPLE_RATE
"""Frames of each clip that gets the one audio or the one video: the whole ones of a window, 3.04 s."""
TOO_SHORT = "needs real clips that are a second longer than the shift"
_LEAST = FPS
"""Fewest frames of a stretch, as of a clip."""


def cases_of(metas: Sequence[ElementMeta], seed: int) -> tuple[list[Case], dict[str, str]]:
    """Return all counterfactuals of whole clips, and those that are not possible with the reason.

    Clips that are too short for a shift, or for the one audio and video, take no part in it.
    """
    real = sorted((meta for meta in metas if meta.tier == RVRA.name), key=lambda meta: meta.source)
    left_out: dict[str, str] = {}
    cases = [case for draw in range(SWAPS) for case in _strangers(real, draw, seed)]
    if not cases:
        left_out["stranger"] = NO_STRANGER
    for milliseconds in SHIFTS:
        moved = _moved(real, milliseconds)
        cases += moved
        if not moved:
            left_out[f"shift {milliseconds} ms"] = TOO_SHORT
    fixed = _fixed(metas, real, seed)
    cases += fixed
    if not fixed:
        left_out |= dict.fromkeys(("fixed_audio", "fixed_video"), f"{ALL_SHORT}, and such a fake")
    ordered = {"shuffled": Change(order="shuffled"), "still": Change(order="still"), "reversed": Change(reverse=True)}
    cases += [Case(kind, 0, metas, {meta.key: change for meta in metas}) for kind, change in ordered.items()]
    return cases, left_out


def _frames(meta: ElementMeta) -> int:
    """Return the number of frames that a clip has with all of their audio."""
    return min(frames_of(meta.end - meta.start), samples_of(meta.end - meta.start) * FPS // SAMPLE_RATE)


def _both(
    kind: str, number: int, metas: Sequence[ElementMeta], own: Mapping[str, Change], changed: Mapping[str, Change]
) -> list[Case]:
    """Return a case and its other side; nothing without elements."""
    return [Case(kind, number, metas, changed), Case(kind, number, metas, own, own=True)] if metas else []


def _strangers(real: Sequence[ElementMeta], draw: int, seed: int) -> list[Case]:
    """Return a draw in which real clips of one page and gender swap their audio."""
    groups = [(meta.page, meta.gender) for meta in real]
    identities = [frozenset(meta.identities) for meta in real]
    own: dict[str, Change] = {}
    changed: dict[str, Change] = {}
    for pair in swaps(groups, identities, np.random.default_rng((seed, draw))):
        one, other = (real[place] for place in pair)
        cut = Change(span=(0, min(_frames(one), _frames(other))))
        own |= {one.key: cut, other.key: cut}
        changed |= {one.key: cut._replace(audio=other.key), other.key: cut._replace(audio=one.key)}
    return _both("stranger", draw, [meta for meta in real if meta.key in own], own, changed)


def _moved(real: Sequence[ElementMeta], milliseconds: int) -> list[Case]:
    """Return the cases in which the audio of real clips is late, and early, by so many milliseconds."""
    samples = milliseconds * SAMPLE_RATE // 1000
    margin = -(-milliseconds * FPS // 1000)
    some = [meta for meta in real if _frames(meta) - margin >= _LEAST]
    cases: list[Case] = []
    for late, first, moved in ((milliseconds, margin, -samples), (-milliseconds, 0, samples)):
        own = {meta.key: Change(span=(first, _frames(meta) - margin)) for meta in some}
        cases += _both("shift", late, some, own, {key: cut._replace(moved=moved) for key, cut in own.items()})
    return cases


def _fixed(metas: Sequence[ElementMeta], real: Sequence[ElementMeta], seed: int) -> list[Case]:
    """Return the cases in which clips get the audio, or the video, of one real clip, and that of the clips cut alike.

    There are none without clips of that length in both classes.
    """
    some = [meta for meta in metas if _frames(meta) >= FIXED]
    drawn = [meta.key for meta in real if _frames(meta) >= FIXED]
    if not drawn or len(some) == len(drawn):
        return []
    key = drawn[np.random.default_rng(seed).integers(len(drawn))]
    cut = Change(span=(0, FIXED))
    changes = {"cut": cut, "fixed_audio": cut._replace(audio=key), "fixed_video": cut._replace(frames=key)}
    return [Case(kind, 0, some, {meta.key: change for meta in some}) for kind, change in changes.items()]
