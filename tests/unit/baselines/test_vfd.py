"""VFD's batches and its map from distance to score."""

import pytest
import torch
from torch import nn

from avdfd.baselines import vfd
from avdfd.config import VfdConfig, parse
from avdfd.core.errors import UserError
from avdfd.models.vfd import VoiceFace
from tests.unit.elements import meta


def config(**changes):
    data = {"splits": "lists.csv", "fake_tiers": ["FAKE"]}
    return parse({"kind": "vfd", "name": "v", "data": data, **changes}, VfdConfig, "test")


def matcher():
    return vfd.Matcher(VoiceFace(year=2023, dim=8, depth=1, heads=1, image_size=32, out_dim=4))


def test_scores_differ_after_a_few_batches_of_large_distances():
    """The running mean and variance start at 0 and 1, and a batch used to change them by a tenth."""
    model, distances = matcher(), 500 + 10 * torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for batch in distances:
        model.logit(batch)
    assert float(model.spread.running_mean) == pytest.approx(float(distances.mean()), abs=0.01)
    assert float(model.spread.running_var) == pytest.approx(float(distances.var(dim=1).mean()), abs=0.01)
    scores = model.eval().logit(torch.tensor([490.0, 500.0, 510.0])).sigmoid()
    assert scores.tolist() == pytest.approx([0.27, 0.5, 0.73], abs=0.05)


def test_later_batches_change_the_running_mean_by_a_tenth():
    model, reference = matcher(), nn.BatchNorm1d(1, affine=False)
    distances = 10 + torch.randn(30, 8, 1, generator=torch.Generator().manual_seed(0))
    for batch in distances[:9]:
        model.logit(batch[:, 0])
    reference.load_state_dict(model.spread.state_dict())
    resumed = matcher()
    resumed.load_state_dict(model.state_dict())
    for batch in distances[9:]:
        model.logit(batch[:, 0])
        resumed.logit(batch[:, 0])
        reference(batch)
    for one in (model, resumed):
        torch.testing.assert_close(one.spread.state_dict(), reference.state_dict())


def test_few_fakes_make_one_batch():
    metas = [meta(f"r{i}", "RVRA") for i in range(2)] + [meta(f"f{i}", "FAKE") for i in range(3)]
    cfg = config(pair_by="any", finetune={"batch_size": 16})
    (batch,) = vfd.batches(cfg, "finetune", metas)
    assert sorted(draw.position for draw in batch[3:]) == [2, 3, 4]


def test_one_identity_cannot_be_matched():
    with pytest.raises(UserError, match=r"lists.csv: voice-face matching contrasts identities, but a split has one"):
        vfd.batches(config(), "match", [meta("a", "RVRA", clip) for clip in range(9)])


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ({}, ("match", "finetune")),
        ({"face": {"file": "f"}, "voice": {"file": "v"}}, ("finetune",)),
        ({"face": {"file": "f"}, "voice": {"file": "v"}, "frozen": True}, ("match",)),
    ],
)
def test_stages_that_published_weights_leave(model, stages):
    assert vfd.stages(config(model=model)) == stages
