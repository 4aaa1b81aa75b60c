"""The counterfactuals that elements allow: which take part in each, and what is replaced in them."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avdfd.core.tiers import RVRA
from avdfd.datasets.loaders import Reads
from avdfd.elements import ElementMeta, ElementStore
from avdfd.elements.protocol import Store
from avdfd.evaluation.changed import View
from avdfd.evaluation.counterfactuals import whole_clips
from avdfd.evaluation.counterfactuals.case import (
    ALL_SHORT,
    NO_STRANGER,
    NO_VIDEO,
    NO_WAVEFORMS,
    NOT_JOINED,
    NOT_OF_IMAGES,
    SHIFTS,
    SHOWN,
    SWAPS,
    TOO_BRIEF,
    Case,
)
from avdfd.evaluation.counterfactuals.store import Change, ChangedStore
from avdfd.evaluation.counterfactuals.strangers import swaps
from avdfd.evaluation.joined_audio import JoinedAudio
from avdfd.features.window import SAMPLE_RATE

FORM = 2
"""Version of the kept scores; to be raised if a case changes."""
NO_MEL_ERR = "changes the audio, for which the mel_err that a run takes is not known"


class Cases(NamedTuple):
    """All cases of an evaluation."""

    cases: list[Case]
    left_out: dict[str, str]
    """Name of a counterfactual that is not possible -> the reason. A shift is named by its milliseconds."""
    joined: JoinedAudio | None
    """Audio beyond the windows; None if no audio is moved."""


def cases_of(store: Store, metas: Sequence[ElementMeta], reads: Sequence[Reads], seed: int) -> Cases:
    """Return all counterfactuals of these elements; `reads` are the fields that the runs take.

    Real clips get the audio of strangers and their own audio moved; in the other cases a stream of all clips is
    replaced. If no run takes video, those that change the video alone are left out.
    """
    found = Cases(*whole_clips.cases_of(metas, seed), None) if store.whole else _of_windows(store, metas, reads, seed)
    if any(one.video for one in reads):
        return found
    left_out = found.left_out | dict.fromkeys(SHOWN, NO_VIDEO)
    return found._replace(cases=[case for case in found.cases if case.kind not in SHOWN], left_out=left_out)


def view_of(case: Case, store: Store, joined: JoinedAudio | None) -> View:
    """Return the elements of a case as a store shows them."""
    changed = hashlib.sha256(repr(sorted(case.changes.items())).encode()).hexdigest()
    stamp = {"form": FORM, "changes": changed}
    name = f"{case.kind}{case.number:+d}{'-own' if case.own else ''}"
    return View(name, ChangedStore(store, case.changes, joined), case.metas, stamp)


def _of_windows(store: Store, metas: Sequence[ElementMeta], reads: Sequence[Reads], seed: int) -> Cases:
    """Return the cases of windows, and of the images and voices of VFD's data.

    Windows take no part in a shift for which they lack the audio beyond them. Clips shorter than a window neither get
    nor give a stream: they are repeated, and the repetitions of two clips do not fit.
    """
    images = not isinstance(store, ElementStore)
    real = [meta for meta in metas if meta.tier == RVRA.name and (images or not meta.short)]
    left_out: dict[str, str] = {}
    cases = _strangers(real, seed)
    if not cases:
        left_out["stranger"] = NO_STRANGER if images else f"{NO_STRANGER}, with a window or more"
    unknown = NO_MEL_ERR if any(one.mel_err for one in reads) else "" if store.has_waveforms else NO_WAVEFORMS
    problem = NOT_OF_IMAGES if images else unknown
    joined = None if problem else JoinedAudio(store, real)
    for shift in SHIFTS:
        moved = [] if joined is None else _moved(real, joined, shift)
        cases += moved
        if not moved:
            left_out[f"shift {shift} ms"] = problem or NOT_JOINED
    cases += _replaced(metas, real, seed)
    if images:
        cases = [case for case in cases if case.kind not in TOO_BRIEF]
        left_out |= dict.fromkeys(TOO_BRIEF, NOT_OF_IMAGES)
    if not real:
        left_out |= dict.fromkeys(("fixed_audio", "fixed_video"), ALL_SHORT)
    if unknown:
        left_out["reversed"] = unknown
    else:
        cases.append(Case("reversed", 0, metas, {meta.key: Change(reverse=True) for meta in metas}))
    return Cases(cases, left_out, joined)


def _strangers(real: Sequence[ElementMeta], seed: int) -> list[Case]:
    """Return the draws in which real clips of one page and gender swap their audio, window by window."""
    clips: dict[str, list[ElementMeta]] = {}
    for meta in sorted(real, key=lambda meta: (meta.source, meta.start)):
        clips.setdefault(meta.source, []).append(meta)
    windows = [*clips.values()]
    groups = [(of[0].page, of[0].gender) for of in windows]
    identities = [frozenset(of[0].identities) for of in windows]
    cases = []
    for draw in range(SWAPS):
        changes: dict[str, Change] = {}
        for one, other in swaps(groups, identities, np.random.default_rng((seed, draw))):
            for ours, theirs in zip(windows[one], windows[other], strict=False):  # a clip may have more windows
                changes |= {ours.key: Change(audio=theirs.key), theirs.key: Change(audio=ours.key)}
        if changes:
            cases.append(Case("stranger", draw, [meta for meta in real if meta.key in changes], changes))
    return cases


def _moved(real: Sequence[ElementMeta], joined: JoinedAudio, milliseconds: int) -> list[Case]:
    """Return the cases in which the audio of real clips is late, and early, by so many milliseconds."""
    cases = []
    for late in (milliseconds, -milliseconds):
        samples = -late * SAMPLE_RATE // 1000
        some = [meta for meta, there in zip(real, joined.covers(samples), strict=True) if there]
        if some:
            cases.append(Case("shift", late, some, {meta.key: Change(moved=samples) for meta in some}))
    return cases


def _replaced(metas: Sequence[ElementMeta], real: Sequence[ElementMeta], seed: int) -> list[Case]:
    """Return the cases in which all clips get the audio, or the video, of one real clip, or their frames reordered."""
    changes = {"shuffled": Change(order="shuffled"), "still": Change(order="still")}
    if real:
        sources = sorted({meta.source for meta in real})
        drawn = sources[np.random.default_rng(seed).integers(len(sources))]
        key = min((meta for meta in real if meta.source == drawn), key=lambda meta: meta.start).key
        changes |= {"fixed_audio": Change(audio=key), "fixed_video": Change(frames=key)}
    return [Case(kind, 0, metas, {meta.key: change for meta in metas}) for kind, change in changes.items()]
