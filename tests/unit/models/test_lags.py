import torch

from avdfd.models.lags import at_lags


def test_an_impulse_is_at_its_lag_of_every_frame():
    features = torch.zeros(1, 10, 3)
    features[0, 6] = torch.tensor([1.0, 2.0, 3.0])
    found = at_lags(features, reach=2)
    assert found.shape == (1, 10, 5, 3)
    for frame in range(10):
        for lag in range(-2, 3):
            expected = features[0, 6] if frame + lag == 6 else torch.zeros(3)
            assert torch.equal(found[0, frame, lag + 2], expected)


def test_no_frame_is_beyond_the_clip():
    assert at_lags(torch.ones(2, 4, 1), reach=3).sum(dim=(1, 2, 3)).tolist() == [4 + 2 * (3 + 2 + 1)] * 2
