"""The fixed front end of the audio branch."""

import torch

from avdfd.features.mel import log_mel, log_spectrum, zscore
from avdfd.features.patches import Front
from avdfd.features.statistics import GROUPS, STATISTICS, local_statistics

SPECTRA = Front(statistics=True, spectra=(128, 2048))


def test_points_are_cut_into_patches():
    mel = torch.randn(2, 128, 768)
    front = Front()
    values = front(mel).values
    assert values.shape == (2, 12, front.numbers)
    assert torch.equal(values[1, 3].view(128, 64), mel[1, :, 3 * 64 : 4 * 64])


def test_statistics_of_the_mel_and_of_linear_spectra():
    waveform = torch.randn(2, 49_152, generator=torch.Generator().manual_seed(0)) / 10
    mel, fine, long = SPECTRA(waveform).values.split(STATISTICS * GROUPS, dim=2)
    assert SPECTRA.numbers == 3 * STATISTICS * GROUPS
    assert torch.equal(mel, Front(statistics=True)(zscore(log_mel(waveform))).values)
    assert torch.equal(fine, local_statistics(zscore(log_spectrum(waveform, 128)), 12))
    assert torch.equal(long, local_statistics(zscore(log_spectrum(waveform, 2048)), 12))


def test_patches_of_a_waveform_keep_their_place_in_time():
    """A click in the sixth patch changes that patch only."""
    waveform = torch.randn(1, 49_152, generator=torch.Generator().manual_seed(0)) / 10
    other = waveform.clone()
    other[0, 5 * 4096 + 2048] += 0.2
    # The z-score over the whole clip changes all patches slightly.
    changed = (SPECTRA(other).values - SPECTRA(waveform).values).abs().amax(dim=(0, 2)) > 0.2
    assert changed.nonzero().flatten().tolist() == [5]


def test_silence_is_finite():
    assert torch.isfinite(SPECTRA(torch.zeros(1, 49_152)).values).all()
