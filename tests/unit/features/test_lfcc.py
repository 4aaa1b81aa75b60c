import numpy as np
import torch
from scipy.fft import dct

from avdfd.features.lfcc import lfcc
from tests import reference


def test_equals_the_released_features():
    waveform = 0.1 * reference.tensor("countermeasures.audio.0", 32_000)
    found = lfcc(waveform)
    assert found.shape == (201, 60)
    np.testing.assert_allclose(found[::25], reference.values("countermeasures")["lfcc"], rtol=1e-4, atol=1e-4)


def test_equals_a_frame_by_frame_computation():
    waveform = 0.1 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    x = waveform.double().numpy()
    x = np.pad(np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]]), 160)
    hertz, corners = np.linspace(0, 4000, 256), np.linspace(0, 4000, 22)
    filters = [np.interp(hertz, corners[i : i + 3], [0, 1, 0]) for i in range(20)]
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(320) / 320)
    rows = []
    for start in range(0, 1001, 160):
        power = np.abs(np.fft.rfft(x[start : start + 320] * window, 1024))[:256] ** 2
        row = dct(np.log10(np.array(filters) @ power + np.finfo(np.float32).eps), norm="ortho")
        rows.append([np.log10(power.sum() / 1024 + np.finfo(np.float32).eps), *row[1:]])
    steps = [np.subtract(rows[min(i + 1, 6)], rows[max(i - 1, 0)]) for i in range(7)]
    second = [steps[min(i + 1, 6)] - steps[max(i - 1, 0)] for i in range(7)]
    np.testing.assert_allclose(lfcc(waveform), np.hstack([rows, steps, second]), rtol=1e-3, atol=1e-4)


def test_silence_is_finite():
    assert lfcc(torch.zeros(2, 3200)).isfinite().all()
