"""detect.py gives a file the score of evaluate.py, and a verdict by what validation has fitted."""

import csv
import json

import numpy as np
import pytest

import detect
import evaluate
from avdfd.core.errors import UserError
from avdfd.elements.form import encode_wav
from tests.helpers.detection import make_corpus
from tests.helpers.runs import make_run

pytestmark = pytest.mark.usefixtures("in_process")

SPLITS = {"train": ["id1"], "validation": ["id2", "id3"], "test": ["id4", "id5", "id6", "id7", "id8"]}
MEDIA = {"keep": ["waveform", "mel"], "hop": 0.8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Files of 3.2 to 6 s, four for each identity, their elements, split lists, and an untrained run of stage 1."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)

    def write(path, _, name, number):
        noise = rng.standard_normal(int(16_000 * rng.uniform(3.2, 6)))
        slow = np.convolve(noise, np.ones(1 + number + 2 * (name == "RVFA")), "same")
        path.write_bytes(encode_wav((0.1 * slow).astype(np.float32), 16_000))

    media = make_corpus(root, SPLITS, MEDIA, {"RVRA": "", "RVFA": ""}, ".wav", write)
    make_run(root, "pretrain", media=media)
    return root


def evaluated(root, split, *more):
    evaluate.main(["--run", str(root / "pretrain"), "--split", split, "--bootstrap", "0", "--device", "cpu", *more])
    return root / "pretrain" / "eval" / split


def lines(root, capsys, *more):
    capsys.readouterr()
    files = [str(root / "files" / folder) for folder in ("RealVideo-RealAudio", "RealVideo-FakeAudio")]
    detect.main(["--json", "--run", str(root / "pretrain"), "--device", "cpu", *files, *more])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["file"].removeprefix(f"{root / 'files'}/"): line for line in found}


@pytest.mark.parametrize("rule", ["mean", "max", "top2"])
def test_a_file_has_one_score_and_the_verdict_of_its_band(corpus, rule, capsys):
    report = json.loads((evaluated(corpus, "validation", "--windows", rule) / "report.json").read_text())
    low, high = report["fitted"]["audio"]["bands"]["0.05"][0]
    scores = list(
        csv.DictReader((evaluated(corpus, "test", "--windows", rule) / "scores.csv").read_text().splitlines())
    )
    found = lines(corpus, capsys)
    assert len(scores) == 20
    decided = []
    for row in scores:
        line = found[row["clip"]]
        assert line["score"] == pytest.approx(float(row["audio"]), abs=1e-6)
        called = "fake" if line["score"] >= high else "real" if line["score"] < low else "uncertain"
        decided.append(called != "uncertain")
        far = line["domain"]["overall"]["distance"] > 1
        assert line["verdict"] == ("out of domain" if far else called)
        assert line["calibrated"]
    tested = json.loads((corpus / "pretrain/eval/test/report.json").read_text())
    assert [row["allowed"] for row in tested["coverage"]] == [0.01, 0.02, 0.05, 0.1, 0.2]
    assert tested["coverage"][2]["coverage"] == pytest.approx(np.mean(decided))
    html = (corpus / "pretrain/eval/test/report.html").read_text()
    assert "How many clips can be decided?" in html


def test_a_threshold_that_is_asked_for_leaves_nothing_open(corpus, capsys):
    evaluated(corpus, "validation")
    near = [line for line in lines(corpus, capsys, "--threshold", "0.5").values() if line["verdict"] != "out of domain"]
    assert len(near) > 10
    assert all(line["verdict"] == ("fake" if line["score"] >= 0.5 else "real") for line in near)


def test_without_a_validation_report_nothing_is_calibrated(corpus, capsys):
    report = evaluated(corpus, "validation") / "report.json"
    known = json.loads(report.read_text())
    report.unlink()
    (report.parent / "domain.safetensors").unlink()
    found = lines(corpus, capsys)
    assert not any(line["calibrated"] for line in found.values())
    assert all((line["verdict"] == "fake") == (line["score"] >= 0.5) for line in found.values())
    known["runs"][0]["checkpoint_sha256"] = "0" * 64
    report.write_text(json.dumps(known))
    assert not any(line["calibrated"] for line in lines(corpus, capsys).values()), "other weights were evaluated"
    known["fitted"] = []
    report.write_text(json.dumps(known))
    with pytest.raises(UserError, match="damaged, or written by another version; evaluate the run again"):
        lines(corpus, capsys)
