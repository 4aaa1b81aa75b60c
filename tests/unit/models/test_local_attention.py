"""Network with local attention: reach in time, equivariance, independence of clips, gradients."""

import pytest
import torch

from avdfd.models.local_attention import REACH, LocalNetwork

C, KERNEL = 5, 3


def network(depth: int = 1) -> LocalNetwork:
    torch.manual_seed(0)
    made = LocalNetwork(C, 4, kernel=KERNEL, stride=1, depth=depth, width=8, heads=2, dropout=0.0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def test_it_starts_from_zero():
    made = LocalNetwork(C, 4, kernel=KERNEL, stride=1, depth=2, width=8, heads=2, dropout=0.1)
    assert not made(torch.randn(2, C, 30)).any()


@pytest.mark.parametrize("depth", [1, 2])
def test_an_impulse_reaches_the_frames_around_it_only(depth):
    """Frame k has the inputs k to k + 2, whose middle is its own moment."""
    made, given = network(depth), torch.randn(1, C, 62)
    changed = given.clone()
    changed[..., 31] += 1
    moved = (made(changed) - made(given)).abs().amax(dim=(0, 2)) > 1e-7
    reach = 1 + depth * REACH
    assert moved.nonzero().flatten().tolist() == list(range(30 - reach, 30 + reach + 1))


def test_what_comes_later_is_predicted_later():
    made, given = network(), torch.randn(1, C, 60)
    there, later = made(given), made(given.roll(7, dims=2))
    inside = slice(REACH + 2, -REACH - 9)
    torch.testing.assert_close(later[:, 7:][:, inside], there[:, :-7][:, inside], atol=1e-5, rtol=1e-4)


def test_order_in_time_matters():
    made, given = network(), torch.randn(1, C, 60)
    assert not torch.allclose(made(given).flip(1), made(given.flip(2)), atol=1e-3)


def test_a_clip_does_not_depend_on_its_batch():
    made, given = network(), torch.randn(3, C, 40)
    for n in range(3):
        torch.testing.assert_close(made(given)[n], made(given[n : n + 1])[0], atol=1e-5, rtol=1e-4)


def test_gradients_reach_all_parameters():
    made = network()
    made(torch.randn(2, C, 40)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in made.parameters())
