"""AVFF's second stage: a classifier on the features of the first.

    B batch   L frames of audio   T frames, H, W pixels of video   N, M tokens of audio, of video   D width

audio ─► encoder ─► tokens ─┬──────────────► [tokens; V2A] ─► mlp_audio ──┐
                            └─► A2V ─┐                                    ├─► mlp_head ─► logits
                            ┌─► V2A ─┼──────┘                             │
video ─► encoder ─► tokens ─┴────────┴─────► [tokens; A2V] ─► mlp_vision ─┘

The state_dict keys are those of the released OpenAVFF.

References:
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
    OpenAVFF, the public re-implementation.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from OpenAVFF.audio_encoder import AudioEncoder
from OpenAVFF.fusion import FusionNetwork
from OpenAVFF.precision import full_precision
from OpenAVFF.visual_encoder import VisualEncoder

_NEW = ("a2v.mlp.", "v2a.mlp.", "mlp_vision.", "mlp_audio.", "mlp_head.")
"""Layers that the first stage lacks, or has in another size: it fuses half of the slots, this one all of them."""
_DROPPED = ("audio_decoder.", "visual_decoder.", "a2v.mlp.", "v2a.mlp.")


def finetune_weights(pretrained: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a pre-training state dict that fine-tuning uses: encoders and fusion transformers.

    `pretrained` is the state dict of a VideoCAVMAE or of an AdversarialPretraining.
    """
    autoencoder = {k.removeprefix("model."): v for k, v in pretrained.items() if not k.startswith("critics.")}
    return {key: value for key, value in autoencoder.items() if not key.startswith(_DROPPED)}


def _some(keys: set[str]) -> str:
    """Return the first keys by name, and the number of the others."""
    first = ", ".join(sorted(keys)[:3])
    return f"{first} and {len(keys) - 3} more" if len(keys) > 3 else first


class FinetuningOutput(NamedTuple):
    """Outputs of the second stage for a batch."""

    logits: Tensor
    """(B, 2): fake, real."""


class Head(nn.Module):
    """Three linear layers with dropout and ReLU, in float32: (B, dim) -> (B, 2)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            x = x.float()
            for layer in (self.fc1, self.fc2):
                x = F.relu(self.dropout(layer(x)))
            return self.fc3(x)


class VideoCAVMAEFT(nn.Module):
    """The classifier. The defaults are the published sizes; its layers' sizes follow from `dim`.

    By default `mlp_vision` and `mlp_audio` take each token with its prediction from the other modality (2 * dim
    channels), so that they can detect where the two disagree, and their outputs are averaged over tokens after a GELU.
    `faithful` computes what OpenAVFF does: the A2V and V2A networks attend across the batch, and `mlp_vision` and
    `mlp_audio` take the mean over channels of every token (as many inputs as tokens).
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
        self.faithful = faithful
        audio, visual = self.audio_encoder.tokens, self.visual_encoder.tokens
        self.a2v = FusionNetwork(tokens_in=audio, tokens_out=visual, dim=dim, heads=heads, across_samples=faithful)
        self.v2a = FusionNetwork(tokens_in=visual, tokens_out=audio, dim=dim, heads=heads, across_samples=faithful)
        hidden = 4 * dim // 3
        self.mlp_vision = nn.Linear(visual if faithful else 2 * dim, hidden)
        self.mlp_audio = nn.Linear(audio if faithful else 2 * dim, hidden)
        self.mlp_head = Head(2 * hidden, hidden)

    def forward(self, audio: Tensor, video: Tensor) -> FinetuningOutput:
        """audio (B, L, 128), video (B, 3, T, H, W); both normalised."""
        audio_tokens = self.audio_encoder(audio)
        video_tokens, _ = self.visual_encoder(video)
        fused_video = torch.cat([self.a2v(audio_tokens), video_tokens], dim=-1)
        fused_audio = torch.cat([self.v2a(video_tokens), audio_tokens], dim=-1)
        features = [self.summary(self.mlp_vision, fused_video), self.summary(self.mlp_audio, fused_audio)]
        return FinetuningOutput(self.mlp_head(torch.cat(features, dim=-1)))

    def summary(self, layer: nn.Linear, tokens: Tensor) -> Tensor:
        """Fused tokens (B, N, 2D) of one modality -> its features (B, hidden)."""
        if self.faithful:
            return layer(tokens.mean(dim=-1))
        return F.gelu(layer(tokens)).mean(dim=1, dtype=torch.float32)

    def load_pretrained(self, pretrained: Mapping[str, Tensor]) -> None:
        """Load encoders and fusion transformers from a state dict of pre-training; other layers keep their weights.

        Raises ValueError, naming the keys, if keys are missing, unexpected or of another shape.
        """
        weights, own = finetune_weights(pretrained), self.state_dict()
        wanted = {key for key in own if not key.startswith(_NEW)}
        problems = {
            "missing": wanted - weights.keys(),
            "unexpected": weights.keys() - wanted,
            "of another shape": {k for k in wanted & weights.keys() if own[k].shape != weights[k].shape},
        }
        found = [f"{what}: {_some(keys)}" for what, keys in problems.items() if keys]
        if found:
            raise ValueError(f"pre-trained weights do not fit: {'; '.join(found)}")
        self.load_state_dict(weights, strict=False)

    def new_parameters(self) -> list[str]:
        """Return the names of the parameters that pre-training does not provide, for a separate learning rate.

        In faithful mode the last layer is excluded, as OpenAVFF trains it at the encoders' learning rate.
        """
        slow = "mlp_head.fc3." if self.faithful else ()
        return [name for name, _ in self.named_parameters() if name.startswith(_NEW) and not name.startswith(slow)]
