"""The protocol of an evaluation, given the training and the test elements."""

import json

import pytest

from avdfd.config import TrainConfig, parse
from avdfd.core.tiers import FAKES
from avdfd.evaluation import protocol
from avdfd.splits.lists import assign, read_splits, take
from tests.unit.elements import meta

SPLITS = {"train": ["id1", "id2"], "validation": ["id3"], "test": ["id4"]}
METHODS = (("RVRA", ""), ("RVFA", "tts"), ("FVFA", "wav2lip"), ("FVFA", "faceswap-wav2lip"), ("RVFA-VC", "world"))


@pytest.fixture
def metas():
    identities = [identity for group in SPLITS.values() for identity in group]
    return [
        meta(identity, tier, n, method=method) for identity in identities for n, (tier, method) in enumerate(METHODS)
    ]


def config(splits, fake_tiers):
    data = {"splits": str(splits), "fake_tiers": fake_tiers}
    return parse({"name": "x", "audio": "a", "data": data}, TrainConfig, "test")


@pytest.fixture
def folder(tmp_path):
    for split, identities in SPLITS.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(identities))
    return tmp_path


def clip_list(folder, name, metas, protocol, leave_out):
    """A clip list that leaves some clips out of training."""
    split_of = {identity: split for split, identities in SPLITS.items() for identity in identities}
    rows = [(split_of[m.identities[0]], m.identities[0], m.source) for m in metas]
    rows = [row for row, m in zip(rows, metas, strict=True) if not (row[0] == "train" and leave_out(m))]
    path = folder / f"{name}.csv"
    path.write_text("\n".join(",".join(row) for row in [("split", "identity", "source"), *rows]) + "\n")
    (folder / "split.json").write_text(json.dumps({"protocol": protocol, "lists": {}}))
    return path


def described(cfg, metas, *more, own=True, trains_on_fakes=True, published=False, tiers=None):
    tested = take(metas, assign(metas, read_splits(cfg.data.splits))["test"])
    tested = [m for m in tested if tiers is None or m.tier in tiers]
    how = {"trains_on_fakes": trains_on_fakes, "published": published}
    return protocol.describe([cfg, *more], **how, own=metas if own else None, tested=tested)


def test_within(folder, metas):
    result = described(config(folder, ["RVFA", "FVFA", "RVFA-VC"]), metas)
    assert result["name"] == "within"
    assert result["trained_tiers"] == result["judged_tiers"] == ["FVFA", "RVFA", "RVFA-VC"]
    assert result["new_tiers"] == result["new_kinds"] == []
    assert result["people"] == {"train": 2, "validation": 1}
    assert (result["lists"], result["lists_protocol"]) == (str(folder), None)


def test_cross_manipulation(folder, metas):
    result = described(config(folder, ["RVFA", "FVFA"]), metas)
    assert (result["name"], result["new_tiers"], result["new_kinds"]) == (
        "cross-manipulation", ["RVFA-VC"], ["RVFA-VC world"]
    )  # fmt: skip
    alone = described(config(folder, ["RVFA"]), metas, tiers=("RVRA", "RVFA-VC"))
    assert (alone["name"], alone["judged_tiers"]) == ("cross-manipulation", ["RVFA-VC"])
    same = described(config(folder, ["RVFA"]), metas, tiers=("RVRA", "RVFA"))
    assert same["name"] == "within"


def test_training_tiers_of_stage_1_are_not_new(folder, metas):
    stage2, stage1 = config(folder, ["RVFA", "FVFA"]), config(folder, ["RVFA", "RVFA-VC"])
    result = described(stage2, metas, stage1)
    assert (result["name"], result["trained_tiers"]) == ("within", ["FVFA", "RVFA", "RVFA-VC"])
    elsewhere = stage1.model_copy(update={"data": stage1.data.model_copy(update={"elements": "voxceleb"})})
    assert described(stage2, metas, elsewhere)["name"] == "within"


def test_clips_outside_the_lists_were_not_trained_on(tmp_path, metas):
    path = clip_list(tmp_path, "without_FVFA-WL", metas, "leave_one_method_out", lambda m: m.method == "wav2lip")
    result = described(config(path, ["RVFA", "FVFA", "RVFA-VC"]), metas)
    assert (result["name"], result["left_out"]) == ("leave one method out", "FVFA-WL")
    assert (result["new_tiers"], result["new_kinds"]) == ([], ["FVFA wav2lip"])
    assert result["lists_protocol"] == "leave_one_method_out"


def test_real_only(tmp_path, folder, metas):
    path = clip_list(tmp_path, "real_only", metas, "real_only", lambda m: m.label == 1)
    for result in (
        described(config(path, ["RVFA"]), metas),
        described(config(folder, ["RVFA"]), metas, trains_on_fakes=False),
    ):
        assert (result["name"], result["trained_tiers"]) == ("real-only", [])
        assert result["new_tiers"] == ["FVFA", "RVFA", "RVFA-VC"]


def test_published_weights_were_trained_on_what_their_authors_state(folder, metas):
    """The tiers and lists of the config say nothing about weights that were not trained here."""
    cfg = config(folder, ["RVFA"])
    for own in (True, False):
        result = described(cfg, metas, own=own, published=True)
        assert (result["name"], result["trained_tiers"], result["people"]) == ("published weights", [], {})
        assert result["new_tiers"] == result["new_kinds"] == []
        assert result["judged_tiers"] == ["FVFA", "RVFA", "RVFA-VC"]
        assert protocol.fitted_tiers(result) == [*FAKES], "which of validation they were trained on is not known"
    assert protocol.fitted_tiers(described(cfg, metas)) == ["RVFA"]
    real = described(cfg, metas, published=True, trains_on_fakes=False)
    assert (real["name"], protocol.fitted_tiers(real)) == ("real-only", []), "a system that never takes a fake"


def test_cross_dataset(folder, metas):
    result = described(config(folder, ["RVFA"]), metas, own=False)
    assert (result["name"], result["trained_tiers"]) == ("cross-dataset", ["RVFA"])
    assert result["new_tiers"] == ["FVFA", "RVFA-VC"]
    # A method of another data set may be the same one by another name; a tier cannot.
    assert result["new_kinds"] == ["FVFA faceswap-wav2lip", "FVFA wav2lip", "RVFA-VC world"]


def test_real_clips_alone_have_no_tested_tiers(folder, metas):
    assert described(config(folder, ["RVFA"]), metas, tiers=("RVRA",))["judged_tiers"] == []
