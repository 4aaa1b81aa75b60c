"""Frames and batches of MRDF."""

import numpy as np
import pytest
import torch

from avdfd.baselines.mrdf import Inputs
from avdfd.baselines.mrdf_inputs import half_size, mrdf_video
from avdfd.datasets.loaders import prepare, stack
from avdfd.elements import Element
from avdfd.features.frames import normalise


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
    torch.testing.assert_close(normalise(video.view(1, 1, 3, 1, 1), "lips").flatten(), expected)


def element(steps, seed=0):
    """Return an unlabelled element of this many frames."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (steps, 224, 224, 3), dtype=np.uint8)
    return Element(None, waveform=rng.uniform(-1, 1, 640 * steps).astype(np.float32), frames=frames)


def test_batches_are_padded_to_the_longest():
    form, elements = Inputs(500), [element(3), element(7), element(5)]
    batch = prepare(form, stack([form.raw(one) for one in elements]), None)
    assert (batch.video.shape, batch.video.dtype) == ((3, 3, 7, 100, 100), torch.uint8)
    assert (batch.audio.shape, batch.padding.shape) == ((3, 104, 7), (3, 7))
    assert (~batch.padding).sum(dim=1).tolist() == [3, 7, 5]
    for i, one in enumerate(elements):
        steps = len(one.frames)
        alone = prepare(form, stack([form.raw(one)]), None)
        assert not alone.padding.any()
        assert torch.equal(batch.video[i, :, :steps], alone.video[0])
        assert torch.equal(batch.audio[i, :, :steps], alone.audio[0])
        assert not batch.video[i, :, steps:].any()
        assert not batch.audio[i, :, steps:].any()
        assert batch.padding[i, steps:].all()


def test_windows_are_never_padded():
    raw = stack([Inputs(500).raw(element(77, seed)) for seed in range(2)])
    assert raw.steps.tolist() == [77, 77]
    assert raw.audio.shape == (2, 77, 104)
