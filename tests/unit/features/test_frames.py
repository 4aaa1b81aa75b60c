"""Normalisation of frames."""

import pytest
import torch

from avdfd.features.frames import normalise


def test_normalisation_by_the_statistics_of_imagenet_and_of_marlin():
    video = torch.zeros(2, 3, 16, 4, 4, dtype=torch.uint8)
    video[:, 0] = 255
    out = normalise(video, "imagenet")
    assert out[0, 0].unique().item() == pytest.approx((1 - 0.485) / 0.229)
    assert out[0, 2].unique().item() == pytest.approx(-0.406 / 0.225)
    torch.testing.assert_close(normalise(video, "unit"), video / 255, rtol=0, atol=0)
