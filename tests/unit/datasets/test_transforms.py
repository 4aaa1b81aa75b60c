"""Model inputs: a clip does not depend on its batch, and one draw augments all of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avdfd.config import AugmentConfig, SynchronyConfig
from avdfd.datasets.transforms import (
    FRAME_CHOICE,
    generators,
    mel_input,
    mel_of,
    resize,
    shift_out_of_sync,
    video_input,
)
from avdfd.features.mel import log_mel, zscore

OFF = AugmentConfig()
EVERYTHING = AugmentConfig(
    time_mask=200, mel_mask=40, mel_noise=1.0, mel_tilt=1.0, flip=0.5, grayscale=0.5, brightness=0.5, shift=20
)
SEEDS = [(seed, 0) for seed in range(6)]


@pytest.fixture(scope="module")
def frames():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 16, 64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def log_mels():
    return torch.from_numpy(np.random.default_rng(0).normal(-5, 2, (6, 128, 768)).astype(np.float32))


def plain(frames):
    return frames.permute(0, 4, 1, 2, 3)


def test_frame_choice_covers_the_window():
    assert len(FRAME_CHOICE) == 16
    assert (FRAME_CHOICE[0], FRAME_CHOICE[-1]) == (2, 74)
    assert set(np.diff(FRAME_CHOICE)) <= {4, 5}


def test_mel_is_z_scored(log_mels):
    mel = mel_input(log_mels, OFF, None)
    np.testing.assert_allclose(mel.mean(dim=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(mel.std(dim=(1, 2)), 1, atol=1e-4)
    wide = log_mels[2].numpy().astype(np.float64)
    expected = (wide - wide.mean()) / (wide.std(ddof=1) + 1e-6)
    np.testing.assert_allclose(mel[2], expected, rtol=1e-6, atol=1e-7)


def test_mel_is_computed_from_16_bits_and_mels_are_unchanged(log_mels):
    samples = torch.from_numpy(np.random.default_rng(0).integers(-(2**15), 2**15, (2, 49_152)).astype(np.int16))
    exact = torch.stack([log_mel(one.double() / 2**15) for one in samples]).float()
    torch.testing.assert_close(mel_of(samples), exact, rtol=1e-4, atol=1e-4)
    assert mel_of(log_mels) is log_mels


def test_video_layout(frames):
    video = video_input(frames, 64, OFF, None)
    assert video.shape == (6, 3, 16, 64, 64)
    assert video.dtype == torch.uint8
    assert video.is_contiguous()
    assert torch.equal(video[4, 1, 5], frames[4, 5, :, :, 1])


def test_smaller_video_is_antialiased(frames):
    video = video_input(frames, 32, OFF, None)
    assert video.shape == (6, 3, 16, 32, 32)
    exact = F.interpolate(plain(frames)[3].float(), size=(32, 32), mode="bilinear", antialias=True)
    assert (video[3] - exact).abs().max() <= 1
    assert (resize(torch.full((1, 64, 64, 3), 200, dtype=torch.uint8), 48) == 200).all()


def test_no_augmentation_without_generators(frames, log_mels):
    assert torch.equal(video_input(frames, 64, EVERYTHING, None), video_input(frames, 64, OFF, None))
    assert torch.equal(mel_input(log_mels, EVERYTHING, None), mel_input(log_mels, OFF, None))


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("size", [64, 32])
def test_clip_does_not_depend_on_its_batch(frames, log_mels, per_frame, size):
    """Nor on their order, as any process may prepare a clip."""
    before = frames.clone(), log_mels.clone()
    video = video_input(frames, size, EVERYTHING, generators(SEEDS), per_frame=per_frame)
    mel = mel_input(log_mels, EVERYTHING, generators(SEEDS))
    for i, seed in enumerate(SEEDS):
        alone = slice(i, i + 1)
        one = video_input(frames[alone], size, EVERYTHING, generators([seed]), per_frame=per_frame)
        assert torch.equal(one[0], video[i])
        assert torch.equal(mel_input(log_mels[alone], EVERYTHING, generators([seed]))[0], mel[i])
    assert torch.equal(frames, before[0])
    assert torch.equal(log_mels, before[1])


def test_flip_and_greyscale_change_the_drawn_clips(frames):
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)
    grey = (plain(frames) * weights).sum(dim=1, keepdim=True).round().to(torch.uint8).expand(-1, 3, -1, -1, -1)
    for name, changed in (("flip", plain(frames).flip(-1)), ("grayscale", grey)):
        video = video_input(frames, 64, AugmentConfig(**{name: 0.5}), generators(SEEDS))
        picked = [np.random.default_rng(seed).random() < 0.5 for seed in SEEDS]
        assert 0 < sum(picked) < 6
        for clip, was_picked, before, after in zip(video, picked, plain(frames), changed, strict=True):
            difference = clip.int() - (after if was_picked else before).int()
            assert difference.abs().max() <= (name == "grayscale")  # halves may be rounded either way


def test_brightness_is_a_gain_and_a_contrast_around_the_mean(frames):
    calm = frames // 4 + 96  # no value is clipped
    video = video_input(calm, 64, AugmentConfig(brightness=0.2), generators(SEEDS))
    for clip, before, seed in zip(video.double(), plain(calm).double(), SEEDS, strict=True):
        gain, contrast = 1 + 0.2 * np.random.default_rng(seed).uniform(-1, 1, 2)
        expected = (before - before.mean()) * contrast + before.mean() * gain
        assert (clip - expected).abs().max() <= 0.5001
    assert len({clip.numpy().tobytes() for clip in video}) == 6


def test_shift_repeats_the_edge(frames):
    reach = 40 * 64 // 224
    video = video_input(frames, 64, AugmentConfig(shift=40), generators(SEEDS))
    moves = set()
    for clip, before, seed in zip(video, plain(frames), SEEDS, strict=True):
        dy, dx = np.random.default_rng(seed).integers(0, 2 * reach + 1, 2) - reach
        rows, columns = (np.arange(64).__add__(d).clip(0, 63) for d in (dy, dx))
        assert torch.equal(clip, before[..., rows[:, None], columns])
        moves.add((dy, dx))
    assert len(moves) > 3


@pytest.mark.parametrize("augment", [{"flip": 0.5}, {"grayscale": 0.5}, {"brightness": 0.4}, {"shift": 20}])
def test_one_draw_applies_to_all_frames(frames, augment):
    """Sixteen equal frames stay equal to each other under every draw, and the draws differ."""
    still = frames[:1, :1].expand(12, 16, -1, -1, -1)
    video = video_input(still, 64, AugmentConfig(**augment), generators([(seed,) for seed in range(12)]))
    assert torch.equal(video, video[:, :, :1].expand_as(video))
    assert len({clip.numpy().tobytes() for clip in video}) > 1


def test_faithful_mode_draws_per_frame(frames):
    video = video_input(frames, 64, AugmentConfig(flip=0.5), generators(SEEDS), per_frame=True)
    for clip, before in zip(video, plain(frames), strict=True):
        flipped = [torch.equal(clip[:, t], before[:, t].flip(-1)) for t in range(16)]
        assert 0 < sum(flipped) < 16


def test_each_mask_hides_one_span(log_mels):
    before = mel_input(log_mels, OFF, None)
    mel = mel_input(log_mels, AugmentConfig(time_mask=100, mel_mask=20), generators(SEEDS))
    for clip, whole in zip(mel, before, strict=True):
        spans = []
        for axis, most in ((0, 100), (1, 20)):
            hidden = np.flatnonzero((clip == 0).all(dim=axis))
            assert len(hidden) <= most
            assert np.all(np.diff(hidden) == 1)
            spans.append(hidden)
        expected = whole.clone()
        expected[:, spans[0]] = 0
        expected[spans[1]] = 0
        assert torch.equal(clip, expected)
    assert (mel == 0).any(dim=2).any(dim=1).sum() > 3


def test_noise_is_added_to_the_normalised_mel(log_mels):
    noise = mel_input(log_mels, AugmentConfig(mel_noise=0.3), generators(SEEDS)) - mel_input(log_mels, OFF, None)
    assert noise.std(dim=(1, 2)).numpy() == pytest.approx(0.3, abs=3e-3)
    assert noise.mean(dim=(1, 2)).numpy() == pytest.approx(0, abs=4e-3)
    assert np.abs(np.corrcoef(noise.flatten(1))[np.triu_indices(6, 1)]).max() < 0.02  # different in every clip


def test_tilt_colours_whole_bins(log_mels):
    mel = mel_input(log_mels, AugmentConfig(mel_tilt=0.5), generators(SEEDS))
    curves = (
        mel
        - mel_input(log_mels, OFF, None)
        * (mel[:, :, 1:] - mel[:, :, :1]).std(dim=(1, 2))[:, None, None]
        / (zscore(log_mels)[:, :, 1:] - zscore(log_mels)[:, :, :1]).std(dim=(1, 2))[:, None, None]
    )
    torch.testing.assert_close(curves, curves[:, :, :1].expand_as(curves), rtol=0, atol=1e-3)
    np.testing.assert_allclose(mel.std(dim=(1, 2)), 1, atol=1e-4)
    assert len({curve.numpy().round(2).tobytes() for curve in curves[:, :, 0]}) == 6


def shifted(label, *, samples=768, **chances):
    """Shift clips whose audio and video encode their time; return both shifts in frames, and the labels."""
    clips = len(label)
    audio = torch.arange(samples).expand(clips, 2, -1)
    video = torch.arange(16, dtype=torch.uint8)[None, None, :, None, None].expand(clips, 3, 16, 2, 2)
    rngs = generators([(seed, 1) for seed in range(clips)])
    shape = torch.arange(77.0)[None, :, None].expand(clips, 77, 120)
    audio, video, shape, label = shift_out_of_sync(audio, video, shape, label, SynchronyConfig(**chances), rngs)
    assert (audio.diff(dim=2) == 1).sum() >= clips * 2 * (samples - 2)  # shifted circularly, nothing lost
    audio_shift = -audio[:, 0, 0] % samples * 16 / samples
    video_shift = -video[:, 0, 0, 0, 0].int() % 16
    assert shape is not None
    times = (torch.arange(77) - video_shift[:, None] * 76.8 / 16) % 76.8  # of the frames that are shown
    apart = (shape[:, :, 0] - times).abs()
    assert torch.minimum(apart, 76.8 - apart).max() <= 0.81, "at the seam the window has 76.8 frames, not 77"
    assert (apart <= 0.501).float().mean() > 0.97
    return audio_shift, video_shift, label


@pytest.mark.parametrize("samples", [768, 49_152])
def test_audio_and_video_are_shifted_together(samples):
    audio, video, label = shifted(torch.zeros(40), samples=samples, out_of_step=0.0, turned=1.0)
    assert (audio == video).all()
    assert len(set(video.tolist())) > 8
    assert (label == 0).all()


def test_real_clips_out_of_sync_become_fakes():
    audio, video, label = shifted(torch.zeros(200), out_of_step=0.5, turned=0.5)
    apart = (audio - video) % 16
    assert set(label[apart == 0].tolist()) == {0.0}
    assert set(label[apart != 0].tolist()) == {1.0}
    assert 70 < (apart != 0).sum() < 130
    assert set(apart.tolist()) == {0.0, *map(float, range(2, 15))}  # by at least 384 ms, in either direction


def test_fakes_stay_in_sync():
    audio, video, label = shifted(torch.ones(60), out_of_step=1.0, turned=0.5)
    assert (audio == video).all()
    assert (label == 1).all()
