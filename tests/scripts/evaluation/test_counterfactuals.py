"""Counterfactuals in the report, also of systems of audio alone."""

import evaluate
from tests.helpers.evaluation import BRANCHES, make_seed, report_of
from tests.helpers.runs import TIERS, make_run


def test_counterfactuals_are_in_the_report(run, data, tmp_path, capsys):
    other = make_seed(tmp_path, data, 1)
    wanted = ["--against", str(other), "--counterfactuals", "--clips", "2", "--bootstrap", "20"]
    assert evaluate.main(["--run", str(run), *wanted]) == 0
    section = report_of(run)["counterfactuals"]
    assert (section["branch"], section["clips"], section["left_out"]) == ("visual", 2 * len(TIERS), {})
    assert list(section["verdicts"]) == [*BRANCHES, "seed1"]
    # The audio branch takes no frames: it cannot notice whose audio it is, or what becomes of the video.
    assert section["stranger"]["branches"]["audio"]["auc"] == 0.5
    own, fixed, shuffled = (section["replaced"][kind]["overall"] for kind in ("own", "fixed_audio", "shuffled"))
    assert (fixed["audio"]["auc"], shuffled["audio"]["auc"]) == (0.5, own["audio"]["auc"])
    text = capsys.readouterr().out
    assert "The visual branch uses the relation of audio and video: " in text
    assert "The score of seed1 uses the relation of audio and video: " in text
    assert "Does it use the relation of audio and video?" in (run / "eval" / "test" / "report.html").read_text()


def test_a_system_of_audio_alone_among_others_uses_no_video(run, data, tmp_path, capsys):
    other = make_run(tmp_path, "pretrain", data)
    evaluate.main(["--run", str(run), "--against", str(other), "--counterfactuals", "--clips", "2", "--bootstrap", "0"])
    assert report_of(run)["counterfactuals"]["audio_only"] == ["pretrain"]
    said = "The score of pretrain uses the relation of audio and video: not applicable (no video is taken)."
    assert said in capsys.readouterr().out


def test_a_run_of_audio_alone_has_no_relation_to_test(data, tmp_path, capsys):
    run = make_run(tmp_path, "pretrain", data)
    assert evaluate.main(["--run", str(run), "--counterfactuals", "--clips", "2", "--bootstrap", "0"]) == 0
    section = report_of(run)["counterfactuals"]
    assert section["verdicts"]["audio"]["uses"] is None
    assert section["stranger"]["branches"]["audio"]["auc"] == 0.5
    assert "The audio branch uses the relation of audio and video: not applicable (" in capsys.readouterr().out
    kept = {path.stem.rstrip("+-0123456789") for path in (run / "eval/test/counterfactuals").rglob("*.json")}
    assert kept == {"stranger", "shift", "fixed_audio", "reversed"}  # what the video shows was not scored


def test_reports_without_counterfactuals_say_so(evaluated):
    html = (evaluated / "eval" / "test" / "report.html").read_text()
    assert "Use of the relation of audio and video: not tested (evaluate.py --counterfactuals)." in html
