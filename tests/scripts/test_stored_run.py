"""Runs, stores and evaluations made by commit 9bb9cc8 are read by the present code and give the same numbers.

tests/stored/README.md says what is stored and how it was made. A change that fails here breaks the files that users
already have: keep reading them, do not replace the archive.
"""

import csv
import json
import shutil
import tarfile

import pytest
import torch

import compare
import evaluate
import train
from avdfd import report
from avdfd.core.files import BEST, sha256_of
from avdfd.elements import ElementStore
from avdfd.training import checkpoint, weights
from tests.helpers.runs import epochs
from tests.paths import STORED

KINDS = {"mel": "pretrain", "statistics": "pretrain", "detector": "train", "avff": "avff", "mrdf": "mrdf", "vfd": "vfd"}
"""Stored run -> kind of its config."""
SINCE = {
    "mel": ["domain_audio"],
    "statistics": ["domain_audio"],
    "detector": ["weight_visual", "domain_audio", "domain_visual"],
    **{key: ["domain_audio", "domain_visual"] for key in ("avff", "mrdf", "vfd")},
}
"""Columns of scores.csv that these runs did not have."""
CHANGING = {"git"}
"""Keys of report.json that describe the code and not the result."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED / "made_by_9bb9cc8.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def stored(unpacked, tmp_path, monkeypatch):
    """The stored files as the working directory: the runs are copies, the store is shared by all tests."""
    for path in unpacked.iterdir():
        if path.name == "elements":
            (tmp_path / path.name).symlink_to(path)
        else:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    """Leave the figures out of the pages: they take long to draw and nothing here reads them."""
    monkeypatch.setattr(report, "draw", lambda _: {})


def read_scores(folder):
    with (folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def read_json(path):
    return json.loads(path.read_text())


def assert_contains(new, old, where="report"):
    """Assert that `new` has every key and element of `old`, with equal numbers.

    Floats may differ by 2e-6, two units of the last digit that report.json keeps of many, so that other processors,
    which sum in another order, pass as well. Sentences are not compared, because their wording may change.
    """
    if isinstance(old, dict):
        for key in old.keys() - CHANGING:
            assert key in new, f"{where}.{key}"
            assert_contains(new[key], old[key], f"{where}.{key}")
    elif isinstance(old, list):
        assert len(new) == len(old), where
        for number, (ours, theirs) in enumerate(zip(new, old, strict=True)):
            assert_contains(ours, theirs, f"{where}[{number}]")
    elif isinstance(old, float):
        assert new == pytest.approx(old, rel=1e-5, abs=2e-6), where
    elif not (isinstance(old, str) and " " in old):
        assert new == old, where


@pytest.mark.parametrize("name", KINDS)
def test_evaluation_gives_the_stored_scores_and_report(name, stored):
    run = stored / "trained" / name
    for split in ("validation", "test"):
        (run / "eval" / split).rename(stored / split)
        arguments = ["--run", f"trained/{name}", "--split", split, "--bootstrap", "20", "--device", "cpu"]
        assert evaluate.main(arguments) == 0
        new, old = read_scores(run / "eval" / split), read_scores(stored / split)
        assert len(new) == len(old) == 8
        for ours, theirs in zip(new, old, strict=True):
            since = {"short", *SINCE.get(name, ())}
            assert ours.keys() == theirs.keys() | since
            for column, text in theirs.items():
                if text and column in ("audio", "visual", "fused", "weight_audio", "discrepancy", "prototype_distance"):
                    assert float(ours[column]) == pytest.approx(float(text), rel=1e-6), column
                else:
                    assert ours[column] == text, column
        assert_contains(read_json(run / "eval" / split / "report.json"), read_json(stored / split / "report.json"))


def test_comparison_of_stored_evaluations_is_the_same(stored):
    systems = [f"trained/{name}" for name in ("detector", "mrdf", "vfd")]
    compare.main([*systems, "--bootstrap", "20", "--out", "again"])
    assert_contains(read_json(stored / "again" / "compare.json"), read_json(stored / "compared" / "compare.json"))


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_stored_weights_are_read(name, kind, stored):
    path = stored / "trained" / name / BEST
    facts, model = weights.load(path, kind)
    assert facts.config.kind == kind
    assert facts.epoch in (1, 2)
    assert all(torch.isfinite(value).all() for value in model.values() if value.is_floating_point())
    assert read_json(path.with_suffix(".json"))["sha256"] == sha256_of(path)


def test_an_interrupted_run_is_resumed_to_the_stored_result(stored):
    whole = stored / "trained" / "detector"
    whole.rename(stored / "whole")
    (stored / "interrupted").rename(whole)
    state, damaged = checkpoint.load_last(whole, "train", ("model", "optimizer", "rng", "progress"))
    assert not damaged
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 0)
    train.main(["--config", "detector.json", "--resume"])
    ours, theirs = epochs(whole), epochs(stored / "whole")
    assert_contains(ours, theirs, "metrics")
    assert [line["epoch"] for line in ours] == [1, 2]
    for key, value in weights.load(stored / "whole" / BEST, "train").model.items():
        torch.testing.assert_close(weights.load(whole / BEST, "train").model[key], value, rtol=1e-6, atol=1e-7)


def test_stored_elements_are_read(stored):
    store = ElementStore("elements")
    assert len(store.metas) == 28
    assert {meta.tier for meta in store.metas} == {"RVRA", "RVFA", "FVRA", "RVFA-VC"}
    element = store.read(store.metas[0].key, waveform=True, mel=True, frames=range(77))
    assert element.waveform.shape == (49152,)
    assert element.mel.shape == (128, 768)
    assert element.frames.shape == (77, 224, 224, 3)
