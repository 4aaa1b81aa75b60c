"""Perturbed clips in the report."""

import json

import evaluate
from tests.helpers.evaluation import report_of
from tests.helpers.runs import TIERS


def test_perturbed_clips_are_in_the_report(run, capsys):
    wanted = ["--robustness", "sound_late", "brightness", "--clips", "2"]
    assert evaluate.main(["--run", str(run), "--bootstrap", "10", *wanted]) == 0
    section = report_of(run)["robustness"]
    assert list(section["perturbations"]) == ["brightness", "sound_late"]
    assert (section["clips"], section["windows"]) == (2 * len(TIERS), 4 * len(TIERS))
    folder = run / "eval" / "test" / "robustness" / "train"
    kept = {path.name: json.loads(path.read_text())["scores"] for path in folder.iterdir()}
    assert len(kept) == 11
    assert kept["brightness-5.json"]["audio"] == kept["clean.json"]["audio"]  # which is not given frames
    assert kept["brightness-5.json"]["visual"] != kept["clean.json"]["visual"]
    assert kept["sound_late-5.json"]["audio"] != kept["clean.json"]["audio"]
    html = (run / "eval" / "test" / "report.html").read_text()
    assert "Robustness</h2>" in html
    assert "Late audio, 400 ms" in html
    assert "AUC at severity 5" in capsys.readouterr().out
