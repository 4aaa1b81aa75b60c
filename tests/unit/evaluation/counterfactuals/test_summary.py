"""Scores that depend on one stream, or on both, are told by the counterfactuals for what they are."""

import json

import numpy as np
import pytest

from avdfd.core.seeding import generator_of
from avdfd.datasets.loaders import Reads
from avdfd.evaluation.counterfactuals.cases import cases_of
from avdfd.evaluation.counterfactuals.store import Change
from avdfd.evaluation.counterfactuals.summary import summarise
from avdfd.report import counterfactuals as page
from tests.helpers.continuous import continuous_store
from tests.helpers.scored import made_up_result

IDENTITIES = [f"id{n}" for n in range(6)]
BRANCHES = ("audio", "visual", "fused")
TAKEN = Reads(frames=[0, 1])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    return continuous_store(root, (0.0, 1.024), IDENTITIES, ("RVRA", "RVFA", "FVRA"))[1]


def noise(text):
    return 0.3 * generator_of(text).random()


def audio_score(meta, tiers, change):
    """The score of the audio that an element gets: it finds RVFA, and depends on the voice and the stretch."""
    source = change.audio or meta.key
    return 0.1 + 0.5 * (tiers[source] == "RVFA") + noise(f"{source} {change.moved} {change.reverse}")


def video_score(meta, tiers, change):
    """The score of the frames in any order: it finds FVRA."""
    source = change.frames or meta.key
    return 0.1 + 0.5 * (tiers[source] == "FVRA") + noise(f"frames of {source}")


def relation_score(meta, tiers, change):
    """1 if audio and frames do not belong together, as in FVRA, or are out of order."""
    fake = tiers[change.frames or meta.key] == "FVRA" or change != Change()
    return 0.1 + 0.5 * fake + noise(f"{meta.key} {change}")


SCORES = {"audio": audio_score, "visual": video_score, "fused": relation_score}


def measured(store, scores=SCORES, tiers=None, metas=None, replicates=100, reads=TAKEN, limits=None):
    metas = [meta for meta in (metas or store.metas) if tiers is None or meta.tier in tiers]
    tier_of = {meta.key: meta.tier for meta in metas}
    found = cases_of(store, metas, [reads], seed=0)

    def columns(some, changes):
        return {
            branch: np.array([[score(meta, tier_of, changes.get(meta.key, Change())) for meta in some]])
            for branch, score in scores.items()
        }

    scored = [columns(case.metas, case.changes) for case in found.cases]
    result = summarise(found, scored, metas, columns(metas, {}), "mean", limits, replicates=replicates, seed=0)
    return json.loads(json.dumps({"branch": "visual", **result}, allow_nan=False))


@pytest.fixture(scope="module")
def section(store):
    return measured(store)


def test_a_score_of_one_stream_is_exactly_at_chance_for_strangers(section):
    assert section["stranger"]["clips"] == 6
    for branch in ("audio", "visual"):
        assert section["stranger"]["branches"][branch]["auc"] == 0.5
        assert section["stranger"]["draws"][branch] == [0.5] * 5
    assert section["stranger"]["branches"]["fused"]["auc"] == 1.0


def test_shifts_do_not_change_a_score_of_the_frames(section):
    assert [of["ms"] for of in section["shifts"]] == [40, 80, 120, 200, 400, 700, 1000]
    for of in section["shifts"]:
        for direction in ("late", "early", "both"):
            assert of[direction]["branches"]["visual"]["auc"] == 0.5
            assert of[direction]["branches"]["fused"]["auc"] == 1.0
            assert of[direction]["windows"] == (12 if direction == "both" else 6)


def test_replaced_streams(section):
    def auc(kind, tier, branch):
        return section["replaced"][kind]["tiers"][tier][branch]["auc"]

    assert [auc("own", tier, branch) for tier, branch in (("RVFA", "audio"), ("FVRA", "visual"))] == [1.0, 1.0]
    assert [auc("fixed_audio", tier, "audio") for tier in ("RVFA", "FVRA")] == [0.5, 0.5]
    assert auc("fixed_audio", "FVRA", "visual") == auc("own", "FVRA", "visual")
    assert [auc("fixed_video", tier, "visual") for tier in ("RVFA", "FVRA")] == [0.5, 0.5]
    assert auc("shuffled", "FVRA", "visual") == 1.0
    assert auc("shuffled", "FVRA", "fused") < 0.9


def test_verdicts(section):
    assert section["verdicts"]["audio"]["checks"] == {"stranger": False, "shift": False, "shuffled": False}
    assert section["verdicts"]["visual"] == {
        "uses": False,
        "checks": {"stranger": False, "shift": False, "shuffled": False},
    }
    assert section["verdicts"]["fused"] == {"uses": True, "checks": {"stranger": True, "shift": True, "shuffled": True}}


def test_without_intervals_nothing_is_shown(store):
    checks = measured(store, replicates=0)["verdicts"]["fused"]
    assert checks == {"uses": False, "checks": {"stranger": None, "shift": None, "shuffled": None}}


