"""Scored clips as columns and as rows of scores.csv."""

import pytest

from avdfd.evaluation.pages import page_metrics
from avdfd.evaluation.scored_clips import ScoredClips, csv_rows, from_csv
from tests.helpers.scored import BRANCHES, THREE, made_up_clips
from tests.unit.evaluation.test_pages import clips_of_pages, make_page


def test_some_of_the_clips():
    clips = made_up_clips()
    some = clips.where(clips.tier == "FVRA")
    assert isinstance(some, ScoredClips)
    assert set(some.tier) == {"FVRA"}
    assert some.scores["fused"].tolist() == clips.scores["fused"][:, clips.tier == "FVRA"].tolist()
    assert len(some.weights["audio"]) == len(some) == 12


def test_rows_keep_every_digit():
    clips = made_up_clips()
    head, first, *_ = csv_rows(clips)
    assert head == ["clip", "tier", "label", "identity", "method", "race", "gender", "windows", "short", *BRANCHES,
                    "weight_audio", "weight_visual", "discrepancy", "prototype_distance"]  # fmt: skip
    assert first[:9] == ["RVRA/id0/0.mp4", "RVRA", 0, "id0", "", "African", "men", 2, "false"]
    assert [float(str(value)) for value in first[9:12]] == [clips.scores[b][0, 0] for b in BRANCHES]
    head, *_ = csv_rows(made_up_clips(("audio",), runs=2))
    assert head[9:] == ["audio[0]", "audio[1]", "weight_audio", "discrepancy", "prototype_distance"]


def test_rows_of_three_branches():
    clips = made_up_clips(THREE)
    head, first, *_ = csv_rows(clips)
    assert head[9:13] == [*THREE]
    assert head[13:] == ["weight_audio", "weight_consistency", "weight_picture", "discrepancy", "prototype_distance",
                         "log_ratio", "lag_ms"]  # fmt: skip
    row = dict(zip(head, first, strict=True))
    assert sum(row[f"weight_{name}"] for name in THREE[:3]) == pytest.approx(1)
    assert (row["log_ratio"], row["lag_ms"], row["discrepancy"]) == (clips.log_ratio[0], 0, None)


def test_short_clips_stay_marked():
    clips = made_up_clips()
    clips.short[:3] = True
    head, *lines = csv_rows(clips)
    rows = [dict(zip(head, map(str, line), strict=True)) for line in lines]
    assert from_csv(rows, "audio", 1, name="audio").short.tolist() == clips.short.tolist()
    former = [{name: value for name, value in row.items() if name != "short"} for row in rows]
    assert not from_csv(former, "audio", 1, name="audio").short.any()


def test_scores_csv_keeps_what_metrics_by_page_need():
    clips = clips_of_pages(make_page("one", [0.1, 0.6], [0.2, 0.5]), make_page("two", [0.5, 0.6], [0.7, 0.6]))
    head, *lines = csv_rows(clips)
    assert head[-2:] == ["page", "base"]
    read = from_csv([dict(zip(head, map(str, line), strict=True)) for line in lines], "audio", 1, name="audio")
    drawn = {"replicates": 20, "seed": 0}
    assert page_metrics(read, "audio", **drawn) == page_metrics(clips, "audio", **drawn)
