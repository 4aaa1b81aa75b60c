"""Scoring gives each element its own score in any batch; runs are loaded or refused."""

from dataclasses import replace

import numpy as np
import pytest

from avdfd.core.errors import WorkError
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference import scoring
from avdfd.inference.runs import load_run
from tests.helpers.runs import make_run


@pytest.fixture(scope="module")
def data(small_store):
    return small_store


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return load_run(make_run(tmp_path_factory.mktemp("runs"), "train", data), "cpu")


@pytest.fixture(scope="module")
def elements(data, run):
    store = ElementStore(data / "elements")
    return ElementSet(store, split_metas(run.config, store, "test"), run.inputs)


def test_scores_are_in_the_order_of_the_elements(run, elements):
    scores = scoring.score(run, elements, batch_size=5)
    assert scores.keys == [m.key for m in elements.metas]
    assert set(scores.branch) == {"audio", "visual", "fused"}
    assert scores.discrepancy.shape == (len(elements), 8)
    assert all(((p > 0) & (p < 1)).all() for p in scores.branch.values())
    low = np.minimum(scores.branch["audio"], scores.branch["visual"]) - 1e-6
    high = np.maximum(scores.branch["audio"], scores.branch["visual"]) + 1e-6
    assert ((scores.branch["fused"] >= low) & (scores.branch["fused"] <= high)).all()


def test_batch_size_and_workers_do_not_change_scores(run, elements):
    one = scoring.score(run, elements, batch_size=1)
    many = scoring.score(run, elements, batch_size=7, workers=1)
    for branch in ("audio", "visual", "fused"):
        np.testing.assert_allclose(one.branch[branch], many.branch[branch], rtol=1e-4, atol=1e-6)


def test_windows_in_memory_score_like_the_store(run, elements):
    stored = scoring.score(run, elements)
    windows = [elements.store.read(m.key, frames=range(77)) for m in elements.metas[:3]]
    scores = scoring.score_windows(run, windows)
    np.testing.assert_allclose(scores.branch["fused"], stored.branch["fused"][:3], rtol=1e-4, atol=1e-6)


def test_a_stage1_run_has_the_audio_branch_only(data, tmp_path):
    run = load_run(make_run(tmp_path, "pretrain", data), "cpu")
    store = ElementStore(data / "elements")
    scores = scoring.score(run, ElementSet(store, split_metas(run.config, store, "test"), run.inputs))
    assert run.branches == tuple(scores.branch) == ("audio",)
    assert scores.weights == {}


def test_input_that_is_not_finite_is_named_with_its_clip(run, elements, monkeypatch):
    """Not the training is blamed, nor its weights."""
    bad = elements.metas[4]
    read = ElementStore.read

    def spoilt(store, key, **wanted):
        element = read(store, key, **wanted)
        return replace(element, mel=element.mel * np.nan) if key == bad.key else element

    monkeypatch.setattr(ElementStore, "read", spoilt)
    with pytest.raises(WorkError) as caught:
        scoring.score(run, elements)
    assert str(caught.value) == (
        f"{run.folder}: its audio score of {bad.key} is not a number: the inputs of {bad.key} (clip {bad.source}) are "
        "not finite; make this element again"
    )
