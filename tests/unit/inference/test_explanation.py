"""Explanations match the effect of patches on the score."""

import numpy as np
import pytest
import torch

from avdfd.features.patches import Front
from avdfd.inference.explanation import at, audio_effect, best_lag
from tests.helpers.models import small_audio_net


def test_audio_effect_is_the_change_by_a_patch():
    torch.manual_seed(0)
    model = small_audio_net().eval()
    mel = torch.randn(3, 128, 768)
    with torch.no_grad():
        effect = audio_effect(model.encoder, model.head, mel)
        for patch in range(12):
            other = mel.clone()
            other[..., 64 * patch : 64 * (patch + 1)] = mel.unflatten(-1, (12, 64)).mean(dim=2)
            expected = model(mel).logit - model(other).logit
            assert effect[:, patch] == pytest.approx(expected, abs=1e-6)


class Listener:
    """An encoder without mixing: a token is the mean of its patch."""

    front = Front()

    def __call__(self, patches):
        tokens = patches.values.mean(dim=2)
        return tokens, tokens


def test_audio_effect_finds_the_patch_that_decides():
    mel = torch.zeros(1, 128, 768)
    mel[..., 7 * 64 : 8 * 64] = 1  # the mean over patches is 1 / 12
    effect = audio_effect(Listener(), lambda feat: 3 * feat[:, 7:8], mel)
    assert effect[0].tolist() == pytest.approx([3.0 * 11 / 12 if patch == 7 else 0.0 for patch in range(12)])


def test_the_lag_is_that_of_the_highest_correlation():
    agreement = np.zeros((3, 31))
    agreement[[0, 1, 2], [15, 18, 5]] = 1
    assert best_lag(agreement).tolist() == [0, 120, -400]


def test_a_moment_is_the_mean_of_the_windows_that_show_it():
    values = np.arange(8.0).reshape(2, 4)
    starts = [0.0, 1.536]
    assert at(starts, values, 0.1) == 0
    assert at(starts, values, 1.6) == pytest.approx((2 + 4) / 2)
    assert at(starts, values, 4.6) == 7
    assert at(starts, values, 4.7) is None
    assert at(starts, values, -0.1) is None
