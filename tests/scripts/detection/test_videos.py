"""detect.py gives a video the score that evaluate.py gives its elements, with faces, landmarks and several windows."""

import csv
import json

import numpy as np
import pytest

import detect
import evaluate
from avdfd import report
from avdfd.core.files import BEST
from avdfd.features.window import FPS
from avdfd.training import weights
from tests.helpers.detection import make_corpus
from tests.helpers.heads import SIZE, Place, head, scene
from tests.helpers.recordings import record
from tests.helpers.three_branches import make_three_branches

pytestmark = pytest.mark.usefixtures("in_process")

SPLITS = {"train": ["id1"], "validation": ["id2"], "test": ["id3", "id4", "id5", "id6", "id7"]}
MEDIA = {"keep": ["waveform", "mel", "frames", "landmarks"], "hop": 2.0, "max_windows": 2}
SECONDS = {"RVRA": (1.4, 5.3), "FVRA": (2.5, 7.3)}
"""Two files are shorter than a window, one has two windows, one three."""


def film(path, seconds, seed, large):
    """Write a drawn head that talks to noise, as a face crop or in a larger image."""
    rng = np.random.default_rng(seed)
    times = [number / FPS for number in range(round(seconds * FPS))]
    openings = 0.4 + 0.4 * np.sin(rng.uniform(4, 8) * np.array(times))
    images = [
        scene([Place(240, 130, opening=opening, seed=seed)]) if large else head(round(opening, 1), seed)
        for opening in openings.tolist()
    ]
    audio = 0.1 * np.repeat(openings, 16_000 // FPS) * rng.standard_normal(len(times) * 16_000 // FPS)
    record(path, times, audio, rate=16_000, size=SIZE if large else images[0].shape[:2], images=images)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Videos, two for each identity and class, their elements, split lists, and an untrained run of three branches."""
    root = tmp_path_factory.mktemp("corpus")

    def write(path, identity, name, number):
        seed = int(identity.removeprefix("id")) - 1
        film(path, SECONDS[name][number], seed, large=seed % 3 == 0 and number == 1)

    media = make_corpus(root, SPLITS, MEDIA, dict.fromkeys(SECONDS, ""), ".mp4", write)
    run = make_three_branches(root, root)
    facts, model = weights.load(run / BEST, "train")
    data = facts.config.data.model_copy(update={"fake_tiers": ["FVRA"]})
    config = facts.config.model_copy(update={"data": data})
    weights.save(run / BEST, model, facts.model_copy(update={"media": media, "config": config}))
    return root


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda _: {})


def test_twenty_videos_have_the_scores_of_the_evaluation(corpus, capsys):
    common = ["--run", str(corpus / "three"), "--device", "cpu"]
    for split in ("validation", "test"):
        evaluate.main([*common, "--split", split, "--windows", "top2", "--bootstrap", "0"])
    stored = list(csv.DictReader((corpus / "three/eval/test/scores.csv").read_text().splitlines()))
    capsys.readouterr()
    files = sorted({corpus / "files" / row["clip"] for row in stored})
    assert detect.main([*common, "--json", *map(str, files)]) == 0
    said = capsys.readouterr()
    lines = {line["file"]: line for line in map(json.loads, said.out.splitlines())}
    assert [*lines] == [str(file) for file in files], "in their order"
    assert len(stored) == 20
    for row in stored:
        line = lines[str(corpus / "files" / row["clip"])]
        assert line["score"] == pytest.approx(float(row["fused"]), abs=1e-6)
        for branch in ("audio", "consistency", "picture"):
            assert line[f"{branch}_score"] == pytest.approx(float(row[branch]), abs=1e-6)
            assert line[f"weight_{branch}"] == pytest.approx(float(row[f"weight_{branch}"]), abs=1e-6)
        assert line["lag_ms"] == float(row["lag_ms"])
        assert (len(line["windows"]), str(line["short"]).lower()) == (int(row["windows"]), row["short"])
    assert sorted(len(line["windows"]) for line in lines.values()) == [1] * 10 + [2] * 10
    assert "judges the first 2 windows of a file, as its elements have them; --hop SECONDS judges all" in said.err

    longest = [str(file) for file in files if "FakeVideo" in str(file) and file.name == "1.mp4"][:1]
    detect.main([*common, "--json", *longest, "--hop", "2"])
    said = capsys.readouterr()
    assert len(json.loads(said.out)["windows"]) == 3
    assert "judges the first" not in said.err
