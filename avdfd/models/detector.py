"""Stage 2: the audio-visual detector.

B batch   N visual tokens   A audio tokens   D width   W width of the visual backbone

mel ──► audio encoder (frozen) ─┬─► audio head (frozen) ─────────────► logit_audio ─┐
                                └─► predictor ◄── anchor ─┐                         ├─► fusion ─► logit_final
video ─► visual encoder ─────────► tokens, anchor ────────┴─► |pred - actual| ─► logit_a2v ─┘

`encode` runs the encoders, `decide` all that comes after them: what a frozen backbone has encoded can be kept
(avdfd/frozen.py).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avdfd.config import AudioModelConfig, PredictorConfig, VisualModelConfig
from avdfd.models.audio_encoder import AudioEncoder, AudioNet
from avdfd.models.fusion import ConfidenceFusion
from avdfd.models.layers import head
from avdfd.models.predictor import VisualPredictor
from avdfd.models.visual_encoder import VisualBranch


class Encoded(NamedTuple):
    """What the encoders see in a clip. Where the visual backbone is frozen too, none of it changes in training."""

    tokens: Tensor
    """(B, N, W) visual tokens in the width of the backbone, before the projection, which is always trained."""
    pooled: Tensor
    """(B, W) global vector of the backbone."""
    audio_tokens: Tensor
    """(B, A, D)."""
    audio: Tensor
    """(B, D) clip feature."""
    logit_audio: Tensor
    """(B,) audio branch."""


class DetectorOutput(NamedTuple):
    """What stage 2 computes for a batch; every logit is of the clip being fake."""

    logit_final: Tensor
    """(B,) fused."""
    logit_audio: Tensor
    """(B,) audio branch."""
    logit_a2v: Tensor
    """(B,) visual-consistency branch."""
    mismatch_mse: Tensor
    """(B,) mean squared difference of predicted and actual visual tokens."""
    w_audio: Tensor
    """(B,) weight of the audio branch; the visual branch has the rest."""
    discrepancy: Tensor
    """(B, N) squared difference per token, in time, row, column order."""


class Detector(nn.Module):
    """Predicts vision from audio and takes the discrepancy as evidence beside an audio-only branch."""

    def __init__(
        self,
        audio: AudioModelConfig,
        visual: VisualModelConfig,
        predictor: PredictorConfig,
        *,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        dim = audio.dim
        self.audio_encoder = AudioEncoder(audio)
        self.audio_head = head(dim, dim, 1)
        self.visual_encoder = VisualBranch(visual, dim)
        self.predictor = VisualPredictor(dim, predictor)
        self.a2v_head = head(2 * dim, dim, 1)
        self.fusion = ConfidenceFusion(dim, faithful=faithful)
        self.audio_encoder.requires_grad_(False)
        self.audio_head.requires_grad_(False)

    def load_audio(self, stage1: AudioNet, *, with_head: bool = True) -> None:
        """Takes encoder and head from stage 1. The released code forgot the head: `with_head=False`."""
        self.audio_encoder.load_state_dict(stage1.encoder.state_dict())
        if with_head:
            self.audio_head.load_state_dict(stage1.head.state_dict())

    def train(self, mode: bool = True) -> "Detector":
        """Like nn.Module.train, but the frozen audio branch stays in eval mode: frozen means no dropout either."""
        super().train(mode)
        self.audio_encoder.eval()
        self.audio_head.eval()
        return self

    def forward(self, clips: Tensor | Encoded, video: Tensor | None = None) -> DetectorOutput:
        """z-scored mel (B, 128, 768) and normalised video (B, 3, 16, H, W) of the same span; or what was encoded."""
        if isinstance(clips, Encoded):
            return self.decide(clips)
        assert video is not None, "a mel comes with its video"
        return self.decide(self.encode(clips, video))

    def encode(self, mel: Tensor, video: Tensor) -> Encoded:
        """z-scored mel (B, 128, 768) and normalised video (B, 3, 16, H, W) -> what the encoders see in them."""
        with torch.no_grad():
            audio, audio_tokens = self.audio_encoder(mel)
            logit_audio = self.audio_head(audio).squeeze(-1)
        tokens, pooled = self.visual_encoder.backbone(video)
        return Encoded(tokens, pooled, audio_tokens, audio, logit_audio)

    def decide(self, encoded: Encoded) -> DetectorOutput:
        """Prediction, discrepancy and fusion."""
        visual_tokens, anchor = (self.visual_encoder.proj(x) for x in (encoded.tokens, encoded.pooled))
        predicted = self.predictor(encoded.audio_tokens, anchor, visual_tokens.shape[1])

        difference = predicted - visual_tokens
        evidence = torch.cat([difference.abs().amax(dim=1), anchor], dim=-1)
        logit_a2v = self.a2v_head(evidence).squeeze(-1)
        discrepancy = difference.float().square().mean(dim=-1)

        logits = torch.stack([encoded.logit_audio, logit_a2v], dim=-1)
        logit_final, weights = self.fusion(encoded.audio, evidence, logits)
        return DetectorOutput(
            logit_final=logit_final,
            logit_audio=encoded.logit_audio,
            logit_a2v=logit_a2v,
            mismatch_mse=discrepancy.mean(dim=1),
            w_audio=weights[:, 0],
            discrepancy=discrepancy,
        )
