"""Inputs of the models, and that augmentation is one draw for a clip and never without a generator."""

import numpy as np
import pytest
import torch

from avdfd.config import AugmentConfig
from avdfd.datasets.transforms import FRAME_CHOICE, mel_input, normalise, video_input

OFF = AugmentConfig()


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def log_mel():
    return np.random.default_rng(0).normal(-5, 2, (128, 768)).astype(np.float32)


def test_frame_choice_covers_the_window():
    assert len(FRAME_CHOICE) == 16
    assert (FRAME_CHOICE[0], FRAME_CHOICE[-1]) == (2, 74)
    assert set(np.diff(FRAME_CHOICE)) <= {4, 5}


def test_mel_is_z_scored(log_mel):
    mel = mel_input(log_mel, OFF, None)
    assert mel.mean().item() == pytest.approx(0, abs=1e-5)
    assert mel.std().item() == pytest.approx(1, abs=1e-4)


def test_video_layout(frames):
    video = video_input(frames, 64, OFF, None)
    assert video.shape == (3, 16, 64, 64)
    assert video.dtype == torch.uint8
    assert torch.equal(video[1, 5], torch.from_numpy(frames[5, :, :, 1]))


def test_smaller_video_keeps_the_mean(frames):
    video = video_input(frames, 32, OFF, None)
    assert video.shape == (3, 16, 32, 32)
    assert video.float().mean().item() == pytest.approx(frames.mean(), abs=1)


def test_nothing_is_augmented_without_a_generator(frames, log_mel):
    everything = AugmentConfig(
        time_mask=200, mel_mask=40, mel_noise=1.0, mel_tilt=1.0, flip=1.0, grayscale=1.0, brightness=0.5, shift=8
    )
    assert torch.equal(video_input(frames, 64, everything, None), video_input(frames, 64, OFF, None))
    assert torch.equal(mel_input(log_mel, everything, None), mel_input(log_mel, OFF, None))


@pytest.mark.parametrize("augment", [{"flip": 0.5}, {"grayscale": 0.5}, {"brightness": 0.4}, {"shift": 20}])
def test_one_draw_for_all_frames(augment):
    """Sixteen equal frames stay equal to each other under every draw, and the draws differ."""
    frames = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8), 16, axis=0)
    outcomes = set()
    for seed in range(12):
        video = video_input(frames, 64, AugmentConfig(**augment), np.random.default_rng(seed))
        assert torch.equal(video, video[:, :1].expand_as(video))
        assert video.shape == (3, 16, 64, 64)
        outcomes.add(video.numpy().tobytes())
    assert len(outcomes) > 1


def test_faithful_mode_draws_per_frame():
    frames = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8), 16, axis=0)
    video = video_input(frames, 64, AugmentConfig(flip=0.5), np.random.default_rng(0), per_frame=True)
    flipped = [torch.equal(video[:, t], video_input(frames, 64, OFF, None)[:, 0].flip(-1)) for t in range(16)]
    assert 0 < sum(flipped) < 16


def test_masks_hide_what_they_say(log_mel):
    rng = np.random.default_rng(1)
    plain = mel_input(log_mel, OFF, None)
    for _ in range(20):
        mel = mel_input(log_mel, AugmentConfig(time_mask=100), rng)
        hidden = (mel == 0).all(dim=0)
        assert hidden.sum() <= 100
        assert torch.equal(mel[:, ~hidden], plain[:, ~hidden])


def test_tilt_colours_whole_bins(log_mel):
    mel = mel_input(log_mel, AugmentConfig(mel_tilt=0.5), np.random.default_rng(0))
    assert mel.std().item() == pytest.approx(1, abs=1e-4)
    raw = torch.from_numpy(log_mel)
    ratio = (mel[:, 1:] - mel[:, :1]) / (raw[:, 1:] - raw[:, :1])
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-2, atol=1e-2)


def test_normalise():
    video = torch.zeros(2, 3, 16, 4, 4, dtype=torch.uint8)
    video[:, 0] = 255
    out = normalise(video)
    assert out[0, 0].unique().item() == pytest.approx((1 - 0.485) / 0.229)
    assert out[0, 2].unique().item() == pytest.approx(-0.406 / 0.225)
