"""Targets and losses of AVFF's pre-training: reconstruction of normalised patches, and contrast of clips.

    B batch   C colours   T frames   H, W pixels   D width

References:
    He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022.
    Tong et al., "VideoMAE", NeurIPS 2022.
    van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from OpenAVFF.precision import full_precision

TEMPERATURE = 0.05


def normalise(x: Tensor) -> Tensor:
    """Normalise to zero mean and unit standard deviation (unbiased) along the last axis."""
    return (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def normalise_patches(video: Tensor, *, tubelet: int, patch: int) -> Tensor:
    """Normalise each tubelet of a video (B, C, T, H, W) per colour."""
    patches = rearrange(video, "b c (t r) (h p) (w q) -> b c t h w (r p q)", r=tubelet, p=patch, q=patch)
    return rearrange(normalise(patches), "b c t h w (r p q) -> b c (t r) (h p) (w q)", r=tubelet, p=patch)


def restore(x: Tensor, original: Tensor) -> Tensor:
    """Undo `normalise`: give x the mean and standard deviation of the original along the last axis."""
    return x * (original.var(dim=-1, keepdim=True) + 1e-6).sqrt() + original.mean(dim=-1, keepdim=True)


def restore_patches(video: Tensor, original: Tensor, *, tubelet: int, patch: int) -> Tensor:
    """Undo `normalise_patches`: give each tubelet the mean and standard deviation of the original's, per colour."""
    size = {"r": tubelet, "p": patch, "q": patch}
    pair = (rearrange(x, "b c (t r) (h p) (w q) -> b c t h w (r p q)", **size) for x in (video, original))
    return rearrange(restore(*pair), "b c t h w (r p q) -> b c (t r) (h p) (w q)", **size)


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample (B, ...): (B,), in float32."""
    return (predicted.float() - target.float()).square().flatten(1).mean(dim=1)


def contrastive_loss(audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE between the embeddings (B, D) of a batch, in both directions -> loss and share of correct matches."""
    # The rounding error of half precision is as large as differences that matter at this temperature.
    with full_precision(audio):
        similarity = F.normalize(audio.float(), dim=-1) @ F.normalize(video.float(), dim=-1).T / TEMPERATURE
    own = torch.arange(len(similarity), device=similarity.device)
    loss = (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2
    matches = torch.stack([similarity.argmax(dim=0), similarity.argmax(dim=1)])
    return loss, (matches == own).float().mean()
