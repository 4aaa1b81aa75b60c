"""The similarity over lags against the released formula, frame by frame."""

import pytest
import torch
import torch.nn.functional as F

from avdfd.models.avhubert import AVHubert
from avdfd.models.avhubert_features import FrozenAVHubert
from avdfd.models.speechforensics import SpeechForensics, lag_similarity
from tests.helpers.avhubert import SIZES


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def released(video, audio, reach):
    """(T, D) each -> (L,): cosine of each frame of video with 2 reach + 1 frames of padded audio, mean over frames."""
    video, audio = (x / x.norm(dim=1, keepdim=True) for x in (video, audio))
    padded = F.pad(audio, (0, 0, reach, reach))
    rows = [
        F.cosine_similarity(video[t : t + 1].repeat(2 * reach + 1, 1), padded[t : t + 2 * reach + 1])
        for t in range(len(video))
    ]
    return torch.stack(rows).mean(dim=0)


@pytest.mark.parametrize(("steps", "reach"), [(77, 15), (5, 15), (9, 2)])
def test_equals_the_released_formula(steps, reach):
    video, audio = drawn(2, steps, 8), drawn(2, steps, 8, seed=1)
    found = lag_similarity(video, audio, reach)
    for clip in range(2):
        torch.testing.assert_close(found[clip], released(video[clip], audio[clip], reach))


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_late_audio_is_found_at_its_lag(late):
    audio = drawn(1, 60, 16)
    video = audio.roll(-late, dims=1) + 0.1 * drawn(1, 60, 16, seed=1)
    found = lag_similarity(video, audio)
    assert found.argmax().item() - 15 == late
    assert found.max() > 0.9


def test_length_of_features_does_not_count():
    video, audio = drawn(1, 20, 8), drawn(1, 20, 8, seed=1)
    torch.testing.assert_close(lag_similarity(3 * video, audio / 7), lag_similarity(video, audio))


def test_gradient_is_that_of_the_formula():
    video, audio = (drawn(1, 6, 4, seed=seed).double().requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda *x: lag_similarity(*x, 2).double(), (video, audio), eps=1e-3, atol=1e-3)


def test_the_model_scores_each_clip_alone():
    torch.manual_seed(0)
    model = SpeechForensics(FrozenAVHubert(AVHubert(**SIZES), ["audio", "video"])).eval()
    mouth, bank = drawn(3, 1, 9, 24, 24), drawn(3, 104, 9)
    found = model((mouth, bank))
    features = model.encoder((mouth, bank))
    for clip in range(3):
        torch.testing.assert_close(found[clip], model((mouth[clip][None], bank[clip][None]))[0])
        torch.testing.assert_close(found[clip], released(features.video[clip], features.audio[clip], 15).max())
