"""Frames and batches of MRDF."""

import numpy as np
import pytest
import torch

from avdfd.baselines.mrdf_inputs import half_size, mrdf_normalise, mrdf_video, pad_batch


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


def halved(frames):
    """Means of 2x2 pixels, rounded half up."""
    count, height, width, _ = frames.shape
    total = frames.reshape(count, height // 2, 2, width // 2, 2, 3).sum(axis=(2, 4), dtype=int)
    return ((total + 2) // 4).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (200, 260)])
def test_the_middle_of_the_half_size_frame(height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    video = mrdf_video(half_size(frames), None)
    top, left = (height // 2 - 100) // 2, (width // 2 - 100) // 2
    expected = halved(frames)[:, top : top + 100, left : left + 100]
    assert video.dtype == torch.uint8
    assert np.array_equal(video.permute(1, 2, 3, 0).numpy(), expected)


def test_random_crops_are_places_of_the_same_frame(frames):
    small = halved(frames)
    cuts = {}
    for top in range(13):
        for left in range(13):
            cut = small[:, top : top + 100, left : left + 100].transpose(3, 0, 1, 2)
            cuts[cut.tobytes()] = (top, left, False)
            cuts[cut[..., ::-1].tobytes()] = (top, left, True)
    drawn = [
        cuts[mrdf_video(torch.from_numpy(small), np.random.default_rng(seed)).numpy().tobytes()] for seed in range(60)
    ]
    tops, lefts, mirrored = (set(values) for values in zip(*drawn, strict=True))
    assert mirrored == {False, True}
    assert {0, 12} <= tops
    assert {0, 12} <= lefts
    assert len(set(drawn)) > 30


def test_a_draw_is_repeatable(frames):
    first, again = (mrdf_video(half_size(frames), np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, again)


def test_small_frames_are_refused(frames):
    with pytest.raises(ValueError, match="frames of 224x199 are smaller than 200x200"):
        half_size(frames[:, :199])


def test_normalisation():
    video = torch.tensor([0, 107, 255], dtype=torch.uint8)
    expected = torch.tensor([-0.421 / 0.165, (107 / 255 - 0.421) / 0.165, (1 - 0.421) / 0.165])
    torch.testing.assert_close(mrdf_normalise(video), expected)


def example(steps):
    rng = torch.Generator().manual_seed(steps)
    video = torch.randint(0, 256, (3, steps, 4, 4), generator=rng, dtype=torch.uint8)
    return video, torch.randn(104, steps, generator=rng)


def test_batches_are_padded_to_the_longest():
    examples = [example(3), example(7), example(5)]
    video, audio, padding_mask = pad_batch(examples)
    assert (video.shape, video.dtype) == ((3, 3, 7, 4, 4), torch.uint8)
    assert (audio.shape, padding_mask.shape) == ((3, 104, 7), (3, 7))
    assert (~padding_mask).sum(dim=1).tolist() == [3, 7, 5]
    for i, (frames, mel) in enumerate(examples):
        steps = frames.shape[1]
        assert torch.equal(video[i, :, :steps], frames)
        assert torch.equal(audio[i, :, :steps], mel)
        assert not video[i, :, steps:].any()
        assert not audio[i, :, steps:].any()
        assert padding_mask[i, steps:].all()


def test_long_clips_are_cut():
    video, audio, padding_mask = pad_batch([example(9), example(4)], max_steps=6)
    assert torch.equal(video[0], example(9)[0][:, :6])
    assert torch.equal(audio[0], example(9)[1][:, :6])
    assert (~padding_mask).sum(dim=1).tolist() == [6, 4]


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="3 steps of video, but 4 of audio"):
        pad_batch([(example(3)[0], example(4)[1])])
