"""AVFF's first stage: self-supervised learning of the correspondence of audio and video on real faces.

    B batch   L frames of audio   T frames, H, W pixels of video   S = T / 2 time slots   D width

audio ─► encoder ─► tokens ─► half of the slots ─┬──────────► own slots ─┐
                                                 └─► A2V ─┐              ├─► decoder ─► audio
                                                 ┌─► V2A ─┼► other slots ┘
                                                 │        └► other slots ┐
video ─► encoder ─► tokens ─► the other half ────┴──────────► own slots ─┴─► decoder ─► video

The state_dict keys are those of the released OpenAVFF.

References:
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
    OpenAVFF, the public re-implementation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from OpenAVFF.audio_encoder import BANDS, PATCH, AudioEncoder, audio_image
from OpenAVFF.decoders import AudioDecoder, VisualDecoder
from OpenAVFF.fusion import FusionNetwork
from OpenAVFF.reconstruction import (
    contrastive_loss,
    normalise,
    normalise_patches,
    restore,
    restore_patches,
    squared_error,
)
from OpenAVFF.visual_encoder import VisualEncoder


class Clips(NamedTuple):
    """Inputs of the losses per clip; those of parts of a batch, concatenated, are those of the whole batch."""

    audio_embedding: Tensor
    """(B, D) mean token, for the contrastive loss."""
    video_embedding: Tensor
    """(B, D)"""
    audio_error: Tensor
    """(B,) mean squared error of the reconstruction."""
    video_error: Tensor
    """(B,)"""


class PretrainingLosses(NamedTuple):
    """Scalars."""

    total_loss: Tensor
    nce_loss: Tensor
    """Contrastive loss between clips."""
    c_acc: Tensor
    """Share of clips whose best match in the batch is their own other modality."""
    rec_loss_a: Tensor
    rec_loss_v: Tensor


class PretrainingOutput(NamedTuple):
    """Outputs of the first stage for a batch; the losses are those of `PretrainingLosses`."""

    total_loss: Tensor
    nce_loss: Tensor
    c_acc: Tensor
    rec_loss_a: Tensor
    rec_loss_v: Tensor
    audio_recon: Tensor
    """(B, 1, 128, L) normalised like the targets."""
    video_recon: Tensor
    """(B, 3, T, H, W) normalised like the targets."""
    clips: Clips


def pretraining_losses(clips: Clips, *, rec_weight: float = 1.0, nce_weight: float = 0.01) -> PretrainingLosses:
    """Return the losses of a batch and their weighted sum."""
    nce_loss, c_acc = contrastive_loss(clips.audio_embedding, clips.video_embedding)
    rec_loss_a, rec_loss_v = clips.audio_error.mean(), clips.video_error.mean()
    total_loss = rec_weight * (rec_loss_a + rec_loss_v) + nce_weight * nce_loss
    return PretrainingLosses(total_loss, nce_loss, c_acc, rec_loss_a, rec_loss_v)


class VideoCAVMAE(nn.Module):
    """Masked audio-visual autoencoder with complementary masking in time.

    The defaults are the published sizes. `visual_qkv_bias` gives the visual encoder the biases of MARLIN's weights.
    `faithful` computes what OpenAVFF does: the A2V and V2A networks attend across the batch, the audio is masked by
    frequency band (its tokens are cut into slots in their stored order), its decoder has no positions, and targets are
    normalised along the image width.
    """

    def __init__(
        self,
        *,
        frames: int = 16,
        image_size: int = 224,
        audio_length: int = 1024,
        dim: int = 768,
        encoder_depth: int = 12,
        heads: int = 12,
        decoder_dim: int = 384,
        decoder_depth: int = 4,
        decoder_heads: int = 6,
        visual_qkv_bias: bool = False,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        self.audio_encoder = AudioEncoder(audio_length=audio_length, dim=dim, depth=encoder_depth, heads=heads)
        self.visual_encoder = VisualEncoder(
            frames=frames,
            image_size=image_size,
            dim=dim,
            depth=encoder_depth,
            heads=heads,
            qkv_bias=visual_qkv_bias,
        )
        self.frames = frames
        self.slots = self.visual_encoder.grid[0]
        columns = self.audio_encoder.grid[1]
        if self.slots % 2 or columns % self.slots:
            raise ValueError(f"{self.slots} time slots: must be even and divide the {columns} columns of audio tokens")
        self.faithful = faithful
        # Audio tokens are stored band by band. Cut in that order, as released, a slot is a band; else a time span.
        self.audio_order = "slot band w" if faithful else "band slot w"
        decoder = {"encoder_dim": dim, "dim": decoder_dim, "depth": decoder_depth, "heads": decoder_heads}
        self.audio_decoder = AudioDecoder(grid=self.audio_encoder.grid, positions=not faithful, **decoder)
        self.visual_decoder = VisualDecoder(grid=self.visual_encoder.grid, **decoder)
        audio, visual = self.audio_encoder.tokens // 2, self.visual_encoder.tokens // 2
        self.a2v = FusionNetwork(tokens_in=audio, tokens_out=visual, dim=dim, heads=heads, across_samples=faithful)
        self.v2a = FusionNetwork(tokens_in=visual, tokens_out=audio, dim=dim, heads=heads, across_samples=faithful)

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        mask_indices: Sequence[int] | None = None,
        *,
        rec_weight: float = 1.0,
        nce_weight: float = 0.01,
    ) -> PretrainingOutput:
        """audio (B, L, 128), video (B, 3, T, H, W); both normalised.

        mask_indices: the S / 2 slots whose video stays visible and whose audio is hidden; drawn at random if None.
        rec_weight, nce_weight: weights of the losses. Raises ValueError for other mask_indices.
        """
        audio_tokens = self.audio_encoder(audio)
        video_tokens, _ = self.visual_encoder(video)

        with_video, with_audio = self.draw_slots(mask_indices, audio.device)
        fused_audio, fused_video = self.fuse(audio_tokens, video_tokens, with_video, with_audio)
        audio_recon, video_recon = self.audio_decoder(fused_audio), self.visual_decoder(fused_video)

        audio_target, video_target = self.targets(audio, video)
        clips = Clips(
            audio_tokens.mean(dim=1),
            video_tokens.mean(dim=1),
            squared_error(audio_recon, audio_target),
            squared_error(video_recon, video_target),
        )
        losses = pretraining_losses(clips, rec_weight=rec_weight, nce_weight=nce_weight)
        return PretrainingOutput(*losses, audio_recon, video_recon, clips)

    def draw_slots(self, with_video: Sequence[int] | None, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the slots with visible video and with visible audio: (S / 2,) each, ascending, equal for all clips."""
        if with_video is None:
            order = torch.randperm(self.slots, device=device)
        else:
            with_video = [int(slot) for slot in with_video]
            with_audio = [slot for slot in range(self.slots) if slot not in with_video]
            if len(with_video) != self.slots // 2 or len(with_audio) != self.slots // 2:
                raise ValueError(
                    f"mask_indices must be {self.slots // 2} of the slots 0-{self.slots - 1}, not {with_video}"
                )
            order = torch.tensor(with_video + with_audio).to(device, non_blocking=True)
        return order[: self.slots // 2].sort().values, order[self.slots // 2 :].sort().values

    def fuse(self, audio: Tensor, video: Tensor, with_video: Tensor, with_audio: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the hidden slots in both modalities' tokens (B, N, D) by predictions from the other modality."""
        audio = rearrange(audio, f"b ({self.audio_order}) d -> b slot (band w) d", band=BANDS, slot=self.slots)
        video = rearrange(video, "b (slot n) d -> b slot n d", slot=self.slots)
        audio, video = audio[:, with_audio], video[:, with_video]
        predicted_video, predicted_audio = self.a2v(audio.flatten(1, 2)), self.v2a(video.flatten(1, 2))

        audio = torch.cat([audio, predicted_audio.reshape(audio.shape)], dim=1)[
            :, torch.cat([with_audio, with_video]).argsort()
        ]
        video = torch.cat([video, predicted_video.reshape(video.shape)], dim=1)[
            :, torch.cat([with_video, with_audio]).argsort()
        ]
        audio = rearrange(audio, f"b slot (band w) d -> b ({self.audio_order}) d", band=BANDS)
        return audio, video.flatten(1, 2)

    def targets(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoders' targets: audio (B, 1, 128, L) and video (B, 3, T, H, W)."""
        image = audio_image(audio)
        if self.faithful:
            return normalise(image), normalise(video)
        tubelet, patch = self.visual_encoder.tubelet, self.visual_encoder.patch
        audio_target = normalise_patches(image.unsqueeze(2), tubelet=1, patch=PATCH).squeeze(2)
        return audio_target, normalise_patches(video, tubelet=tubelet, patch=patch)

    def restore(self, audio_recon: Tensor, video_recon: Tensor, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructions of audio (B, L, 128) and video (B, 3, T, H, W) -> images (B, 1, 128, L) and video to look at.

        The decoders predict normalised patches; their means and standard deviations are taken from `audio` and
        `video`, in whose units the result is. So even an untrained model shows a rough shape.
        """
        image = audio_image(audio)
        if self.faithful:
            return restore(audio_recon, image), restore(video_recon, video)
        tubelet, patch = self.visual_encoder.tubelet, self.visual_encoder.patch
        restored = restore_patches(audio_recon.unsqueeze(2), image.unsqueeze(2), tubelet=1, patch=PATCH).squeeze(2)
        return restored, restore_patches(video_recon, video, tubelet=tubelet, patch=patch)

    def visible(self, with_video: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return which parts the encoders' visible slots cover: of the audio image (128, L), and of the frames (T,)."""
        with_audio = [slot for slot in range(self.slots) if slot not in with_video]
        rows, columns = self.audio_encoder.grid
        tokens = torch.arange(rows * columns)
        slots = rearrange(tokens, f"({self.audio_order}) -> slot (band w)", band=BANDS, slot=self.slots)
        shown = torch.zeros(rows * columns, dtype=torch.bool)
        shown[slots[with_audio].flatten()] = True
        image = repeat(shown, "(h w) -> (h p) (w q)", h=rows, p=PATCH, q=PATCH)
        frames = torch.tensor([slot in with_video for slot in range(self.slots)])
        return image, frames.repeat_interleave(self.frames // self.slots)
