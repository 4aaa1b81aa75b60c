"""Scores from a file, judged: the figures of the run that they are of, and what takes no part."""

import csv
import json
import math

import pytest
import torch

from avdfd import report
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.evaluation.evaluate import Request, evaluate
from avdfd.evaluation.outside import judge
from avdfd.evaluation.score_file import ScoreFile
from avdfd.evaluation.stored import read
from avdfd.report import files
from avdfd.training import weights
from tests.helpers.runs import make_run


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})


@pytest.fixture(scope="module")
def run(small_store, tmp_path_factory):
    """A run of stage 2 with validation and test evaluated, and their scores as others would write them."""
    run = make_run(tmp_path_factory.mktemp("runs"), "train", small_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda _: {})
        for split in ("validation", "test"):
            files.write(evaluate(Request(str(run), split=split, bootstrap=20, device="cpu")))
    return run


def rows_of(run, split="test"):
    with (run / "eval" / split / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def exported(run, path, split="test", column="fused", change=lambda value: value):
    """Write the scores of a run as a file of another system."""
    lines = [f"{row['clip']},{change(float(row[column]))!r}\n" for row in rows_of(run, split)]
    path.write_text("file,score\n" + "".join(reversed(lines)))
    return ScoreFile(path)


def windows_of(run, path, column="fused", place="start", kept=lambda row: True, folder="test"):
    """Write the windows.csv of a run as the file of another system: a row per window and seed."""
    with (run / "eval" / folder / "windows.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if kept(row)]
    numbers: dict[str, int] = {}
    lines = []
    for row in rows:
        where = row["start"] if place == "start" else numbers.setdefault(row["clip"], 0)
        numbers[row["clip"]] = numbers.get(row["clip"], 0) + 1
        lines.append(f"{row['clip']},{where},{row[column]}")
    path.write_text("\n".join([f"file,{place},score", *reversed(lines)]))
    return ScoreFile(path)


def asked(run, folder, **changes):
    return Request(str(folder), against=[str(run)], bootstrap=20, device="cpu")._replace(**changes)


def figures(report, name):
    """All figures of a column of the table, by part of the report."""
    members = {kind: group["members"] for kind, group in report["groups"].items()}
    parts = {"overall": report["overall"], **report["tiers"], **report["methods"]}
    parts |= {f"{kind} {group}": part for kind, of in members.items() for group, part in of.items()}
    found = {part: of.get(name, of["clips"]) for part, of in parts.items()}
    return found | {"calibration": report["calibration"][name], "coverage": report["coverage"]}


def test_scores_of_a_run_have_the_figures_of_the_run(run, tmp_path):
    theirs = tmp_path / "theirs"
    for split in ("validation", "test"):
        file = exported(run, tmp_path / f"{split}.csv", split)
        files.write(judge(asked(run, theirs, split=split, tiers=("RVFA",) if split == "validation" else ()), file))
    ours = json.loads((run / "eval" / "test" / "report.json").read_text())
    found = json.loads((theirs / "eval" / "test" / "report.json").read_text())
    assert figures(found, "score") == figures(ours, "fused")
    assert found["fitted"]["score"]["eer_threshold"] == ours["fitted"]["fused"]["eer_threshold"]
    assert found["overall"]["train"] == ours["overall"]["fused"], "the run itself, read as evaluated"
    assert {pair["difference"] for pair in found["paired"]["train"].values()} == {0.0}
    shown = [(one["clip"], one["score"]) for one in found["failures"]["worst"]]
    assert shown == [(one["clip"], one["score"]) for one in ours["failures"]["worst"]]
    html = (theirs / "eval" / "test" / "report.html").read_text()
    assert "Protocol: scores from a file" in html
    assert "detect.py" not in html, "there is no model to explain them with"
    assert not (theirs / "eval" / "test" / "windows.csv").exists()


@pytest.mark.parametrize(("rule", "place"), [("mean", "start"), ("max", "start"), ("mean", "window")])
def test_scores_of_windows_have_the_figures_of_the_run(run, tmp_path, rule, place):
    """Every table: of clips, of windows, of the kinds of windows; pooled by the same rule as the run."""
    theirs = tmp_path / "theirs"
    done = judge(asked(run, theirs, windows=rule), windows_of(run, tmp_path / "w.csv", place=place))
    files.write(done)
    ours = evaluate(Request(str(run), windows=rule, bootstrap=20, device="cpu")).result
    found = json.loads((theirs / "eval" / "test" / "report.json").read_text())
    parts = {name: (found[name], ours[name]) for name in ("overall", "windows")}
    for kind in ("tiers", "window_groups"):
        assert found[kind].keys() == ours[kind].keys() != set()
        parts |= {f"{kind} {name}": (of, ours[kind][name]) for name, of in found[kind].items()}
    for name, (one, other) in parts.items():
        assert one["score"] == {key: other["fused"][key] for key in one["score"]}, name
        if name.startswith("window"):
            assert one["train"]["auc"] == one["score"]["auc"], "the run's own, from its windows.csv"
    assert found["pooling"] == ours["pooling"]
    assert found["overall"]["windows"] == ours["overall"]["windows"] == 24
    with (theirs / "eval" / "test" / "windows.csv").open() as file:
        assert [row["clip"] for row in csv.DictReader(file)] == done.windows.source.tolist()


def test_other_windows_than_those_of_the_store_are_pooled_to_clips(run, tmp_path):
    """One window of a clip is missing, or they are at other times: there are figures of clips alone."""
    file = windows_of(run, tmp_path / "first.csv", kept=lambda row: row["start"] == "0.0")
    done = judge(asked(run, tmp_path / "x"), file)
    assert (done.windows, done.result["windows"], done.result["window_groups"]) == (None, None, {})
    said = files.write(done)
    assert "The scores are of other windows than those of the element store" in said
    assert "the last row has every window" not in (tmp_path / "x/eval/test/report.html").read_text()
    later = windows_of(run, tmp_path / "later.csv")
    later.path.write_text(later.path.read_text().replace(",1.0,", ",1.5,"))
    moved = judge(asked(run, tmp_path / "x"), later).result
    assert moved["windows"] is None
    ours = json.loads((run / "eval" / "test" / "report.json").read_text())
    assert moved["overall"]["score"]["auc"] == ours["overall"]["fused"]["auc"], "the same scores, pooled"
    clips = exported(run, tmp_path / "clips.csv")
    assert "has one score per clip" in refused(asked(run, tmp_path / "x", windows="max"), clips)


OPTIONS = [
    {"split": "validation"},
    {"tiers": ("RVFA",)},
    {"tiers": ("FVRA", "RVFA-VC"), "windows": "max"},
    {"windows": "top1"},
    {"seed": 3},
    {"bootstrap": 0},
]


@pytest.mark.parametrize("changes", OPTIONS, ids=str)
def test_options_on_scores_of_windows_do_what_they_do_for_a_run(run, small_store, tmp_path, changes):
    done = evaluate(Request(str(run), name="other", device="cpu", **{"bootstrap": 20, **changes}))
    files.write(done)
    file = windows_of(run, tmp_path / "w.csv", folder="other")
    alone = Request(str(tmp_path / "x"), elements=str(small_store / "elements"), **{"bootstrap": 20, **changes})
    found, ours = judge(alone, file, str(small_store / "splits")).result, done.result
    for name in ("overall", "windows"):
        assert found[name]["score"] == {key: ours[name]["fused"][key] for key in found[name]["score"]}, name
        assert found[name]["clips"] == ours[name]["clips"]
    for kind in ("tiers", "methods", "window_groups"):
        assert found[kind].keys() == ours[kind].keys()
        for name, part in found[kind].items():
            of_file, of_run = part.get("score", {}), ours[kind][name].get("fused", {})
            assert of_file == {key: of_run[key] for key in of_file}, name
            assert bool(of_file) == bool(of_run), name
    assert [one["score"] for one in found["failures"]["worst"]] == [one["score"] for one in ours["failures"]["worst"]]
    assert found["left_out"]["without_score"] == 0


def test_the_videos_of_a_list_get_the_pooled_scores_of_their_windows(run, small_store, tmp_path):
    listed = tmp_path / "list.csv"
    lines = [f"{row['clip']},{int(row['tier'] != 'RVRA')}" for row in rows_of(run)]
    listed.write_text("\n".join(["video_name,target", *lines]))
    asked_for = {"split": "all", "csv": [listed], "windows": "max", "bootstrap": 0}
    ours = evaluate(Request(str(run), device="cpu", **asked_for))
    alone = Request(str(tmp_path / "x"), elements=str(small_store / "elements"), **asked_for)
    done = judge(alone, windows_of(run, tmp_path / "w.csv"))
    assert done.prediction == ours.prediction
    assert len(done.prediction) == 13
    assert done.result["listed"] == ours.result["listed"]


def test_windows_may_have_log_odds_of_which_a_higher_one_means_real(run, tmp_path):
    """They become P(fake) before they are pooled."""
    file = windows_of(run, tmp_path / "w.csv")
    head, *lines = file.path.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    odds = [f"{clip},{start},{-math.log(float(p) / (1 - float(p)))!r}" for clip, start, p in cells]
    file.path.write_text("\n".join([head, *odds]))
    found = judge(asked(run, tmp_path / "x"), file._replace(scale="log-odds", higher_is_real=True))
    ours = {row["clip"]: float(row["fused"]) for row in rows_of(run)}
    scores = dict(zip(found.clips.source.tolist(), found.clips.scores["score"][0].tolist(), strict=True))
    assert scores == pytest.approx(ours)


def test_a_clip_with_an_empty_window_takes_no_part(run, tmp_path):
    file = windows_of(run, tmp_path / "w.csv")
    head, first, *lines = file.path.read_text().splitlines()
    clip, start, _ = first.split(",")
    file.path.write_text("\n".join([head, f"{clip},{start},", *lines]))
    found = judge(asked(run, tmp_path / "x"), file)
    assert clip not in found.clips.source
    assert found.windows is not None, "those of all others"
    assert clip not in found.windows.source
    assert (found.result["left_out"]["without_score"], found.result["left_out"]["rows"]) == (1, 24)


@pytest.fixture(scope="module")
def seeds(run, tmp_path_factory):
    """Two runs of one system that differ in their seed, joined by a comma and evaluated."""
    facts, model = weights.load(run / BEST, "train")
    root = tmp_path_factory.mktemp("seeds")
    for seed in (1, 2):
        cfg = facts.config.model_copy(update={"seed": seed})
        drawn = torch.Generator().manual_seed(seed)
        moved = {key: value + 0.3 * torch.randn(value.shape, generator=drawn) for key, value in model.items()}
        weights.save(root / f"s{seed}" / BEST, moved, facts.model_copy(update={"config": cfg}))
    return root


def test_scores_of_seeds_have_the_figures_of_the_runs(seeds, tmp_path):
    """From the columns of scores.csv, and from rows of windows and seeds; intervals include the seeds."""
    joined = f"{seeds}/s1,{seeds}/s2"
    for split in ("validation", "test"):
        files.write(evaluate(Request(joined, split=split, bootstrap=20, device="cpu")))
    place = seeds / "s1" / "eval" / "test-2-seeds"
    ours = json.loads((place / "report.json").read_text())
    wide = ScoreFile(place / "scores.csv")
    with (place / "windows.csv").open() as file:
        rows = [(row, seed) for row in csv.DictReader(file) for seed in (1, 0)]
    lines = [f"{row['clip']},{row['start']},{seed},{row[f'fused[{seed}]']}" for row, seed in rows]
    long = ScoreFile(tmp_path / "long.csv")
    long.path.write_text("\n".join(["file,start,seed,score", *lines]))
    for name, scores in (("wide", wide), ("long", long)):
        theirs = tmp_path / name
        validation = ScoreFile(seeds / "s1" / "eval" / "validation-2-seeds" / "scores.csv")
        wanted = Request(str(theirs), against=[joined], split="validation", tiers=("RVFA",), bootstrap=20)
        files.write(judge(wanted, validation))
        files.write(judge(Request(str(theirs), against=[joined], bootstrap=20), scores))
        found = json.loads((theirs / "eval" / "test" / "report.json").read_text())
        assert [one["seed"] for one in found["runs"]] == [0, 1]
        assert found["overall"]["score"]["auc_deviation"] > 0
        shared = {key: ours["overall"]["fused"][key] for key in found["overall"]["score"]}
        assert found["overall"]["score"] == shared
        # The validation file has clips, so its threshold holds for a file of clips alone.
        assert ("eer_threshold" in found["fitted"].get("score", {})) == (name == "wide")
        if name == "long":
            part = found["windows"]["score"]
            assert part == {key: ours["windows"]["fused"][key] for key in part}
        assert {pair["difference"] for pair in found["paired"]["s1"].values()} == {0.0}
        again = read(str(theirs), "test")
        assert again.clips.scores[again.name].shape == (2, 12)


def test_a_higher_score_may_mean_real(run, tmp_path):
    file = exported(run, tmp_path / "real.csv", change=lambda value: 1 - value)
    auc = judge(asked(run, tmp_path / "x"), file).result["overall"]["score"]["auc"]
    turned = judge(asked(run, tmp_path / "y"), file._replace(higher_is_real=True)).result["overall"]["score"]["auc"]
    assert turned == pytest.approx(1 - auc)
    ours = json.loads((run / "eval" / "test" / "report.json").read_text())
    assert turned == pytest.approx(ours["overall"]["fused"]["auc"])


def test_thresholds_of_scores_on_another_scale_are_not_used(run, tmp_path):
    file = exported(run, tmp_path / "validation.csv", "validation")
    files.write(judge(asked(run, tmp_path / "x", split="validation"), file._replace(scale="rank")))
    assert "score" not in judge(asked(run, tmp_path / "x"), exported(run, tmp_path / "test.csv")).result["fitted"]
    text = (tmp_path / "x" / "eval" / "validation" / "report.html").read_text()
    assert "The order of these scores alone has a meaning" in text


def test_clips_and_rows_that_take_no_part_are_listed_and_add_up(run, tmp_path):
    path = tmp_path / "some.csv"
    rows, others = rows_of(run), rows_of(run, "validation")
    lines = [f"{row['clip']},{row['fused']}" for row in [*rows[2:], *others[:3]]]
    path.write_text("\n".join(["clip,fused", *lines, f"{rows[0]['clip']},", "<b>gone</b>.mp4,0.5", "extra.mp4,"]))
    done = judge(asked(run, tmp_path / "x"), ScoreFile(path))
    counts = done.result["left_out"]
    assert counts["scored"] + counts["without_score"] == counts["clips"] == len(rows)
    assert sum(counts[name] for name in ("scored", "vocoded", "empty", "not_judged", "unknown")) == counts["named"]
    assert (counts["without_score"], counts["empty"], counts["not_judged"], counts["unknown"]) == (2, 2, 3, 1)
    said = files.write(done)
    assert f"{tmp_path}/x/eval/test/left_out.csv: 7 clips and rows that take no part" in said
    assert "2 of 12 clips have no score and take no part (left_out.csv)." in said
    with (tmp_path / "x" / "eval" / "test" / "left_out.csv").open() as file:
        listed = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert listed[rows[1]["clip"]] == f"no score in {path}"
    assert listed[rows[0]["clip"]].startswith("no score: its cell is empty in")
    assert listed[others[0]["clip"]] == "has a score, but is not judged in 'test'"
    assert listed["<b>gone</b>.mp4"] == "has a score, but is no clip of the element store"
    assert len(listed) == counts["listed"] == 7
    assert len(done.clips) == counts["scored"]


def test_elements_and_lists_can_be_named_without_a_run(run, small_store, tmp_path):
    request = asked(run, tmp_path / "x", against=(), elements=str(small_store / "elements"))
    file = exported(run, tmp_path / "test.csv")
    found = judge(request._replace(audit=True), file, str(small_store / "splits")).result
    assert found["overall"]["clips"] == 12
    assert found["audit"]["clips"].keys() == {"test", "train", "validation"}
    assert judge(request._replace(split="all"), file).result["left_out"]["without_score"] == 16


def refused(request, file, splits=None):
    with pytest.raises(UserError) as caught:
        judge(request, file, splits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(run, small_store, tmp_path):
    file = exported(run, tmp_path / "test.csv")
    assert "is a trained run; name another folder" in refused(asked(run, run), file)
    assert "name the clips by --elements" in refused(asked(run, tmp_path / "x", against=()), file)
    alone = asked(run, tmp_path / "x", against=(), elements=str(small_store / "elements"))
    assert "name the lists that --split test is of with --splits" in refused(alone, file)
    assert "not evaluated on train" in refused(asked(run, tmp_path / "x", split="train"), file)
    assert "two columns of the table would be called 'train'" in refused(
        asked(run, tmp_path / "x", against=[str(run)] * 2), file
    )
    splits = str(small_store / "splits")
    everything = asked(run, tmp_path / "x", split="validation", elements=str(small_store / "elements"), against=())
    validation = exported(run, tmp_path / "validation.csv", "validation")
    reals = tmp_path / "reals.csv"
    reals.write_text("\n".join(line for line in validation.path.read_text().splitlines() if "Fake" not in line))
    assert "split 'validation' has only real elements" in refused(everything, ScoreFile(reals), splits)
    assert not (tmp_path / "x").exists()


def test_other_clips_than_those_of_the_run_are_refused(run, tmp_path):
    """The run was evaluated on fewer clips, or they have other facts now."""
    other = tmp_path / "runs" / "train"
    (other / "eval" / "test").mkdir(parents=True)
    for name in ("report.json", "scores.csv"):
        (other / "eval" / "test" / name).write_text((run / "eval" / "test" / name).read_text())
    head, *lines = (run / "eval" / "test" / "scores.csv").read_text().splitlines()
    file = exported(run, tmp_path / "test.csv")
    (other / "eval" / "test" / "scores.csv").write_text("\n".join([head, *lines[1:]]) + "\n")
    assert "has no score of 1 of these clips" in refused(asked(other, tmp_path / "x"), file)
    (other / "eval" / "test" / "scores.csv").write_text("\n".join([head, *lines]).replace(",id5,", ",id9,") + "\n")
    assert "the identity of" in refused(asked(other, tmp_path / "x"), file)
