"""Counterfactuals of whole clips: both sides of every comparison show the same stretch of either stream."""

from collections import Counter

import numpy as np
import pytest

from avdfd.core.seeding import generator_of
from avdfd.elements import ElementMeta
from avdfd.evaluation.counterfactuals.case import ALL_SHORT, NO_STRANGER, SHIFTS, SWAPS
from avdfd.evaluation.counterfactuals.cases import Cases
from avdfd.evaluation.counterfactuals.summary import summarise
from avdfd.evaluation.counterfactuals.whole_clips import FIXED, TOO_SHORT, cases_of
from avdfd.features.window import FPS


def clip(tier, identity, frames, **facts):
    source = f"{tier}/{identity}.mp4"
    known = {"method": "", "race": "", "gender": "men", "sha256": source, "base": source, "version": "made up", **facts}
    return ElementMeta(
        key=source, source=source, tier=tier, identities=(identity,), start=0.0, end=frames / FPS, **known
    )


@pytest.fixture
def metas():
    frames = {"id1": 60, "id2": 90, "id3": 130, "id4": 77}
    return [clip(tier, identity, count) for tier in ("RVRA", "FVRA") for identity, count in frames.items()]


def stretches(case, meta):
    """Return the stretch of video, and of audio with the clip it is from, in frames."""
    change = case.changes[meta.key]
    first, count = change.span
    start = first + change.moved / 640
    return (change.frames or meta.key, first, count), (change.audio or meta.key, start, count)


def by_kind(cases):
    found = {}
    for case in cases:
        found.setdefault((case.kind, case.number), {})[case.own] = case
    return found


def test_strangers_are_cut_to_the_shorter_clip_on_both_sides(metas):
    cases, left_out = cases_of(metas, seed=0)
    assert left_out == {}
    pairs = [of for (kind, _), of in by_kind(cases).items() if kind == "stranger"]
    assert len(pairs) == SWAPS
    frames = {meta.key: round(meta.end * FPS) for meta in metas}
    for pair in pairs:
        own, changed = pair[True], pair[False]
        assert own.metas == changed.metas
        assert len(own.metas) == 4
        for side in (0, 1):  # every video and every audio is once on either side, and of the same length
            before, after = (Counter(stretches(case, meta)[side] for meta in case.metas) for case in (own, changed))
            assert before == after
        for meta in changed.metas:
            other = changed.changes[meta.key].audio
            assert changed.changes[meta.key].span == (0, min(frames[meta.key], frames[other]))
    assert len({tuple(pair[False].changes.items()) for pair in pairs}) > 1


def test_moved_audio_and_its_own_are_the_same_stretches(metas):
    found = by_kind(cases_of(metas, seed=0)[0])
    for ms in SHIFTS:
        late, early = found["shift", ms], found["shift", -ms]
        frames = {meta.key: round(meta.end * FPS) for meta in late[False].metas}
        margin = -(-ms // 40)
        assert {*frames} == {m.key for m in metas if m.tier == "RVRA" and round(m.end * FPS) >= margin + FPS}
        for way, sign in ((late, -1), (early, 1)):
            for meta in way[False].metas:
                video, audio = stretches(way[False], meta)
                assert stretches(way[True], meta)[0] == video
                assert audio[1] == pytest.approx(video[1] + sign * ms / 40)
                assert 0 <= audio[1] <= frames[meta.key] - audio[2]  # nothing is repeated
        if ms % 40 == 0:
            sides = {
                own: Counter(stretches(way[own], meta)[1] for way in (late, early) for meta in way[own].metas)
                for own in (True, False)
            }
            assert sides[True] == sides[False]


def test_one_audio_and_one_video_are_of_one_length(metas):
    found = by_kind(cases_of(metas, seed=0)[0])
    cut, audio, video = (found[kind, 0][False] for kind in ("cut", "fixed_audio", "fixed_video"))
    some = [meta for meta in metas if "id1" not in meta.identities]
    for case in (cut, audio, video):
        assert case.metas == some
        assert {change.span for change in case.changes.values()} == {(0, FIXED)}
    drawn = {change.audio for change in audio.changes.values()}
    assert drawn == {change.frames for change in video.changes.values()}
    assert len(drawn) == 1
    assert drawn.pop().startswith("RVRA/")
    for kind in ("shuffled", "still", "reversed"):
        assert found[kind, 0][False].metas == metas  # clips of any length
        assert {change.span for change in found[kind, 0][False].changes.values()} == {None}


def test_what_the_clips_do_not_allow_is_left_out_by_name():
    brief = [clip(tier, "id1", 30) for tier in ("RVRA", "FVRA")]
    cases, left_out = cases_of(brief, seed=0)
    assert left_out.pop("stranger") == NO_STRANGER
    assert left_out.pop("fixed_audio") == left_out.pop("fixed_video") == f"{ALL_SHORT}, and such a fake"
    assert left_out == {f"shift {ms} ms": TOO_SHORT for ms in SHIFTS if ms > 200}
    assert {case.kind for case in cases} == {"shift", "shuffled", "still", "reversed"}
    real_alone = [clip("RVRA", "id1", 90), clip("FVRA", "id1", 30)]
    assert "fixed_audio" in cases_of(real_alone, seed=0)[1]


def test_scores_of_one_stream_and_of_the_length_are_at_chance(metas):
    cases, left_out = cases_of(metas, seed=0)

    def score(branch, case, meta):
        change = case.changes[meta.key]
        first, count = change.span or (0, round(meta.end * FPS))
        audio = (change.audio or meta.key, round(640 * first) + change.moved, count)
        video = (change.frames or meta.key, first, count)
        together = audio[0] == video[0] and not change.moved
        text = {"audio": audio, "picture": video, "length": count, "consistency": (audio, video)}[branch]
        return 0.5 * (branch == "consistency" and not together) + 0.4 * generator_of(str(text)).random()

    branches = ("audio", "picture", "length", "consistency")

    def columns(case):
        return {branch: [[score(branch, case, meta) for meta in case.metas]] for branch in branches}

    whole = next(case for case in cases if case.kind == "shuffled")
    whole = whole._replace(changes={key: change._replace(order="own") for key, change in whole.changes.items()})
    scored = [_arrays(columns(case)) for case in cases]
    found = summarise(
        Cases(cases, left_out, None), scored, metas, _arrays(columns(whole)), "mean", replicates=50, seed=0
    )
    aucs = [found["stranger"]["branches"]]
    aucs += [of["both"]["branches"] for of in found["shifts"] if of["ms"] % 40 == 0]
    for of in aucs:
        assert [of[branch]["auc"] for branch in branches] == [0.5, 0.5, 0.5, 1.0]
    assert {of["ms"]: of["both"]["clips"] for of in found["shifts"]} == dict.fromkeys(SHIFTS, 4)
    assert (found["clips"], found["cut_clips"]) == (8, 6)
    assert found["replaced"]["fixed_audio"]["overall"]["audio"]["auc"] == 0.5
    assert found["replaced"]["fixed_video"]["overall"]["picture"]["auc"] == 0.5
    assert found["replaced"]["fixed_audio"]["overall"]["length"]["auc"] == 0.5


def _arrays(columns):
    return {branch: np.array(values) for branch, values in columns.items()}
