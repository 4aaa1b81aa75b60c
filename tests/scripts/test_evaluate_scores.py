"""evaluate.py --scores, and compare.py with what it writes."""

import csv
import json

import pytest

import compare
import evaluate
from avdfd import report
from avdfd.core.errors import UserError
from tests.helpers.audit_corpus import LISTS, corpus, write_files, write_lists
from tests.helpers.runs import make_run


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})


@pytest.fixture
def run(small_store, tmp_path):
    run = make_run(tmp_path, "train", small_store)
    evaluate.main(["--run", str(run), "--bootstrap", "20", "--device", "cpu"])
    return run


def test_scores_are_judged_and_compared(run, tmp_path, capsys):
    """A file of scores is another system to compare.py; the run's own has no difference from the run."""
    scores, theirs = run / "eval" / "test" / "scores.csv", tmp_path / "theirs"
    given = ["--scores", str(scores), "--run", str(theirs), "--against", str(run), "--bootstrap", "20"]
    assert evaluate.main(given) == 0
    assert "Protocol: scores from a file" in capsys.readouterr().out
    compare.main([str(run), str(theirs), "--out", str(tmp_path / "out"), "--bootstrap", "20"])
    result = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert {pair["difference"] for pair in result["paired"]["theirs"].values()} == {0.0}
    assert result["overall"]["theirs"] == result["overall"]["train"]


# ---- scores of windows


def windows_of(run, path, name="test", kept=lambda row: True):
    """Write the windows.csv of a run as another system would: its columns alone, in the opposite order."""
    with (run / "eval" / name / "windows.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if kept(row)]
    branch = "fused" if "fused" in rows[0] else "audio"
    lines = [f"{row['clip']},{row['start']},{row[branch]}" for row in reversed(rows)]
    path.write_text("\n".join(["file,start,score", *lines]))
    return path


def report_of(run, name="test"):
    return json.loads((run / "eval" / name / "report.json").read_text())


@pytest.fixture(scope="module", params=[0.0, 0.3], ids=["clean", "planted"])
def probed(request, tmp_path_factory):
    """A run that was evaluated with --strict --probes, its exit code and files; silence and length tell, or nothing."""
    root = tmp_path_factory.mktemp("probed")
    corpus(root / "elements", lead=request.param)
    videos = write_files(root / "videos", root / "elements", longer=0.5 * bool(request.param))
    run = make_run(root, "pretrain", write_lists(root, LISTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda _: {})
        options = ["--run", str(run), "--bootstrap", "20", "--device", "cpu"]
        code = evaluate.main([*options, "--strict", "--probes", str(videos)])
    return run, code, videos


def test_scores_of_windows_have_the_audit_of_the_run(probed, tmp_path):
    """Exit code, shortcuts in elements and files, leaks and probes left out are those of the same clips."""
    run, code, videos = probed
    file, theirs = windows_of(run, tmp_path / "w.csv"), tmp_path / "theirs"
    given = ["--scores", str(file), "--run", str(theirs), "--against", str(run), "--bootstrap", "20"]
    assert evaluate.main([*given, "--strict", "--probes", str(videos)]) == code
    found, ours = report_of(theirs), report_of(run)
    assert found["audit"] == ours["audit"]
    caught = {
        where: {cue for cue, one in of["RVFA"].items() if one["shortcut"]}
        for where, of in found["audit"]["probes"].items()
    }
    if code == evaluate.FOUND:
        assert "edge_silence" in caught["elements"]
        assert caught["files"] >= {"duration", "file_size"}
    else:
        assert (code, caught) == (0, {"elements": set(), "files": set()})
    for part in ("overall", "windows"):
        assert found[part]["score"] == {key: ours[part]["audio"][key] for key in found[part]["score"]}
    assert found["overall"]["windows"] == found["windows"]["clips"] == 6, "of clips of one window and of two"


def test_probes_alone_look_at_the_files_alone(probed, tmp_path):
    run, _, videos = probed
    file, theirs = windows_of(run, tmp_path / "w.csv"), tmp_path / "theirs"
    given = ["--scores", str(file), "--run", str(theirs), "--against", str(run), "--bootstrap", "0"]
    assert evaluate.main([*given, "--probes", str(videos)]) == 0, "they decide with --strict"
    audit, ours = report_of(theirs)["audit"], report_of(run)["audit"]
    assert audit["probes"] == {"files": ours["probes"]["files"]}
    assert (audit["leaks"], audit["clips"]) == ([], {})
    given = ["--scores", str(file), "--run", str(tmp_path / "wrong"), "--against", str(run)]
    with pytest.raises(UserError, match="no such file; --probes takes the root of the elements' source files"):
        evaluate.main([*given, "--probes", str(tmp_path)])
    assert not (tmp_path / "wrong" / "eval" / "test" / "report.json").exists()


def test_the_audit_is_of_all_clips_of_the_split_with_or_without_a_score(probed, tmp_path):
    run, code, videos = probed
    file = windows_of(run, tmp_path / "w.csv", kept=lambda row: "FakeAudio" not in row["clip"] or "id8" in row["clip"])
    given = ["--scores", str(file), "--run", str(tmp_path / "x"), "--against", str(run), "--bootstrap", "0"]
    assert evaluate.main([*given, "--strict", "--probes", str(videos)]) == code
    found = report_of(tmp_path / "x")
    assert found["left_out"]["without_score"] == 1
    assert found["audit"] == report_of(run)["audit"]


def test_clips_scored_after_windows_leave_no_windows_behind(run, tmp_path):
    """The windows of the former file would be compared as those of this one."""
    theirs = tmp_path / "theirs"
    given = ["--run", str(theirs), "--against", str(run), "--bootstrap", "0", "--scores"]
    evaluate.main([*given, str(windows_of(run, tmp_path / "w.csv"))])
    assert (theirs / "eval" / "test" / "windows.csv").exists()
    evaluate.main([*given, str(run / "eval" / "test" / "scores.csv")])
    assert not (theirs / "eval" / "test" / "windows.csv").exists()
    assert report_of(theirs)["windows"] is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--scores x.csv --robustness", "--robustness needs a model"),
        ("--scores x.csv --counterfactuals", "--counterfactuals needs a model"),
        ("--scores x.csv --device cpu", "--device needs a model"),
        ("--scores x.csv --batch-size 4", "--batch-size needs a model"),
        ("--scores x.csv --clips 4", "--clips needs a model"),
        ("--run x --higher-is-real", "--higher-is-real goes with --scores"),
        ("--run x --splits x", "--splits goes with --scores"),
        ("--split test", "name the run to evaluate with --run"),
    ],
)
def test_options_that_do_not_go_together(given, said, tmp_path):
    with pytest.raises(UserError, match=said):
        evaluate.main(given.split())
