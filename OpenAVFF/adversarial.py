"""Adversarial reconstruction for AVFF's pre-training: a critic per modality, Wasserstein losses, gradient penalty.

    B batch   C channels   H, W pixels   L frames of audio   T frames of video

One backward pass and one optimiser train both sides at once: the autoencoder's loss holds the critics' weights fixed,
the critics' loss holds the pictures fixed, so that the gradient of the sum is each side's own.

References:
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
    Arjovsky et al., "Wasserstein GAN", ICML 2017.
    Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from OpenAVFF.pretraining import PretrainingOutput, VideoCAVMAE
from OpenAVFF.reconstruction import full_precision


class Critic(nn.Module):
    """Scores how real pictures (B, C, H, W) look: (B,). No normalisation layers: the penalty is per picture.

    The strided convolutions see 38 pixels around a place, more than a patch, so that seams between patches show.
    """

    def __init__(self, channels: int, *, width: int = 64) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1)
            for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width))
        )
        # Without a bias, which would shift the scores of real and fake alike.
        self.score = nn.Conv2d(4 * width, 1, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return self.score(x).mean(dim=(1, 2, 3))


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, points: Tensor) -> Tensor:
    """Squared distance of the critic's slope from 1 at points (B,), 0 to 1, between real and fake pictures: (B,).

    The slope is score per root mean square of the pixels: the losses then have the size of a reconstruction error,
    whatever the size of a picture.
    """
    between = torch.lerp(real, fake, points.view(-1, *[1] * (real.ndim - 1))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slope = gradient.flatten(1).norm(dim=1) * real[0].numel() ** 0.5
    return (slope - 1).square()


class Wasserstein(NamedTuple):
    """Losses of each clip (B,), to be averaged and added up: generator and critic share no parameters."""

    generator: Tensor
    """Lower if the fakes score higher; no gradient for the critic."""
    critic: Tensor
    """Lower if real and fake are told apart; no gradient for the fakes."""
    penalty: Tensor | None
    """Of the critic's slope; None in eval mode, as it needs gradients."""


def wasserstein(critic: nn.Module, real: Tensor, fake: Tensor, points: Tensor) -> Wasserstein:
    """Losses of both sides for pictures (B, ...); the penalty is taken at points (B,) between them, from 0 to 1."""
    frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    generator = -functional_call(critic, frozen, (fake,))
    fake = fake.detach()
    penalty = gradient_penalty(critic, real, fake, points) if critic.training else None
    return Wasserstein(generator, critic(fake) - critic(real), penalty)


class AdversarialOutput(NamedTuple):
    """What adversarial pre-training computes for a batch."""

    autoencoder: PretrainingOutput
    critics: Wasserstein
    """Summed over both modalities."""


class AdversarialLosses(NamedTuple):
    """Scalars."""

    total_loss: Tensor
    """What is minimised; in eval mode the autoencoder's own loss, for the critics' scale changes as they learn."""
    generator_loss: Tensor
    critic_loss: Tensor
    """With the penalty, where there is one."""


def adversarial_losses(
    autoencoder: Tensor, clips: Wasserstein, *, adversarial_weight: float = 0.1, penalty_weight: float = 10.0
) -> AdversarialLosses:
    """The losses of a batch, and their sum with the autoencoder's own."""
    generator, critic = clips.generator.mean(), clips.critic.mean()
    if clips.penalty is None:
        return AdversarialLosses(autoencoder, generator, critic)
    critic = critic + penalty_weight * clips.penalty.mean()
    return AdversarialLosses(autoencoder + adversarial_weight * generator + critic, generator, critic)


class AdversarialPretraining(nn.Module):
    """VideoCAVMAE and the critics of its reconstructions, side by side, so that its released keys stay its own.

    Its state dict has `model.*` and `critics.*`. A video's frames are the channels of its critic, which sees motion.
    """

    def __init__(self, model: VideoCAVMAE, *, width: int = 64) -> None:
        super().__init__()
        self.model = model
        self.critics = nn.ModuleDict({"audio": Critic(1, width=width), "video": Critic(3 * model.frames, width=width)})

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        mask_indices: Sequence[int] | None = None,
        points: Tensor | None = None,
    ) -> AdversarialOutput:
        """audio (B, L, 128), video (B, 3, T, H, W), mask_indices as in VideoCAVMAE.

        points: (B, 2), where between 0, a real clip, and 1, its reconstruction, the slopes of the critics of audio and
        video are looked at; drawn at random if None.
        """
        out = self.model(audio, video, mask_indices)
        audio_target, video_target = self.model.targets(audio, video)
        if points is None:
            points = torch.rand(len(audio), 2, device=audio.device)
        # A gradient of a gradient is too fine for half precision.
        with full_precision(audio):
            heard = wasserstein(self.critics["audio"], audio_target.float(), out.audio_recon.float(), points[:, 0])
            seen = wasserstein(
                self.critics["video"],
                video_target.float().flatten(1, 2),
                out.video_recon.float().flatten(1, 2),
                points[:, 1],
            )
        penalty = None if heard.penalty is None or seen.penalty is None else heard.penalty + seen.penalty
        both = Wasserstein(heard.generator + seen.generator, heard.critic + seen.critic, penalty)
        return AdversarialOutput(out, both)