def test_a_split_without_the_tier_of_the_rule(store):
    section = measured(store, tiers=("RVRA", "RVFA"))
    assert section["shuffled_loss"] is None
    assert section["verdicts"]["fused"] == {"uses": True, "checks": {"stranger": True, "shift": True, "shuffled": None}}
    assert "no FVRA to shuffle the frames of" in page.answer(section, "fused")


def test_what_is_not_measured_is_said(store):
    metas = [meta for meta in store.metas if meta.identities == ("id0",) and meta.start == 0]
    section = measured(store, metas=metas)
    assert section["stranger"] is None
    assert section["shifts"] == []
    assert not section["verdicts"]["fused"]["uses"]
    assert page.answer(section, "fused").startswith(
        "not shown (a stranger's audio not measured; audio moved by 400 ms "
    )
    lines = page.left_out(section)
    assert lines[0].startswith("Left out: a stranger's audio: needs real clips of two identities of the same page")
    assert lines[1].startswith("Left out: shift 40 ms, shift 80 ms")
    assert lines[1].endswith("needs overlapping or adjoining windows: preprocess with media.hop=1.536.")
    result = made_up_result(counterfactuals=section)
    assert "shifts.csv" not in page.counterfactuals_html(result)
    assert len(page.counterfactuals_text(result)) == 2


def test_the_question_does_not_apply_to_audio_alone(store):
    limits = {"audio_only": ["audio"], "one_image": []}
    section = measured(store, {"audio": audio_score}, reads=Reads(), limits=limits) | {"branch": "audio"}
    assert section["verdicts"] == {"audio": {"uses": None, "checks": {}}}
    assert page.answer(section, "audio") == "not applicable (no video is taken)"
    assert page.key_figures(section)["uses the relation of audio and video"] == "not applicable"
    assert section["stranger"]["branches"]["audio"]["auc"] == 0.5
    assert section["replaced"].keys() == {"own", "fixed_audio", "reversed"}
    lines = page.left_out(section)
    assert lines == [
        "Left out: one video for all clips, frames shuffled, first frame throughout: not applicable, as no video is "
        "taken."
    ]
    result = made_up_result(counterfactuals=section, branches=["audio"])
    assert "The audio branch uses the relation of audio and video: not applicable (" in "\n".join(
        page.counterfactuals_text(result)
    )
    assert "frames shuffled</th>" not in page.counterfactuals_html(result)


def test_a_single_frame_is_judged_by_the_stranger_alone(store):
    limits = {"audio_only": [], "one_image": ["fused", "visual"]}
    section = measured(store, limits=limits)
    assert section["verdicts"]["fused"] == {"uses": True, "checks": {"stranger": True}}
    assert section["verdicts"]["visual"] == {"uses": False, "checks": {"stranger": False}}
    assert page.answer(section, "fused").startswith("yes (a stranger's audio 1.000 [")
    assert page.answer(section, "fused").endswith("; order and time not applicable to a single frame)")


def test_a_tier_whose_clips_take_no_part_has_a_dash(section):
    kind = section["replaced"]["fixed_audio"]
    few = {**kind, "tiers": {"RVFA": kind["tiers"]["RVFA"]}}
    section = section | {"replaced": {**section["replaced"], "cut": few}, "whole": True, "cut_clips": 12}
    result = made_up_result(counterfactuals=section)
    assert "own audio and video, 3.04 s</th>" in page.counterfactuals_html(result)
    assert "<td class=num>–</td>" in page.counterfactuals_html(result)
    assert "clips that swap their audio are cut to the shorter one" in page.counterfactuals_html(result)
    row = next(line for line in page.counterfactuals_text(result)[1].splitlines() if "3.04 s" in line)
    assert row.endswith("–")
    assert page.left_out(section)[-1] == (
        "One audio or video for all clips: 6 clips, shorter than 3.04 s, take no part."
    )


def test_page_and_text(section):
    result = made_up_result(counterfactuals=section)
    html = page.counterfactuals_html(result)
    assert "The visual branch uses the relation of audio and video: not shown (" in html
    assert html.count("<th class=group") == 3
    assert "download='shifts.csv'" in html
    points = page.shift_points(section, BRANCHES)
    assert len(points) == 1 + 2 * 7 * 3
    assert [row[0] for row in points[1:15]] == [
        -1000,
        -700,
        -400,
        -200,
        -120,
        -80,
        -40,
        40,
        80,
        120,
        200,
        400,
        700,
        1000,
    ]
    text = "\n".join(page.counterfactuals_text(result))
    assert "audio moved by 400 ms" in text
    assert "one video for all clips" in text
    figures = page.key_figures({**section, "branch": "fused"})
    assert figures["uses the relation of audio and video"] == "yes"
    assert figures["real clips, a stranger's audio"].startswith("1.000 [1.000")


def test_reports_without_it_say_so():
    result = made_up_result()
    assert page.NOT_RUN in page.counterfactuals_html(result)
    assert page.counterfactuals_html({**result, "kind": "pretrain"}) == ""
    assert set(page.key_figures(None).values()) == {"not tested"}
