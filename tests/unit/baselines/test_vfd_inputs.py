"""VFD's inputs: mels equal to librosa's and torchaudio's, and faces."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from avdfd.baselines import vfd_inputs
from avdfd.baselines.vfd_inputs import cut, face_2022, face_2023, mel_2023, mel_db_2022, normalise_mel_2022
from avdfd.config import AugmentConfig
from avdfd.datasets.transforms import resize
from tests import reference
from tests.paths import SPEECH

PLAIN = AugmentConfig()


def chord(samples):
    """A fading chord in noise."""
    time = torch.arange(samples) / 16_000
    tones = sum(torch.sin(2 * torch.pi * hertz * time) for hertz in (170, 1100, 5000))
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    return 0.2 * tones * torch.exp(-time) + 0.01 * noise


def ramps(height=224, width=224):
    """Two ramps and noise, so that no two places are equal."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 256, (height, width))
    return np.stack([rows * 255 // height, columns * 255 // width, noise], axis=-1).astype(np.uint8)


@pytest.mark.skipif(not SPEECH.is_dir(), reason="the shared speech is not here")
def test_2022_mel_equals_the_released_one():
    stored = reference.values("vfd_features")
    mel = mel_db_2022(reference.speech(stored)[: vfd_inputs.VOICE_2022])
    assert mel.shape == tuple(stored["vfd2022_mel_shape"]) == vfd_inputs.MEL_2022
    np.testing.assert_allclose(mel[::32, ::20].numpy(), stored["vfd2022_mel_db"], rtol=1e-4, atol=1e-4)


def test_2022_mel_equals_librosa():
    waveform = chord(vfd_inputs.VOICE_2022)
    mel = librosa.feature.melspectrogram(y=waveform.numpy(), sr=16_000, hop_length=160, n_mels=512)
    expected = librosa.power_to_db(mel, ref=np.max)
    ours = mel_db_2022(waveform)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-3)
    scaled = normalise_mel_2022(ours)
    np.testing.assert_allclose(scaled.numpy(), librosa.util.normalize(expected), rtol=1e-4, atol=1e-4)
    assert scaled.min() == -1
    assert scaled.amin(dim=0).eq(-1).all()


def test_2022_filters_equal_librosa():
    expected = librosa.filters.mel(sr=16_000, n_fft=2048, n_mels=512)
    np.testing.assert_allclose(vfd_inputs._filters_2022(torch.device("cpu")).numpy(), expected, atol=1e-7)


def test_2022_mel_of_silence_and_of_a_frame_of_zeros():
    assert mel_db_2022(torch.zeros(vfd_inputs.VOICE_2022)).eq(0).all()
    db = torch.tensor([[0.0, -10.0], [0.0, -40.0]])
    assert normalise_mel_2022(db).tolist() == [[0.0, -0.25], [0.0, -1.0]]


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
def test_2023_mel_equals_torchaudio():
    waveform = chord(vfd_inputs.VOICE_2023)
    expected = torchaudio.transforms.MelSpectrogram(16_000, n_fft=512, hop_length=160, win_length=480)(waveform)
    mel = mel_2023(waveform)
    assert expected.shape == (128, 257)
    assert mel.shape == vfd_inputs.MEL_2023
    torch.testing.assert_close(mel, expected[:, :256], rtol=2e-4, atol=1e-5)


def test_cut_is_the_middle_or_random_with_generators():
    waveforms = torch.arange(49_152.0).expand(500, -1)
    assert cut(waveforms, 48_000, None)[0, [0, -1]].tolist() == [480, 48_479]
    assert (cut(waveforms, 40_960, None)[:, 0] == 4000).all()
    rngs = [np.random.default_rng(seed) for seed in range(500)]
    starts = set(cut(waveforms, 40_960, rngs)[:, 0].int().tolist())
    assert all(start % 160 == 0 for start in starts)
    assert min(starts) == 0
    assert max(starts) == 8160
    assert cut(waveforms, 49_152, rngs).shape == (500, 49_152)


def test_one_frame_is_the_middle_or_random():
    frames = torch.arange(7, dtype=torch.uint8).view(1, 7, 1, 1, 1).expand(100, -1, -1, -1, 3)
    assert (vfd_inputs.one_frame(frames, None) == 3).all()
    rngs = [np.random.default_rng(seed) for seed in range(100)]
    drawn = vfd_inputs.one_frame(frames, rngs)
    assert drawn.shape == (100, 1, 1, 3)
    assert set(drawn.flatten().tolist()) == set(range(7))
    assert (vfd_inputs.one_frame(frames[:, :1], rngs) == 0).all()


def test_2022_takes_the_whole_frame():
    frames = torch.from_numpy(ramps())[None]
    face = face_2022(frames, 224, PLAIN, None)
    assert torch.equal(face, frames.permute(0, 3, 1, 2))
    assert face_2022(frames, 112, PLAIN, None).shape == (1, 3, 112, 112)
    flipped = face_2022(frames, 224, AugmentConfig(flip=1.0), [np.random.default_rng(0)])
    assert torch.equal(flipped, face.flip(-1))


def test_2023_takes_the_middle_without_generators():
    """Resized by 8/7 like PIL, then cropped to the middle."""
    from PIL import Image

    frame = ramps()
    wide = np.asarray(Image.fromarray(frame).resize((256, 256), Image.Resampling.BICUBIC))
    frames = torch.from_numpy(frame)[None]
    face = face_2023(frames, 224, PLAIN, None)
    assert face.shape == (1, 3, 224, 224)
    difference = face[0].permute(1, 2, 0).int() - torch.from_numpy(wide[16:-16, 16:-16].astype(np.int32))
    assert difference.abs().max() <= 1
    assert face_2023(frames, 64, PLAIN, None).shape == (1, 3, 64, 64)


def test_2023_crops_have_the_published_sizes_and_places():
    frame, rng = torch.from_numpy(ramps()), np.random.default_rng(0)
    crops = [vfd_inputs._crop(frame, rng) for _ in range(400)]
    sides = [224, 196, 168, 147]
    pairs = {tuple(sides.index(n) for n in crop.shape[:2]) for crop in crops}
    assert pairs == {(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    for crop in crops:
        # The ramps of the first row and column show the start of a crop, in quarters of the margin.
        top, left = int(crop[0, 0, 0]) * 224 / 255, int(crop[0, 0, 1]) * 224 / 255
        for start, side in ((top, crop.shape[0]), (left, crop.shape[1])):
            step = (224 - side) // 4
            assert min(abs(start - step * k) for k in range(5)) <= 1


def test_2023_training_faces_are_repeatable():
    frames = torch.from_numpy(ramps())[None].expand(3, -1, -1, -1)
    faces = face_2023(frames, 96, PLAIN, [np.random.default_rng(seed) for seed in (1, 1, 2)])
    assert faces.shape == (3, 3, 96, 96)
    first, again, other = faces
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_normalisation_equals_the_released_one():
    faces = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(vfd_inputs.normalise_2022(faces).flatten(), torch.tensor([-1, -0.6, 1]))
    expected = (torch.tensor([0, 0.2, 1]) - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    torch.testing.assert_close(vfd_inputs.normalise_2023(faces).flatten(), expected)


def test_images_of_any_shape_are_resized():
    assert resize(torch.from_numpy(ramps(100, 150))[None], 224).shape == (1, 224, 224, 3)
    squares = torch.from_numpy(ramps())[None]
    assert resize(squares, 224) is squares
    grey = torch.full((2, 300, 200, 3), 77, dtype=torch.uint8)
    assert (resize(grey, 224, "bicubic") == 77).all()
