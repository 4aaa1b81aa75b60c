"""Adversarial reconstruction for AVFF's pre-training: a critic per modality, Wasserstein losses, gradient penalty.

    B batch   C channels   H, W pixels   L frames of audio   T frames of video

One backward pass and one optimiser train both sides at once: the autoencoder's loss treats the critics' weights as
constants and the critics' loss the reconstructions, so that the gradient of the sum gives each side its own gradient.

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

from OpenAVFF.precision import full_precision
from OpenAVFF.pretraining import PretrainingOutput, VideoCAVMAE


class Critic(nn.Module):
    """Score of images (B, C, H, W), higher for real ones: (B,). Without normalisation, as the penalty is per image.

    The receptive field is 38 pixels, more than a patch, so that seams between patches are detected.
    """

    def __init__(self, channels: int, *, width: int = 64) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1)
            for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width))
        )
        # A bias would shift the scores of real and fake equally, so there is none.
        self.score = nn.Conv2d(4 * width, 1, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return self.score(x).mean(dim=(1, 2, 3))


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, points: Tensor) -> Tensor:
    """Squared difference of the critic's slope from 1, at points (B,) in [0, 1] between real and fake images: (B,).

    The slope is the change of the score per root mean square of the pixels, so that the losses have the scale of a
    reconstruction error for every image size.
    """
    between = torch.lerp(real, fake, points.view(-1, *[1] * (real.ndim - 1))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slope = gradient.flatten(1).norm(dim=1) * real[0].numel() ** 0.5
    return (slope - 1).square()


class Wasserstein(NamedTuple):
    """Losses per clip (B,). Their means may be added, as generator and critic share no parameters."""

    generator: Tensor
    """Decreases as fakes score higher; no gradient for the critic."""
    critic: Tensor
    """Decreases as the critic separates real from fake; no gradient for the fakes."""
    penalty: Tensor | None
    """Gradient penalty of the critic; None in eval mode, as it needs gradients."""


def wasserstein(critic: nn.Module, real: Tensor, fake: Tensor, points: Tensor) -> Wasserstein:
    """Losses of both sides for images (B, ...), with the penalty at points (B,) in [0, 1] between real and fake."""
    frozen = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    generator = -functional_call(critic, frozen, (fake,))
    fake = fake.detach()
    penalty = gradient_penalty(critic, real, fake, points) if critic.training else None
    return Wasserstein(generator, critic(fake) - critic(real), penalty)


class AdversarialOutput(NamedTuple):
    """Outputs of adversarial pre-training for a batch."""

    autoencoder: PretrainingOutput
    critics: Wasserstein
    """Summed over both modalities."""


class AdversarialLosses(NamedTuple):
    """Scalars."""

    total_loss: Tensor
    """The loss to minimise; in eval mode that of the autoencoder only, as the scale of the critics' scores drifts."""
    generator_loss: Tensor
    critic_loss: Tensor
    """Includes the penalty, if there is one."""


def adversarial_losses(
    autoencoder: Tensor, clips: Wasserstein, *, adversarial_weight: float = 0.1, penalty_weight: float = 10.0
) -> AdversarialLosses:
    """Return the losses of a batch and their weighted sum with the autoencoder's own."""
    generator, critic = clips.generator.mean(), clips.critic.mean()
    if clips.penalty is None:
        return AdversarialLosses(autoencoder, generator, critic)
    critic = critic + penalty_weight * clips.penalty.mean()
    return AdversarialLosses(autoencoder + adversarial_weight * generator + critic, generator, critic)


class AdversarialPretraining(nn.Module):
    """VideoCAVMAE and the critics of its reconstructions; the released keys of the former are below `model.`.

    The critics are below `critics.`. A video's frames are the channels of its critic, which can so use motion.
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

        points: (B, 2) places of the audio and the video penalty between 0, the real clip, and 1, its reconstruction;
        drawn at random if None.
        """
        out = self.model(audio, video, mask_indices)
        audio_target, video_target = self.model.targets(audio, video)
        if points is None:
            points = torch.rand(len(audio), 2, device=audio.device)
        # Second-order gradients need more than half precision.
        with full_precision(audio):
            audio_loss = wasserstein(self.critics["audio"], audio_target.float(), out.audio_recon.float(), points[:, 0])
            video_loss = wasserstein(
                self.critics["video"],
                video_target.float().flatten(1, 2),
                out.video_recon.float().flatten(1, 2),
                points[:, 1],
            )
        penalty = None
        if audio_loss.penalty is not None and video_loss.penalty is not None:
            penalty = audio_loss.penalty + video_loss.penalty
        both = Wasserstein(audio_loss.generator + video_loss.generator, audio_loss.critic + video_loss.critic, penalty)
        return AdversarialOutput(out, both)
