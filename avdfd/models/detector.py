"""Stage 2: the audio-visual detector.

B batch   N visual tokens   A audio tokens   D width   W width of the visual backbone

mel ──► audio encoder (frozen) ─┬─► audio head (frozen) ─────────────► logit_audio ─┐
                                └─► predictor ◄── anchor ─┐                         ├─► fusion ─► logit_final
video ─► visual encoder ─────────► tokens, anchor ────────┴─► |pred - actual| ─► logit_a2v ─┘

`encode` runs the encoders, `decide` all that comes after them: what a frozen backbone has encoded can be kept
(avdfd/training/backbone_cache.py).

`synchrony` adds evidence of its own to the visual-consistency branch: whether predicted and seen mouth are in step
(avdfd/models/synchrony.py). The branch takes a clip for a fake if its mouth is not the predicted one, or out of step.

`direction` turns the prediction round, to show that it matters: "v2a" predicts audio tokens from [audio anchor; visual
tokens], where the anchor is the clip feature, "symmetric" has both predictors and the evidence of both.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from avdfd.config import AudioModelConfig, Direction, Fusion, PredictorConfig, VisualModelConfig
from avdfd.models.audio_encoder import AudioEncoder, AudioNet, audio_head
from avdfd.models.fusion import ConfidenceFusion, FixedFusion
from avdfd.models.layers import head
from avdfd.models.predictor import AudioPredictor, VisualPredictor
from avdfd.models.synchrony import Synchrony, either
from avdfd.models.visual_encoder import VisualBranch

_FIXED = {"fixed": (0.5, 0.5), "visual": (0.0, 1.0)}
"""Weights of the audio and the visual branch where they are not learned."""


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
    """(B,) visual-consistency branch, whichever its direction."""
    mismatch_mse: Tensor
    """(B,) mean squared difference of predicted and actual tokens; of both directions the mean."""
    log_weights: Tensor
    """(B, 2) logarithms of the weights of the audio and the visual branch in the fusion."""
    discrepancy: Tensor
    """(B, N) squared difference per visual token, in time, row, column order; of v2a alone, that of its moment."""
    agreement: Tensor | None = None
    """(B, T, T) of each predicted moment with each that is seen, with `synchrony`."""

    @property
    def w_audio(self) -> Tensor:
        """(B,) weight of the audio branch; the visual branch has the rest."""
        return self.log_weights[:, 0].exp()


class Detector(nn.Module):
    """Predicts vision from audio and takes the discrepancy as evidence beside an audio-only branch."""

    def __init__(
        self,
        audio: AudioModelConfig,
        visual: VisualModelConfig,
        predictor: PredictorConfig,
        *,
        direction: Direction = "a2v",
        fusion: Fusion = "learned",
        supervised: bool = True,
        synchrony: bool = False,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        dim = audio.dim
        evidence = (4 if direction == "symmetric" else 2) * dim
        self.audio_encoder = AudioEncoder(audio)
        self.audio_head = audio_head(audio)
        self.visual_encoder = VisualBranch(visual, dim)
        self.predictor = None if direction == "v2a" else VisualPredictor(dim, predictor)
        self.audio_predictor = None if direction == "a2v" else AudioPredictor(dim, predictor)
        self.a2v_head = head(evidence, dim, 1)
        self.synchrony = Synchrony(self.visual_encoder.backbone.grid[0]) if synchrony else None
        self.fusion = (
            ConfidenceFusion(dim, evidence, supervised=supervised, faithful=faithful)
            if fusion == "learned"
            else FixedFusion(_FIXED[fusion])
        )
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
        """z-scored mel (B, 128, 768), or waveform (B, 49152) for such an audio branch, and normalised video
        (B, 3, 16, H, W) of the same span; or what was encoded."""
        if isinstance(clips, Encoded):
            return self.decide(clips)
        assert video is not None, "a mel comes with its video"
        return self.decide(self.encode(clips, video))

    def encode(self, mel: Tensor, video: Tensor) -> Encoded:
        """Mel or waveform, and normalised video (B, 3, 16, H, W) -> what the encoders see in them."""
        with torch.no_grad():
            audio, audio_tokens = self.audio_encoder(mel)
            logit_audio = self.audio_head(audio).squeeze(-1)
        tokens, pooled = self.visual_encoder.backbone(video)
        return Encoded(tokens, pooled, audio_tokens, audio, logit_audio)

    def decide(self, encoded: Encoded) -> DetectorOutput:
        """Prediction, discrepancy and fusion."""
        visual_tokens, anchor = (self.visual_encoder.proj(x) for x in (encoded.tokens, encoded.pooled))
        audio_tokens, audio_anchor = encoded.audio_tokens, encoded.audio
        # Of each direction: differences (B, N or A, D), and the anchor (B, D) that the prediction starts from.
        compared: list[tuple[Tensor, Tensor]] = []
        agreement = out_of_step = None
        if self.predictor is not None:
            predicted = self.predictor(audio_tokens, anchor, visual_tokens.shape[1])
            compared.append((predicted - visual_tokens, anchor))
            if self.synchrony is not None:
                agreement, out_of_step = self.synchrony(predicted, visual_tokens)
        if self.audio_predictor is not None:
            predicted = self.audio_predictor(visual_tokens, audio_anchor, audio_tokens.shape[1])
            compared.append((predicted - audio_tokens, audio_anchor))

        evidence = torch.cat([x for difference, a in compared for x in (difference.abs().amax(dim=1), a)], dim=-1)
        logit_a2v = self.a2v_head(evidence).squeeze(-1)
        if out_of_step is not None:
            logit_a2v = either(logit_a2v, out_of_step)
        discrepancies = [difference.float().square().mean(dim=-1) for difference, _ in compared]
        mismatch = torch.stack([d.mean(dim=1) for d in discrepancies]).mean(dim=0)

        logits = torch.stack([encoded.logit_audio, logit_a2v], dim=-1)
        logit_final, log_weights = self.fusion(encoded.audio, evidence, logits)
        return DetectorOutput(
            logit_final=logit_final,
            logit_audio=encoded.logit_audio,
            logit_a2v=logit_a2v,
            mismatch_mse=mismatch,
            log_weights=log_weights,
            discrepancy=self._over_the_face(discrepancies[0]) if self.predictor is None else discrepancies[0],
            agreement=agreement,
        )

    def _over_the_face(self, discrepancy: Tensor) -> Tensor:
        """Of audio tokens (B, A) -> of visual tokens (B, N): sound has a moment, and no place."""
        steps, rows, columns = self.visual_encoder.backbone.grid
        return repeat(F.adaptive_avg_pool1d(discrepancy, steps), "b t -> b (t p)", p=rows * columns)
