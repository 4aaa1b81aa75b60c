"""Wasserstein losses of the reconstructions."""

import pytest
import torch
from torch import nn

from OpenAVFF.adversarial import AdversarialPretraining, Critic, adversarial_losses, gradient_penalty, wasserstein
from OpenAVFF.pretraining import VideoCAVMAE
from tests.helpers.small_avff import DECODER, SIZES, clips


class Linear(nn.Module):
    """A critic with the same slope everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return (x * self.weight).flatten(1).sum(dim=1)


def build():
    torch.manual_seed(0)
    return AdversarialPretraining(VideoCAVMAE(**SIZES, **DECODER), width=4)


def points(count):
    return torch.rand(count)


def losses(out, **weights):
    return adversarial_losses(out.autoencoder.total_loss, out.critics, **weights)


def gradients(module, prefix=""):
    return [p.grad for name, p in module.named_parameters() if name.startswith(prefix)]


def test_penalty_of_a_linear_critic():
    torch.manual_seed(0)
    weight = torch.randn(2, 5, 3)
    critic = Linear(weight)
    real, fake = torch.randn(4, 2, 5, 3), torch.randn(4, 2, 5, 3)
    slope = weight.norm() * 30**0.5  # score per root mean square of 30 pixels
    penalty = gradient_penalty(critic, real, fake, points(4))
    torch.testing.assert_close(penalty, ((slope - 1) ** 2).expand(4))
    penalty.mean().backward()
    torch.testing.assert_close(critic.weight.grad, 2 * (slope - 1) * 30**0.5 * weight / weight.norm())
    flat = Linear(weight / slope)
    assert gradient_penalty(flat, real, fake, points(4)).max() < 1e-10


def test_penalty_is_taken_between_real_and_fake():
    class Recorder(Linear):
        def forward(self, x):
            self.given = x.detach()
            return super().forward(x)

    critic = Recorder(torch.ones(3))
    gradient_penalty(critic, torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(critic.given, torch.tensor([[0.25] * 3, [0.75] * 3]))  # one point per sample


def test_points_are_drawn_per_clip_and_modality():
    stage = build()
    batch = clips(3)
    torch.manual_seed(1)
    drawn = stage(*batch, mask_indices=[0, 1]).critics.penalty
    torch.manual_seed(1)
    given = stage(*batch, mask_indices=[0, 1], points=torch.rand(3, 2)).critics.penalty
    assert torch.equal(drawn, given)
    assert not torch.allclose(drawn, stage(*batch, mask_indices=[0, 1]).critics.penalty)


def test_losses_of_a_linear_critic():
    critic = Linear(torch.full((3,), 2.0))
    real, fake = torch.ones(2, 3), torch.zeros(2, 3, requires_grad=True)
    out = wasserstein(critic, real, fake, points(2))
    assert torch.equal(out.generator, torch.zeros(2))
    assert torch.equal(out.critic, torch.full((2,), -6.0))
    torch.testing.assert_close(out.penalty, torch.full((2,), (6.0 - 1) ** 2))
    own = torch.tensor(7.0)
    total, generator, both = adversarial_losses(own, out, adversarial_weight=0.5, penalty_weight=10.0)
    assert (generator, both) == (0, -6 + 10 * 25)
    assert total == 7 + both
    assert wasserstein(critic.eval(), real, fake, points(2)).penalty is None


def test_each_loss_has_a_gradient_for_its_own_side_only():
    torch.manual_seed(0)
    critic = Critic(2, width=4)
    real = torch.randn(3, 2, 32, 32)
    fake = torch.randn(3, 2, 32, 32, requires_grad=True)
    out = wasserstein(critic, real, fake, points(3))
    out.generator.mean().backward(retain_graph=True)
    assert all(g is None for g in gradients(critic))
    torch.testing.assert_close(fake.grad, -torch.autograd.grad(critic(fake).mean(), fake)[0])
    fake.grad = None
    (out.critic.mean() + 10 * out.penalty.mean()).backward()
    assert fake.grad is None
    assert all(g.abs().sum() > 0 for g in gradients(critic))


def test_one_backward_gives_each_side_its_own_gradient():
    """The sum gives the autoencoder no gradient of the critics' loss, and the critics none of the autoencoder's."""
    stage = build()
    batch = clips(2)

    def step(loss):
        torch.manual_seed(0)
        stage.zero_grad()
        loss(stage(*batch, mask_indices=[0, 1])).backward()
        return gradients(stage, "model."), gradients(stage, "critics.")

    model_both, critics_both = step(lambda out: losses(out).total_loss)
    model_own, critics_none = step(lambda out: out.autoencoder.total_loss + 0.1 * losses(out).generator_loss)
    model_none, critics_own = step(lambda out: losses(out).critic_loss)
    assert all(g is None for g in critics_none + model_none)
    for both, own in zip(model_both + critics_both, model_own + critics_own, strict=True):
        torch.testing.assert_close(both, own)
    plain, _ = step(lambda out: out.autoencoder.total_loss)
    decoder = [name for name, _ in stage.model.named_parameters()].index("visual_decoder.head.weight")
    assert not torch.allclose(plain[decoder], model_own[decoder])


def test_validation_needs_no_gradient_and_no_critics():
    stage = build().eval()
    with torch.inference_mode():
        out = stage(*clips(2), mask_indices=[0, 1])
        total, generator, critic = losses(out)
        assert torch.equal(total, stage.model(*clips(2), mask_indices=[0, 1]).total_loss)
    assert torch.isfinite(generator)
    assert torch.isfinite(critic)


def test_released_keys_stay_below_model():
    stage = build()
    own = {key.removeprefix("model.") for key in stage.state_dict() if not key.startswith("critics.")}
    assert own == stage.model.state_dict().keys()


def test_critics_run_in_full_precision_under_autocast():
    stage = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = stage(*clips(2))
    assert out.critics.critic.dtype == out.critics.penalty.dtype == torch.float32
    losses(out).total_loss.backward()
    assert all(g.isfinite().all() for g in gradients(stage))


@pytest.mark.parametrize("size", [(128, 256), (32, 32), (112, 112)])
def test_a_critic_takes_any_size(size):
    assert Critic(1, width=4)(torch.randn(2, 1, *size)).shape == (2,)


def test_a_critic_learns_to_separate_blurred_from_sharp():
    torch.manual_seed(0)
    critic = Critic(1, width=8)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))

    def batch():
        real = torch.randn(8, 1, 32, 32)
        return real, nn.functional.avg_pool2d(real, 3, stride=1, padding=1)

    for _ in range(60):
        out = wasserstein(critic, *batch(), points(8))
        loss = out.critic.mean() + 10 * out.penalty.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake = batch()
    with torch.no_grad():
        assert (critic(real) - critic(fake)).min() > 0.2
    # A slope of 1 allows at most the root mean square distance of the two.
    distance = (real - fake).square().mean((1, 2, 3)).sqrt().mean()
    assert (critic(real) - critic(fake)).mean() < 1.3 * distance
