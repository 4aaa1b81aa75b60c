"""Statistics of patches against their definition, point by point."""

import numpy as np
import torch

from avdfd.features.mel import log_mel, zscore
from avdfd.features.statistics import GROUPS, STATISTICS, local_statistics


def statistics(mel, frames=64):
    """(B, N, K, G)."""
    return local_statistics(mel, mel.shape[-1] // frames).unflatten(-1, (STATISTICS, GROUPS))


def test_variance_skewness_and_correlation_in_a_patch():
    mel = torch.randn(1, 128, 128, generator=torch.Generator().manual_seed(0))
    found = statistics(mel)[0, 1, :, 5].numpy()
    values = mel[0].double().numpy()
    rest = np.stack([values[f] - values[max(f - 4, 0) : f + 5].mean(0) for f in range(128)])
    weight = 1 / (1 + np.exp(-4 * values.mean(0))) + 1e-3
    weight = weight[64:] / weight[64:].mean()
    place = np.s_[40:48, 64:128]
    variance = (rest[place] ** 2 * weight).mean()
    np.testing.assert_allclose(found[0], np.log(variance), atol=1e-3)
    np.testing.assert_allclose(found[2], (rest[place] ** 3 * weight).mean() / variance**1.5, atol=2e-3)
    lagged = rest[40:48, 61:125]  # three frames before
    np.testing.assert_allclose(found[4 + 2], (rest[place] * lagged * weight).mean() / variance, atol=2e-3)
    across = rest[39:47, 65:128]  # one bin below, one frame after; zeros beyond the end
    products = np.concatenate([rest[40:48, 64:127] * across, np.zeros((8, 1))], axis=1)
    np.testing.assert_allclose(found[4 + 7 + 5], (products * weight).mean() / variance, atol=2e-3)


def test_silence_is_finite():
    assert torch.isfinite(local_statistics(torch.zeros(2, 128, 768), 12)).all()
    assert torch.isfinite(local_statistics(zscore(log_mel(torch.zeros(1, 49152))), 12)).all()


def test_shape_and_batch():
    mel = torch.randn(3, 128, 768, generator=torch.Generator().manual_seed(1))
    found = local_statistics(mel, 24)
    assert found.shape == (3, 24, STATISTICS * GROUPS)
    torch.testing.assert_close(found[1:2], local_statistics(mel[1:2], 24))
