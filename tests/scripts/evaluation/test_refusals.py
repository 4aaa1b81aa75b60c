"""Runs, elements and requests that evaluate.py refuses, mostly before it scores anything."""

import errno

import pytest
import torch

import evaluate
from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import BEST
from avdfd.elements import ElementStore
from avdfd.evaluation import evaluate as evaluation
from avdfd.training import weights
from tests.helpers.evaluation import make_seed, refused
from tests.helpers.runs import AUDIO, SPLITS, make_run, make_store


def test_refuses_a_missing_run(tmp_path):
    assert "no such run folder" in refused(tmp_path / "none")
    assert "has no best.safetensors" in refused(tmp_path)


def test_refuses_a_damaged_checkpoint(run):
    data = (run / "best.safetensors").read_bytes()
    (run / "best.safetensors").write_bytes(data[: len(data) // 2])
    assert "best.safetensors: damaged" in refused(run)


def test_refuses_missing_elements(run, tmp_path):
    assert str(tmp_path / "none") in refused(run, "--elements", str(tmp_path / "none"))


@pytest.fixture
def before_scoring(monkeypatch):
    """Scoring may take hours: what cannot be met is refused before."""
    monkeypatch.setattr(evaluation, "score_systems", lambda *_: pytest.fail("scored first"))


def test_refuses_probes_without_the_videos(run, tmp_path, before_scoring):
    assert "--probes" in refused(run, "--probes", str(tmp_path))


def test_refuses_a_system_that_lacks_its_inputs(run, data, tmp_path, before_scoring):
    other = make_run(tmp_path, "pretrain", data, audio={**AUDIO, "input": "mel_err"})
    assert "its elements have no mel_err.npy" in refused(run, "--against", str(other))


def test_refuses_unknown_perturbations(run):
    assert "did you mean 'reverberation'?" in refused(run, "--robustness", "reverb")


def test_refuses_a_file_in_the_way(run):
    (run / "eval").write_text("")
    assert "eval/test: cannot be written to" in refused(run)


def test_unwritable_output_is_found_before_the_work(run, monkeypatch):
    def read_only(**_):
        raise PermissionError(errno.EACCES, "Permission denied", str(run))

    monkeypatch.setattr(evaluation, "score", lambda *_, **__: pytest.fail("worked first"))
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert "cannot be written to (Permission denied)" in refused(run)


def test_refuses_a_run_whose_stage_1_was_trained_on_test_identities(data, tmp_path):
    (tmp_path / "lists").mkdir()
    for split, theirs in (("train", "test"), ("validation", "validation"), ("test", "train")):
        (tmp_path / "lists" / f"{split}.txt").write_text("\n".join(SPLITS[theirs]))
    stage1 = make_run(tmp_path, "pretrain", data)
    facts, model = weights.load(stage1 / BEST, "pretrain")
    others = facts.config.data.model_copy(update={"splits": str(tmp_path / "lists")})
    cfg = facts.config.model_copy(update={"data": others})
    weights.save(stage1 / BEST, model, facts.model_copy(update={"config": cfg}))
    run = make_seed(tmp_path, data, 0, audio=str(stage1))
    assert "run 'pretrain': identity 'id5' of the test elements is in its train list" in refused(run)


def test_refuses_elements_without_reals(run, tmp_path):
    fakes = ElementStore(make_store(tmp_path / "own") / "elements")
    fakes.metas = fakes.metas.take([i for i, m in enumerate(fakes.metas) if m.tier == "RVFA"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "open_store", lambda *_, **__: fakes)
        assert "split 'all' has only fake elements" in refused(run, "--split", "all")


def test_a_score_that_is_not_a_number_is_an_error(run):
    facts, model = weights.load(run / BEST, "train")
    bad = torch.full_like(model["a2v_head.0.weight"], 3e38)  # weights that are not finite are refused before
    weights.save(run / BEST, {**model, "a2v_head.0.weight": bad}, facts)
    with pytest.raises(WorkError, match="its visual score of .* is not a number"):
        evaluate.main(["--run", str(run)])
    assert not (run / "eval" / "test" / "report.json").exists()


@pytest.mark.parametrize(
    "wrong",
    ["--split some", "--batch-size 0", "--bootstrap -1", "--sed 1", "--windows top0", "--name ../a", "--tiers RVRA"],
)
def test_refuses_wrong_arguments(run, wrong):
    with pytest.raises(UserError, match=wrong.split()[0]):
        evaluate.main(["--run", str(run), *wrong.split()])
