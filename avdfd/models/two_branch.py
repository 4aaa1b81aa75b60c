"""Stage 2 as released: an audio and a visual branch, vision predicted from audio without a notion of time.

B batch   N visual tokens   A audio tokens   D width   W width of the visual backbone   T moments

audio ─► audio encoder ─┬─► audio head ──────────────────────► logit_audio ─┐
                        └─► predictor ◄── anchor ─┐                         ├─► fusion ─► logit_final
video ─► visual encoder ─► tokens, anchor ────────┴─► |pred - actual| ─► logit_a2v ─┘

The audio encoder and its head come from stage 1. They are frozen, or trained on with the rest.

`encode` runs the encoders, `compare_and_fuse` everything after them, so that the output of frozen encoders can be
cached (avdfd/training/backbone_cache.py).

`synchrony` adds evidence to the visual-consistency branch: whether the predicted and the actual mouth move in sync
(avdfd/models/synchrony.py). The branch then calls a clip fake if its mouth differs from the prediction or is out of
sync with it.

`direction` reverses the prediction for comparison: "v2a" predicts audio tokens from [audio anchor; visual tokens],
where the anchor is the clip feature; "symmetric" has both predictors and both discrepancies. The evidence has the
visual anchor in every direction, so that they differ in the prediction only.
"""

from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from avdfd.models.audio_encoder import AudioEncoder, AudioNet, keep_frozen_in_eval
from avdfd.models.fusion import ConfidenceFusion, FixedFusion
from avdfd.models.layers import head
from avdfd.models.predictor import AudioPredictor, VisualPredictor
from avdfd.models.speech_encoder import SpeechEncoder, copy_encoder
from avdfd.models.synchrony import Synchrony, either
from avdfd.models.visual_encoder import VisualBranch

_FIXED = {"fixed": (0.5, 0.5), "visual": (0.0, 1.0)}
"""Weights of the audio and the visual branch where they are not learned."""


class Encoded(NamedTuple):
    """Outputs of the encoders. If visual backbone and audio branch are frozen, they stay the same in training."""

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


class TwoBranchOutput(NamedTuple):
    """Outputs of stage 2 for a batch; every logit is that of the clip being fake."""

    logit_final: Tensor
    """(B,) fused."""
    logit_audio: Tensor
    """(B,) audio branch."""
    logit_a2v: Tensor
    """(B,) visual-consistency branch, in every direction."""
    mismatch_mse: Tensor
    """(B,) mean squared difference of predicted and actual tokens; for "symmetric" the mean of both directions."""
    log_weights: Tensor
    """(B, 2) logarithms of the weights of the audio and the visual branch in the fusion."""
    discrepancy: Tensor
    """(B, N) squared difference per visual token, in time, row, column order; for "v2a", which has no places, that of
    the token's moment."""
    agreement: Tensor | None = None
    """(B, T, T) cosine of each predicted moment with each actual one; None without `synchrony`."""

    @property
    def logits(self) -> Tensor:
        """(B, 2) logits of the branches, in the order of `TwoBranchDetector.branches`."""
        return torch.stack([self.logit_audio, self.logit_a2v], dim=-1)

    @property
    def w_audio(self) -> Tensor:
        """(B,) weight of the audio branch; the visual branch has the rest."""
        return self.log_weights[:, 0].exp()


