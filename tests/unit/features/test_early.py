"""Early features of clips against numpy, and with padding."""

import numpy as np
import pytest
import torch

from avdfd.features.early import of_audio, of_maps, spread
from avdfd.features.mel import log_mel, zscore


def test_mean_and_standard_deviation_over_tokens():
    tokens = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0)).half()
    x = tokens.double().numpy()
    found = spread(tokens)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, np.concatenate([x.mean(1), x.std(1, ddof=1)], axis=1), atol=1e-6)
    assert torch.equal(spread(tokens[:, :1])[:, 4:], torch.zeros(3, 4))


def test_padding_does_not_count():
    tokens = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    padding = torch.tensor([6 * [False], [False, False, False, False, True, True]])
    expected = torch.cat([spread(tokens[:1]), spread(tokens[1:, :4])])
    tokens[1, 4:] = 1e6
    torch.testing.assert_close(spread(tokens, padding), expected)


def test_audio_is_described_by_its_mel():
    audio = 0.1 * torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0))
    found = of_audio(audio)
    assert found.shape == (2, 256)
    torch.testing.assert_close(of_audio(zscore(log_mel(audio))), found)


@pytest.mark.parametrize("padded", [False, True])
def test_maps_are_pooled_over_each_frame_then_over_time(padded):
    maps = torch.randn(2, 3, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = padded
    found = of_maps(maps, padding if padded else None)
    for clip, frames in enumerate([5, 3 if padded else 5]):
        x = maps[clip, :, :frames].double().numpy().reshape(3, frames, -1)
        expected = np.concatenate([x.mean(2).mean(1), x.std(2, ddof=1).mean(1)])
        np.testing.assert_allclose(found[clip], expected, atol=1e-5)
