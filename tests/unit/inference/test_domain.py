"""Features of branches, distances beside scores, and the file of a domain."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch

from avdfd.core.errors import UserError, WorkError
from avdfd.core.files import BEST, sha256_of
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.inference import domain, runs, scoring
from avdfd.inference.domain import Domain
from avdfd.metrics.domain import distances, fit
from tests.helpers.runs import make_run, make_store
from tests.helpers.three_branches import make_three_branches

BRANCHES = {"audio", "consistency", "picture"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), landmarks=True)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return runs.load_run(make_three_branches(tmp_path_factory.mktemp("runs"), data), "cpu")


@pytest.fixture(scope="module")
def elements(data, run):
    store = ElementStore(data / "elements")
    return ElementSet(store, split_metas(run.config, store, "test"), run.inputs)


@pytest.fixture(scope="module")
def features(run, elements):
    return domain.features_of(run, elements)


def made_up(run, features):
    """Return a domain of features, all of one class."""
    references = {branch: fit(values, np.zeros(len(values))) for branch, values in features.items()}
    far = {branch: distances(references[branch], values) for branch, values in features.items()}
    facts = {"checkpoint_sha256": sha256_of(run.folder / BEST), "corpus": {"built_in": True}, "audio": {}}
    return Domain([references], far, {branch: values[:5] for branch, values in far.items()}, facts)


def test_each_branch_has_features_of_its_own(run, elements, features):
    assert set(features) == BRANCHES
    assert {branch: values.shape for branch, values in features.items()} == {
        "audio": (len(elements), 256), "picture": (len(elements), 32), "consistency": (len(elements), 24),
    }  # fmt: skip
    one = domain.features_of(run, elements, batch_size=1)
    for branch in BRANCHES:
        np.testing.assert_allclose(one[branch], features[branch], rtol=1e-3, atol=1e-5)


def test_runs_with_fewer_branches(run, elements, data, tmp_path):
    alone = runs.audio_only(run)
    assert set(domain.features_of(alone, ElementSet(elements.store, elements.metas, alone.inputs))) == {"audio"}
    for kind, branches in (("pretrain", {"audio"}), ("train", {"audio", "visual"})):
        other = runs.load_run(make_run(tmp_path, kind, data), "cpu")
        assert set(domain.features_of(other, ElementSet(elements.store, elements.metas, other.inputs))) == branches


def test_distances_are_beside_unchanged_scores(run, elements, features):
    known = made_up(run, features)
    plain, found = (
        scoring.score(run, elements),
        scoring.score(domain.with_distances(run, known.references[0]), elements),
    )
    assert (plain.distances, set(found.distances)) == ({}, BRANCHES)
    for branch in BRANCHES:
        np.testing.assert_allclose(found.distances[branch], known.calibration[branch], rtol=1e-4)
        assert np.array_equal(found.branch[branch], plain.branch[branch])
    assert set(found.branch) == set(plain.branch)


def test_a_clip_beyond_the_limit_in_any_branch_is_out_of_domain(run, features):
    known = made_up(run, features)
    far = {branch: float(values.max()) for branch, values in known.calibration.items()}
    near = {branch: float(values.min()) for branch, values in known.calibration.items()}
    assert known.place(near, short=False)["overall"]["distance"] < 1
    for branch in BRANCHES:
        placed = known.place({**near, branch: 10 * far[branch]}, short=False)
        assert placed["overall"]["distance"] > 1
        assert (placed[branch]["percentile"], placed["overall"]["percentile"]) == (100, 100)
    # The limit of audio alone is its own.
    assert known.place({"audio": 0.99 * far["audio"]}, short=False)["overall"]["distance"] == pytest.approx(0.99)
    # Short clips are compared with short ones.
    assert known.place({"audio": float(known.short["audio"].max())}, short=True)["overall"]["distance"] == 1


def test_file_is_read_as_it_was_written(run, features, tmp_path):
    known, path = made_up(run, features), tmp_path / domain.FILE
    assert domain.load(path, [run]) is None
    path.write_bytes(domain.encode(known))
    read = domain.load(path, [run])
    assert (read.facts, read.built_in, set(read.calibration)) == (known.facts, True, BRANCHES)
    for branch in BRANCHES:
        for part in ("calibration", "short"):
            assert np.array_equal(getattr(read, part)[branch], getattr(known, part)[branch])
        assert np.array_equal(read.references[0][branch].whitening, known.references[0][branch].whitening)
    facts = {**known.facts, "checkpoint_sha256": "0" * 64}
    path.write_bytes(domain.encode(replace(known, facts=facts)))
    assert domain.load(path, [run]) is None, "of other weights"


def test_several_runs_have_a_description_each(run, features, tmp_path):
    one, path = made_up(run, features), tmp_path / domain.FILE
    wide = {branch: 2 * values for branch, values in features.items()}
    references = [*one.references, {branch: fit(values, np.zeros(len(values))) for branch, values in wide.items()}]
    facts = {**one.facts, "checkpoint_sha256": 2 * [one.facts["checkpoint_sha256"]]}
    path.write_bytes(domain.encode(replace(one, references=references, facts=facts)))
    read = domain.load(path, [run, run])
    for branch in BRANCHES:
        for ours, theirs in zip(read.references, references, strict=True):
            assert np.array_equal(ours[branch].means, theirs[branch].means)
    assert domain.load(path, [run]) is None, "of one of them alone"
    path.write_bytes(domain.encode(replace(one, facts=facts)))
    with pytest.raises(UserError, match="damaged, or written by another version"):
        domain.load(path, [run, run])


def test_values_that_are_not_finite_are_named(run, elements):
    def broken(batch):
        return {"audio": batch.mel.mean(dim=2).index_fill(0, torch.tensor([2]), torch.nan)}

    alone = replace(runs.audio_only(run), early=broken)
    with pytest.raises(WorkError, match=f"its audio branch takes of {elements.metas[2].key} is not finite"):
        domain.features_of(alone, ElementSet(elements.store, elements.metas, alone.inputs), batch_size=100)


@pytest.mark.parametrize(
    "damage",
    [
        {"audio.means": np.zeros((1, 255))},
        {"audio.whitening": np.zeros((256, 255))},
        {"audio.whitening": np.zeros(256)},
        {"audio.means": np.zeros((1, 256), np.float32)},
        {"audio.means": np.full((1, 256), np.nan)},
        {"audio.calibration": np.zeros(3)},
        {"audio.calibration": np.zeros(0)},
        {"audio.short": np.zeros((5, 1))},
        {"audio.short": None},
        {"other.means": np.zeros((1, 256))},
        {"1/audio.means": np.zeros((1, 256)), "1/audio.whitening": np.eye(256)},
    ],
    ids=lambda damage: "-".join(f"{key} {None if x is None else x.shape}" for key, x in damage.items()),
)
def test_damaged_files_are_refused(run, features, tmp_path, damage):
    path = tmp_path / domain.FILE
    path.write_bytes(domain.encode(made_up(run, features)))
    metadata = {"avdfd": '{"checkpoint_sha256": "", "corpus": {"built_in": true}}'}
    tensors = {key: x for key, x in (safetensors.numpy.load_file(path) | damage).items() if x is not None}
    path.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))
    with pytest.raises(UserError, match="damaged, or written by another version; evaluate the run on validation again"):
        domain.load(path, [run])


@pytest.mark.parametrize("content", [b"", b"no safetensors file", safetensors.numpy.save({"audio.means": np.zeros(1)})])
def test_foreign_files_are_refused(run, tmp_path, content):
    path = tmp_path / domain.FILE
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged, or written by another version"):
        domain.load(path, [run])