class TwoBranchDetector(nn.Module):
    """Predicts vision from audio and uses the discrepancy as evidence beside an audio-only branch.

    The audio encoder and its head are trained in stage 1 (`load_audio`), and frozen here unless `audio_trained`.
    `supervised` is for a fusion that has a loss of its own, see `ConfidenceFusion`. `faithful` fuses as the released
    code does, and keeps dropout on in the frozen audio branch while the rest is trained.

    Controls: `predictor_zeros` gives the predictors zeros in place of tokens; without `discrepancy` the evidence is the
    anchor alone; `anchors` "own" puts the anchor of each prediction into the evidence, for v2a the clip feature.
    """

    branches = ("audio", "visual")
    encoded = Encoded

    def __init__(
        self,
        audio_encoder: AudioEncoder | SpeechEncoder,
        audio_head: nn.Module,
        visual_encoder: VisualBranch,
        *,
        predictor_depth: int = 2,
        predictor_heads: int = 4,
        predictor_dropout: float = 0.1,
        predictor_zeros: bool = False,
        direction: Literal["a2v", "v2a", "symmetric"] = "a2v",
        anchors: Literal["equal", "own"] = "equal",
        discrepancy: bool = True,
        fusion: Literal["learned", "fixed", "visual"] = "learned",
        supervised: bool = True,
        synchrony: bool = False,
        audio_trained: bool = False,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        dim = audio_encoder.dim
        assert visual_encoder.proj.out_features == dim, "audio and projected visual tokens have the same width"
        sizes: dict[str, Any] = {"depth": predictor_depth, "heads": predictor_heads, "dropout": predictor_dropout}
        directions = 2 if direction == "symmetric" else 1
        evidence = dim * ((directions if discrepancy else 0) + (directions if anchors == "own" else 1))
        self.predictor_zeros = predictor_zeros
        self.anchors = anchors
        self.discrepancy = discrepancy
        self.audio_encoder = audio_encoder
        self.audio_head = audio_head
        self.visual_encoder = visual_encoder
        self.predictor = None if direction == "v2a" else VisualPredictor(dim, **sizes)
        self.audio_predictor = None if direction == "a2v" else AudioPredictor(dim, **sizes)
        self.a2v_head = head(evidence, dim, 1)
        self.synchrony = Synchrony(self.visual_encoder.backbone.grid[0]) if synchrony else None
        self.fusion = (
            ConfidenceFusion(dim + evidence, hidden=dim, supervised=supervised, faithful=faithful)
            if fusion == "learned"
            else FixedFusion(_FIXED[fusion])
        )
        self.audio_trained = audio_trained
        self.audio_dropout = audio_trained or faithful
        self.audio_encoder.requires_grad_(audio_trained)
        self.audio_head.requires_grad_(audio_trained)

    def load_audio(self, stage1: AudioNet, *, with_head: bool = True) -> None:
        """Copies encoder and head from stage 1. The released code left the head random: `with_head=False`."""
        copy_encoder(stage1.encoder, self.audio_encoder)
        if with_head:
            self.audio_head.load_state_dict(stage1.head.state_dict())

    def train(self, mode: bool = True) -> "TwoBranchDetector":
        """As nn.Module.train, but a frozen audio branch stays in eval mode, without dropout."""
        super().train(mode)
        keep_frozen_in_eval(self.audio_encoder, self.audio_head, dropout=self.audio_dropout)
        return self

    def forward(self, clips: Tensor | Encoded, video: Tensor | None = None) -> TwoBranchOutput:
        """Audio as `AudioEncoder` takes it and video (B, 3, 16, H, W) of the same span, as `VisualBranch.normalise`
        takes it; or the encoders' outputs."""
        if isinstance(clips, Encoded):
            return self.compare_and_fuse(clips)
        assert video is not None, "audio comes with its video"
        return self.compare_and_fuse(self.encode(clips, video))

    def encode(self, mel: Tensor, video: Tensor) -> Encoded:
        """Runs the encoders on audio as `AudioEncoder` takes it and video (B, 3, 16, H, W), uint8 or normalised."""
        with nullcontext() if self.audio_trained else torch.no_grad():
            audio, audio_tokens = self.audio_encoder(mel)
            logit_audio = self.audio_head(audio).squeeze(-1)
        tokens, pooled = self.visual_encoder.backbone(self.visual_encoder.normalise(video))
        return Encoded(tokens, pooled, audio_tokens, audio, logit_audio)

    def compare_and_fuse(self, encoded: Encoded) -> TwoBranchOutput:
        """Runs prediction, discrepancy and fusion."""
        visual_tokens, anchor = (self.visual_encoder.proj(x) for x in (encoded.tokens, encoded.pooled))
        audio_tokens, audio_anchor = encoded.audio_tokens, encoded.audio
        visual_given, audio_given = (
            torch.zeros_like(x) if self.predictor_zeros else x for x in (visual_tokens, audio_tokens)
        )
        # Per direction, in float32: differences (B, N or A, D), and the anchor (B, D) of the prediction.
        compared: list[tuple[Tensor, Tensor]] = []
        agreement = logit_out_of_sync = None
        if self.predictor is not None:
            predicted = self.predictor(audio_given, anchor, visual_tokens.shape[1])
            compared.append((predicted.float() - visual_tokens.float(), anchor.float()))
            if self.synchrony is not None:
                agreement, logit_out_of_sync = self.synchrony(predicted, visual_tokens)
        if self.audio_predictor is not None:
            predicted = self.audio_predictor(visual_given, audio_anchor, audio_tokens.shape[1])
            compared.append((predicted.float() - audio_tokens.float(), audio_anchor))

        evidence = self._evidence(compared, anchor.float())
        logit_a2v = self.a2v_head(evidence).squeeze(-1)
        if logit_out_of_sync is not None:
            logit_a2v = either(logit_a2v, logit_out_of_sync)
        discrepancies = [difference.square().mean(dim=-1) for difference, _ in compared]
        mismatch = torch.stack([d.mean(dim=1) for d in discrepancies]).mean(dim=0)

        logits = torch.stack([encoded.logit_audio, logit_a2v], dim=-1)
        logit_final, log_weights = self.fusion(torch.cat([encoded.audio, evidence], dim=-1), logits)
        return TwoBranchOutput(
            logit_final=logit_final,
            logit_audio=encoded.logit_audio,
            logit_a2v=logit_a2v,
            mismatch_mse=mismatch,
            log_weights=log_weights,
            discrepancy=self._over_the_face(discrepancies[0]) if self.predictor is None else discrepancies[0],
            agreement=agreement,
        )

    def _evidence(self, compared: list[tuple[Tensor, Tensor]], visual_anchor: Tensor) -> Tensor:
        """Concatenates the largest differences and the anchors: (B, E)."""
        parts = []
        for difference, own in compared:
            parts += [difference.abs().amax(dim=1)] if self.discrepancy else []
            parts += [own] if self.anchors == "own" else []
        return torch.cat([*parts, visual_anchor] if self.anchors == "equal" else parts, dim=-1)

    def _over_the_face(self, discrepancy: Tensor) -> Tensor:
        """Spreads the discrepancy of audio tokens (B, A), which have a time but no place, over visual tokens (B, N)."""
        steps, rows, columns = self.visual_encoder.backbone.grid
        return repeat(F.adaptive_avg_pool1d(discrepancy, steps), "b t -> b (t p)", p=rows * columns)
