"""Stages 2a and 2 on AV-HuBERT's features and on a ViT's tokens with drawn weights, to the report."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import evaluate
import train
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference.runs import load_run
from avdfd.inference.scoring import score, score_windows
from avdfd.training import backbone_cache, weights
from avdfd.training.build import load_consistency
from tests.helpers.representations import write_representation
from tests.helpers.runs import VISUAL, epochs, log, make_run, make_talking_store, write_config

KINDS = {"av-hubert": "symmetric", "vit": "a2v"}
"""Kind -> direction of its run of both stages."""
COMPONENTS = 8
OPTIM = {"lr": 1e-3, "epochs": 1, "warmup_epochs": 0, "batch_size": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store with enough identities for stage 2a, and a run of stage 1."""
    root = make_talking_store(tmp_path_factory.mktemp("data"))
    make_run(root / "runs", "pretrain", root)
    return root


@pytest.fixture(scope="module", params=KINDS)
def made(request, data, tmp_path_factory):
    """Run stages 2a and 2; return kind, folder and the section of the representation."""
    folder, kind = tmp_path_factory.mktemp(request.param), request.param
    section = write_representation(folder, kind)
    model = {"representation": section, "direction": KINDS[kind], "components": COMPONENTS}
    first = write_config(folder, data, "consistency", "mouth", [], {"model": model})
    train.main(["--stage", "consistency", *first, "--rounds=0"])
    values = {
        "audio": str(data / "runs" / "pretrain"),
        "consistency": {"init": str(folder / "runs" / "mouth")},
        "visual": VISUAL,
        "optim": OPTIM,
    }
    second = write_config(folder, data, "train", "three", ["RVFA", "FVRA"], values)
    frozen = [*second, "--backbone_lr_scale=0", "--augment.flip=0"]
    train.main([*frozen, "--cache=true"])
    train.main([*frozen, "--name=uncached"])
    return kind, folder, section


def test_stage_2a_predicts_the_features_computed_once(made, data):
    kind, folder, section = made
    run = folder / "runs" / "mouth"
    model, sizes = load_consistency(run)
    encoder = section["avhubert" if kind == "av-hubert" else "vit"]
    assert model.reduction.shape == (encoder["dim"], COMPONENTS)
    assert model.shape_basis.shape == (COMPONENTS, 6)
    assert sizes.representation.encoder.sha256 == encoder["sha256"]
    assert "cache: frozen features of 12 clips" in log(run)
    assert "set cache" not in log(run), "which stage 2a does not have"
    saved = weights.load(run / BEST, "consistency").model
    assert {"reduction", "shape_basis", "predictor.weight", "predictor.bias"} <= {*saved}
    assert ("audio_basis" in saved) == (sizes.direction == "symmetric")
    abouts = [json.loads(path.read_text()) for path in (data / "elements" / backbone_cache.FOLDER).glob("*/about.json")]
    ours = [about for about in abouts if about["of"].get("representation", {}).get("kind") == kind]
    assert [about["columns"]["features"]["shape"] for about in ours] == [[77, encoder["dim"]]]


def test_stage_2_refers_to_the_encoder_and_caches_it(made):
    _, folder, _ = made
    cached, plain = (epochs(folder / "runs" / name) for name in ("three", "uncached"))
    for one, other in zip(cached, plain, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-5)
    saved = weights.load(folder / "runs" / "three" / BEST, "train")
    assert not any(key.startswith("representation") for key in saved.model)
    assert saved.facts.consistency_model.representation.kind == made[0]


def test_scores_follow_the_mouth_and_are_those_of_windows_in_memory(made, data):
    _, folder, _ = made
    run = load_run(folder / "runs" / "three", "cpu")
    store = ElementStore(data / "elements")
    metas = split_metas(run.config, store, "test")[:2]
    found = score(run, ElementSet(store, metas, run.inputs))
    windows = [
        replace(store.read(meta.key, waveform=True, frames=range(77), landmarks=True), meta=None) for meta in metas
    ]
    again = score_windows(run, windows)
    for branch, values in found.branch.items():
        np.testing.assert_allclose(again.branch[branch], values, rtol=1e-4, atol=1e-6)
    inverted = [replace(window, frames=window.frames[::-1].copy()) for window in windows]
    assert not np.allclose(score_windows(run, inverted).agreement, again.agreement, atol=1e-4)


def test_a_run_is_evaluated_and_its_encoder_found_elsewhere(made, tmp_path):
    kind, folder, _ = made
    run = folder / "runs" / "three"
    evaluate.main(["--run", str(run), "--device", "cpu", "--bootstrap", "20"])
    result = json.loads((run / "eval" / "test" / "report.json").read_text())
    assert result["branches"] == ["audio", "consistency", "picture", "fused"]
    file = folder / f"{kind}.pt"
    away = file.rename(tmp_path / file.name)
    with pytest.raises(UserError, match="no such file of weights"):
        load_run(run, "cpu")
    assert load_run(run, "cpu", [tmp_path]).branches[-1] == "fused"
    away.rename(file)


@pytest.mark.parametrize("direction", ["a2v", "v2a", "symmetric"])
def test_every_direction_on_every_representation(made, data, direction):
    _, folder, section = made
    arguments = write_config(folder, data, "consistency", direction, [], {"model": {"representation": section}})
    request = ["--stage", "consistency", *arguments, "--rounds=0", f"--model.direction={direction}"]
    train.main([*request, f"--model.components={COMPONENTS}"])
    model, sizes = load_consistency(folder / "runs" / direction)
    assert (sizes.direction, sizes.components) == (direction, COMPONENTS)
    talk = torch.randn(2, 128, 768), torch.randn(2, 77, model.reduction.shape[0])
    count = len(model.directions) * 6
    assert [side.shape for side in model.tokens(*talk)] == [(2, 77, count)] * 2
    if direction == "v2a":
        with pytest.raises(UserError, match="direction 'v2a' predicts audio from principal components"):
            train.main([*request, "--model.components=0", "--name=all"])


def test_components_that_are_none_are_refused(made, tmp_path):
    _, folder, _ = made
    for name, kind in (("mouth", "consistency"), ("three", "train")):
        facts, saved = weights.load(folder / "runs" / name / BEST, kind)
        key = next(key for key in saved if key.endswith("reduction"))
        weights.save(tmp_path / name / BEST, {**saved, key: 2 * saved[key]}, facts)
    message = "its 'reduction' does not hold principal components, which are orthonormal; run stage 2a again"
    with pytest.raises(UserError, match=message):
        load_consistency(tmp_path / "mouth")
    with pytest.raises(UserError, match=message):
        load_run(tmp_path / "three", "cpu")
