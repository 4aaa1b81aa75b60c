import math

import numpy as np
import pytest
import torch
import torchaudio

from avdfd.features.mel import log_mel, log_spectrum, mel_filters, zscore
from avdfd.features.window import MEL_BINS, MEL_FRAMES, SAMPLE_RATE, WINDOW
from tests import reference
from tests.paths import SPEECH


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.skipif(not SPEECH.is_dir(), reason="the shared speech is not here")
def test_mel_equals_the_released_one():
    stored = reference.values("features")
    speech = reference.speech(stored)
    window = log_mel(speech[:WINDOW])
    assert np.abs(window[::8, ::48].numpy() - stored["avdfd_log_mel_window_row0_8"]).max() < 1e-4
    # The released code analysed 51,200 samples and kept the first 768 frames.
    released = zscore(log_mel(speech[:51_200])[:, :MEL_FRAMES])
    assert np.abs(released[::8, ::48].numpy() - stored["avdfd_mel_released"]).max() < 1e-4


def test_mel_equals_torchaudio():
    transform = torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE, n_fft=512, win_length=256, hop_length=64, n_mels=MEL_BINS, window_fn=torch.hamming_window,
        norm="slaney", mel_scale="htk", power=2.0,
    )  # fmt: skip
    waveform = noise(WINDOW)
    expected = (transform(waveform) + 1e-6).log()[:, :MEL_FRAMES]
    assert torch.allclose(log_mel(waveform), expected, atol=1e-4)


def test_leading_dimensions_and_length():
    batch = noise(2, 3, 6400)
    mel = log_mel(batch)
    assert mel.shape == (2, 3, 128, 100)
    assert torch.allclose(mel[1, 2], log_mel(batch[1, 2]), atol=1e-5)
    assert log_mel(noise(WINDOW)).shape == (MEL_BINS, MEL_FRAMES)


@pytest.mark.parametrize("n_fft", [128, 256, 2048])
def test_linear_spectra_have_equally_many_points_for_every_size(n_fft):
    time = torch.arange(49_152) / SAMPLE_RATE
    spectrum = log_spectrum(torch.sin(2 * torch.pi * 2000 * time).expand(2, -1), n_fft)
    assert spectrum.shape == (2, n_fft // 2, 4 * 49_152 // n_fft)
    middle = spectrum[0, :, spectrum.shape[2] // 2]
    assert middle.argmax() == n_fft / 8
    # A Hann window sums to half its length, and a sine has half of its amplitude at the positive frequency.
    assert middle.max().item() == pytest.approx(2 * math.log(n_fft / 4), abs=1e-3)
    assert middle.min() < middle.max() - 10


def test_silence_is_the_floor():
    assert torch.allclose(log_mel(torch.zeros(6400)), torch.tensor(1e-6).log(), atol=1e-6)


def test_tone_lands_in_its_bin():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(6400) / SAMPLE_RATE)
    peak = log_mel(tone).mean(dim=-1).argmax()
    hertz = torch.linspace(0, SAMPLE_RATE / 2, 257)
    assert abs(hertz[mel_filters()[peak].argmax()] - 1000) < 60


def test_zscore_is_per_clip_with_the_unbiased_standard_deviation():
    mel = torch.stack([noise(128, 50), 3 + 5 * noise(128, 50)])
    scored = zscore(mel)
    for clip, given in zip(scored, mel, strict=True):
        expected = (given - given.mean()) / (given.std() + 1e-6)
        assert torch.allclose(clip, expected, atol=1e-5)
    assert torch.allclose(zscore(torch.ones(128, 4)), torch.zeros(128, 4))


def test_the_mel_of_an_exported_graph_is_that_of_the_run(monkeypatch):
    waveform = torch.randn(2, 49_152, generator=torch.Generator().manual_seed(0)) * 0.05
    ours = [log_mel(waveform), log_spectrum(waveform, 256), log_spectrum(waveform, 1024)]
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    exported = [log_mel(waveform), log_spectrum(waveform, 256), log_spectrum(waveform, 1024)]
    for one, other in zip(ours, exported, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 1e-3
        assert (one - other).abs().mean() < 1e-5
