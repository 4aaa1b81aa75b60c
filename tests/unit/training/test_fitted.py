"""The fitted score of stage 1: what the regression finds, and how both stages use it."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import pretrain
import train
from avdfd.config import AudioModelConfig
from avdfd.models.audio_encoder import pooled
from avdfd.training.build import build_audio_net, load_audio_net
from avdfd.training.fitted import centred_regression
from tests.helpers.runs import SPECTRA, epochs, state

FITTED = {**SPECTRA, "score": "fitted"}


def clips(seed, groups=6, per_class=20, numbers=5):
    """Fakes differ from the reals of their group in number 0 by 2; groups lie far apart in number 1."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(groups, 2, per_class, numbers))
    values[:, 1, :, 0] += 2
    values[..., 1] += 50 * rng.normal(size=(groups, 1, 1))
    labels = np.broadcast_to(np.arange(2)[None, :, None], values.shape[:3])
    group = np.broadcast_to(np.arange(groups)[:, None, None], values.shape[:3])
    return values.reshape(-1, numbers), labels.reshape(-1), group.reshape(-1)


def test_regression_finds_within_group_differences():
    values, labels, groups = clips(0)
    centre, direction = centred_regression(values, labels, groups, 1.0)
    np.testing.assert_allclose(centre, values.mean(0))
    assert ((values - centre) @ direction).std() == pytest.approx(1)
    strength = direction * np.std(values - np.stack([values[groups == g].mean(0) for g in groups]), axis=0)
    assert strength[0] > 5 * np.abs(strength[1:]).max()


def test_differences_between_groups_are_ignored():
    values, labels, groups = clips(1)
    moved = values + 3 * np.random.default_rng(2).normal(size=(6, 5))[groups]
    one, other = (centred_regression(v, labels, groups, 0.1)[1] for v in (values, moved))
    np.testing.assert_allclose(one / np.linalg.norm(one), other / np.linalg.norm(other), atol=1e-4)


def test_groups_of_one_class_are_left_out():
    values, labels, groups = clips(3)
    alone = values[labels == 1] + 100
    more = np.concatenate([values, alone])
    found = centred_regression(
        more, np.append(labels, np.ones(len(alone), int)), np.append(groups, np.full(len(alone), 9)), 0.1
    )[1]
    expected = centred_regression(values, labels, groups, 0.1)[1]
    np.testing.assert_allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), atol=1e-6)
    with pytest.raises(ValueError, match="no group has real and fake clips"):
        centred_regression(values, labels, labels, 0.1)


def test_directions_in_which_real_clips_vary_are_penalised():
    """As by the definition, with the covariance matrix itself; real clips of a group without fakes count, too."""
    values, labels, groups = clips(4)
    values[:, 2] += np.where(labels == 1, 2, 0) + 6 * np.random.default_rng(5).normal(size=len(values))
    alone = np.random.default_rng(6).normal(size=(30, 5)) * [1, 1, 1, 4, 1]
    values = np.concatenate([values, alone])
    labels, groups = np.append(labels, np.zeros(30, int)), np.append(groups, np.full(30, 9))
    found = centred_regression(values, labels, groups, 0.1, 3.0)[1]

    both = groups != 9
    x = np.concatenate([values[groups == g] - values[groups == g].mean(0) for g in np.unique(groups[both])])
    y = np.concatenate([labels[groups == g] for g in np.unique(groups[both])])
    scale = x.std(0) + 1e-6
    rest = [values[(groups == g) & (labels == 0)] / scale for g in np.unique(groups)]
    covariance = np.cov(np.concatenate([of - of.mean(0) for of in rest]).T, bias=True)
    variance, vectors = np.linalg.eigh(np.eye(5) + 3.0 * covariance)
    root = vectors / np.sqrt(variance) @ vectors.T
    expected = root @ LogisticRegression(C=0.1).fit(x / scale @ root, y).coef_[0] / scale
    np.testing.assert_allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), atol=1e-5)
    plain = centred_regression(values, labels, groups, 0.1)[1]
    assert abs(found[2] / found[0]) < abs(plain[2] / plain[0])


def test_feature_starts_with_the_score_and_the_head_scales_it():
    torch.manual_seed(0)
    net = build_audio_net(AudioModelConfig(**FITTED)).eval()
    score = net.encoder.score
    score.centre.normal_()
    score.direction.normal_()
    audio = torch.randn(3, 49_152) / 10
    out = net(audio)
    values = pooled(net.encoder.front(audio))
    expected = ((values.double() - score.centre.double()) * score.direction.double()).sum(1)
    torch.testing.assert_close(out.feat[:, 0].double(), expected, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(out.logit, out.feat[:, 0])  # scale 1, offset 0 at first
    patches = net.encoder.front(audio).values
    torch.testing.assert_close(
        values, torch.cat([patches.mean(1), patches.std(1, correction=0)], 1), rtol=1e-2, atol=1e-2
    )


def test_both_stages_use_the_fitted_score(stage1, stage2, tmp_path):
    pretrain.main(stage1(model=FITTED, augment={}))
    run = tmp_path / "runs" / "one"
    aucs = [line["val_auc"] for line in epochs(run)]
    assert aucs == [aucs[0]] * 3  # what training moves is its scale
    net = load_audio_net(run)[0].eval()
    assert net.encoder.score.direction.abs().max() > 0
    train.main(stage2())
    detector = state(next(path for path in (tmp_path / "runs").iterdir() if path != run))
    assert torch.equal(detector["audio_encoder.score.direction"], net.encoder.score.direction)
    assert torch.equal(detector["audio_head.scale.weight"], net.head.scale.weight)
