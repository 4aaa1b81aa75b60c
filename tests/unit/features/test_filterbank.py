import numpy as np
import pytest
import torch
from scipy.fft import dct

from avdfd.features.filterbank import BANDS, filters, log_cepstra, log_filterbank, stacked_filterbank
from avdfd.features.window import WINDOW
from tests import reference
from tests.paths import SPEECH


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.1


@pytest.mark.skipif(not SPEECH.is_dir(), reason="the shared speech is not here")
def test_equals_the_released_features():
    stored = reference.values("mrdf_features")
    stacked = stacked_filterbank(reference.speech(stored))
    assert stacked.shape == tuple(stored["mrdf_shape"])
    np.testing.assert_allclose(stacked[::8, ::8].numpy(), stored["mrdf_logfbank_stacked"], rtol=1e-4, atol=1e-4)


def powers(waveform):
    """Power spectra, frame by frame."""
    samples = len(waveform)
    x = waveform.double().numpy() * 32768
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    frames = 1 + max(0, -(-(samples - 400) // 160))
    x = np.pad(x, (0, 560 * frames))
    return [np.abs(np.fft.rfft(x[160 * n : 160 * n + 400], 512)) ** 2 / 512 for n in range(frames)]


@pytest.mark.parametrize("samples", [200, 400, 401, 560, 1000])
def test_equals_a_frame_by_frame_computation(samples):
    waveform = noise(samples)
    expected = [np.log(filters().numpy() @ power) for power in powers(waveform)]
    np.testing.assert_allclose(log_filterbank(waveform).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("samples", [200, 1000])
def test_cepstra_equal_a_computation_with_scipy(samples):
    waveform = noise(samples)
    expected = []
    for power in powers(waveform):
        row = dct(np.log(filters().numpy() @ power), type=2, norm="ortho")[:13]
        row *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
        expected.append([np.log(power.sum()), *row[1:]])
    found = log_cepstra(torch.stack([waveform, waveform]))
    assert found.shape == (2, 13, len(expected))
    np.testing.assert_allclose(found[0].T.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found[0], found[1])


def test_cepstra_of_silence_are_finite():
    found = log_cepstra(torch.zeros(WINDOW))
    assert found.shape == (13, 306)
    assert found.isfinite().all()
    np.testing.assert_allclose(found[0].numpy(), np.log(np.finfo(float).eps), rtol=1e-6)


def test_filters_cover_the_band():
    bank = filters()
    assert bank.shape == (BANDS, 257)
    assert torch.equal(bank.amax(dim=1), torch.ones(BANDS, dtype=torch.float64))
    peaks = bank.argmax(dim=1)
    assert (peaks.diff() > 0).all()
    # Between the first and the last peak, neighbouring triangles add up to one.
    inside = bank[:, peaks[0] : peaks[-1] + 1].sum(dim=0)
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_silence_is_the_epsilon():
    assert torch.allclose(log_filterbank(torch.zeros(1600)), torch.tensor(np.log(np.finfo(float).eps)).float())


def test_a_window_is_77_steps_of_four_frames():
    waveform = noise(WINDOW)
    stacked = stacked_filterbank(waveform)
    assert stacked.shape == (77, 104)
    bank = log_filterbank(waveform)
    assert bank.shape == (306, BANDS)
    step = bank[40:44].flatten()
    expected = (step - step.mean()) / step.std(correction=0)
    torch.testing.assert_close(stacked[10], expected, rtol=1e-4, atol=1e-4)
    # 306 frames fill 76.5 steps; the second half of the last step is zeros.
    last = torch.cat([bank[304:].flatten(), torch.zeros(52)])
    torch.testing.assert_close(stacked[76], (last - last.mean()) / last.std(correction=0), rtol=1e-4, atol=1e-4)


def test_length_follows_the_video():
    waveform = noise(16_000)
    whole = stacked_filterbank(waveform)
    assert torch.equal(stacked_filterbank(waveform, 20), whole[:20])
    longer = stacked_filterbank(waveform, 30)
    assert torch.equal(longer[: len(whole)], whole)
    assert torch.equal(longer[len(whole) :], torch.zeros(30 - len(whole), 104))


def test_leading_dimensions():
    batch = noise(2, 3, 4000)
    stacked = stacked_filterbank(batch, 6)
    assert stacked.shape == (2, 3, 6, 104)
    torch.testing.assert_close(stacked[1, 2], stacked_filterbank(batch[1, 2], 6))
