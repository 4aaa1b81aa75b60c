"""The elements that take part in each counterfactual, and what is replaced in them."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from avdfd.datasets.loaders import Reads
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
)
from avdfd.evaluation.counterfactuals.cases import NO_MEL_ERR, cases_of, view_of
from tests.helpers.continuous import continuous_store

WANTED = [3, 20, 60, 70]
READS = [Reads(frames=WANTED)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    return continuous_store(root, (0.0, 1.024, 2.048), ("id1", "id2", "id3"), ("RVRA", "FVRA"))


def test_cases_of_a_store_with_overlapping_windows(made):
    _, store = made
    found = cases_of(store, store.metas, READS, seed=0)
    kinds = [case.kind for case in found.cases]
    assert found.left_out == {}
    assert kinds.count("stranger") == SWAPS
    assert kinds.count("shift") == 2 * len(SHIFTS)
    assert kinds.count("fixed_audio") == kinds.count("fixed_video") == 1
    by_key = {meta.key: meta for meta in store.metas}
    for case in found.cases:
        assert set(case.changes) == {meta.key for meta in case.metas}
        if case.kind in ("stranger", "shift"):
            assert {meta.tier for meta in case.metas} == {"RVRA"}
        else:
            assert len(case.metas) == len(store.metas)
        if case.kind == "stranger":
            assert len(case.metas) == 2 * 3  # two clips of three windows swap, one is left over
            for key, change in case.changes.items():
                assert by_key[key].start == by_key[change.audio].start
                assert by_key[key].identities != by_key[change.audio].identities
                assert case.changes[change.audio].audio == key
        if case.kind == "shift":
            # A late audio starts before its window, and an early one ends after it.
            missing = 0.0 if case.number > 0 else 2.048
            assert sorted({meta.start for meta in case.metas}) == sorted({0.0, 1.024, 2.048} - {missing})
    views = [view_of(case, store, found.joined) for case in found.cases]
    assert len({view.name for view in views}) == len(views)


def test_draws_depend_on_the_seed_alone(made):
    _, store = made
    first, same, other = (cases_of(store, store.metas, READS, seed).cases for seed in (0, 0, 1))
    assert [case.changes for case in first] == [case.changes for case in same]
    assert [case.changes for case in first] != [case.changes for case in other]


def test_what_a_store_does_not_allow_is_left_out_by_name(tmp_path, made):
    _, alone = continuous_store(tmp_path / "alone", (0.0, 4.0), ("id1",), ("RVRA", "FVRA"))
    found = cases_of(alone, alone.metas, READS, seed=0)
    shifts = {f"shift {ms} ms": NOT_JOINED for ms in SHIFTS}
    assert found.left_out == {"stranger": f"{NO_STRANGER}, with a window or more", **shifts}
    _, store = made
    found = cases_of(store, store.metas, [Reads(mel=False, mel_err=True, frames=WANTED)], seed=0)
    assert {*found.left_out} == {*shifts, "reversed"}
    assert {case.kind for case in found.cases} == {"stranger", "fixed_audio", "fixed_video", "shuffled", "still"}
    assert NO_MEL_ERR in found.left_out.values()


def test_a_clip_with_a_window_more_swaps_those_that_both_have(tmp_path, made):
    _, store = made
    metas = [meta for meta in store.metas if meta.source != "RVRA/id1.mp4" or meta.start < 2]
    for case in cases_of(store, metas, READS, seed=0).cases:
        if case.kind == "stranger":
            assert len(case.metas) == (4 if "RVRA/id1.mp4" in {meta.source for meta in case.metas} else 6)


def test_clips_shorter_than_a_window_neither_get_nor_give_a_stream(made):
    _, store = made

    def shortened(meta):
        return replace(meta, end=meta.start + 2) if meta.start == 0 else None

    one = [shortened(meta) or meta for meta in store.metas if meta.identities == ("id1",)]
    rest = [meta for meta in store.metas if meta.identities != ("id1",)]
    for case in cases_of(store, one + rest, READS, seed=0).cases:
        given = {key for change in case.changes.values() for key in (change.audio, change.frames) if key}
        changed = {meta.key for meta in case.metas} if case.kind in ("stranger", "shift") else set()
        assert not (given | changed) & {meta.key for meta in one if meta.start == 0}
    short = [meta for meta in map(shortened, store.metas) if meta]
    found = cases_of(store, short, READS, seed=0)
    assert {case.kind for case in found.cases} == {"shuffled", "still", "reversed"}
    assert {found.left_out[kind] for kind in ("fixed_audio", "fixed_video")} == {ALL_SHORT}


def test_without_video_only_the_audio_is_changed(made):
    _, store = made
    found = cases_of(store, store.metas, [Reads(waveform=True, mel=False)], seed=0)
    assert found.left_out == dict.fromkeys(SHOWN, NO_VIDEO)
    assert {case.kind for case in found.cases} == {"stranger", "shift", "fixed_audio", "reversed"}


@pytest.mark.parametrize("waveforms", [False, True])
def test_images_with_a_stretch_of_voice_have_no_time(made, waveforms):
    metas = [replace(meta, end=meta.start + 3) for meta in made[1].metas if meta.start == 0]
    images = SimpleNamespace(whole=False, has_waveforms=waveforms)
    found = cases_of(images, metas, READS, seed=0)
    untimed = [*(f"shift {ms} ms" for ms in SHIFTS), "shuffled", "still"]
    assert found.left_out == dict.fromkeys(untimed, NOT_OF_IMAGES) | ({} if waveforms else {"reversed": NO_WAVEFORMS})
    kinds = {"stranger", "fixed_audio", "fixed_video", *(["reversed"] if waveforms else [])}
    assert {case.kind for case in found.cases} == kinds
    assert all(len(case.changes) == 2 for case in found.cases if case.kind == "stranger")
