"""AVFF's audio front end."""

import numpy as np
import pytest
import torch

from OpenAVFF.fbank import fbank, stretch
from tests import reference
from tests.paths import SPEECH


@pytest.mark.skipif(not SPEECH.is_dir(), reason="the shared speech is not here")
def test_equals_the_released_front_end():
    stored = reference.values("openavff_features")
    features = fbank(reference.speech(stored))
    assert features.shape == (1024, 128)
    np.testing.assert_allclose(features[::64, ::8].numpy(), stored["openavff_fbank"], rtol=1e-4, atol=1e-4)


def test_batch_length_and_offset():
    waveform = 0.1 * torch.randn(2, 49_152, generator=torch.Generator().manual_seed(0))
    features = fbank(waveform, length=512)
    assert features.shape == (2, 512, 128)
    torch.testing.assert_close(features[1], fbank(waveform[1], length=512))
    torch.testing.assert_close(features[1], fbank(waveform[1] + 0.2, length=512), atol=1e-3, rtol=0)
    raw = fbank(waveform, length=512, mean=0.0, std=1.0)
    torch.testing.assert_close((raw + 5.081) / 4.4849, features)


def test_a_tone_that_stops():
    """The energy is in the tone's band and in the half of the time in which it is audible."""
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(48_000) / 16_000)
    tone[24_000:] = 0
    features = fbank(tone + 1e-4 * torch.randn(48_000, generator=torch.Generator().manual_seed(0)), length=256)
    mel = 1127 * torch.log1p(torch.tensor([20.0, 1000.0, 8000.0]) / 700)
    band = 129 * (mel[1] - mel[0]) / (mel[2] - mel[0]) - 1
    assert abs(features[:120].mean(0).argmax() - band) < 1
    assert features[:120].mean() > features[136:].mean() + 0.5


def test_stretch_is_linear():
    ramp = torch.arange(10.0)[:, None].expand(10, 3)
    stretched = stretch(ramp, 20)
    assert stretched.shape == (20, 3)
    torch.testing.assert_close(stretched[1:-1, 0], torch.linspace(0.25, 8.75, 18))
    torch.testing.assert_close(stretch(ramp[None].expand(2, -1, -1), 20)[1], stretched)
    torch.testing.assert_close(stretch(ramp, 10), ramp)
