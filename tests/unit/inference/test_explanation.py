"""Explanations match the effect of patches on the score."""

import pytest
import torch

from avdfd.features.patches import Front
from avdfd.inference.explanation import audio_effect
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
