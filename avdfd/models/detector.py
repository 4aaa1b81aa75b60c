"""Stage 2: the audio-visual detector, with three branches that are scored apart and fused by confidence.

B batch   T frames (25 a second)   K tokens of a frame   W width of the visual backbone   E evidence   L lags

audio ─► audio encoder ─► audio feature ─► audio head ───────────────────────────────► logit_audio ──────┐
mel ───► predictor of the mouth ─┐                                                                       │
mouth shape ─► actual movement ──┴─► log-ratio over time ─► evidence ─► head ────────► logit_consistency ┼─► fusion
frames ─► visual encoder ─► appearance ─► head ──────────────────────────────────────► logit_picture ────┘

The audio branch comes from stage 1, the predictor of the mouth from stage 2a, which takes real clips alone
(avdfd/models/consistency.py). Both are frozen, or trained on with the rest.

`encode` runs the encoders, `compare_and_fuse` everything after them, so that the output of frozen encoders can be
cached (avdfd/training/backbone_cache.py). In place of the mouth shape, another frozen representation of the mouth
(avdfd/models/representations.py) gives the movement.

The released design, with two branches and without time in its predictor, is avdfd/models/two_branch.py.
"""

from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avdfd.features.mel import log_mel, zscore
from avdfd.models.audio_encoder import AudioEncoder, AudioNet, keep_frozen_in_eval
from avdfd.models.consistency import Consistency
from avdfd.models.evidence import EVIDENCE, moved, summarised
from avdfd.models.fusion import ConfidenceFusion, FixedFusion
from avdfd.models.layers import head
from avdfd.models.referred import leave_out
from avdfd.models.representations import Representation
from avdfd.models.speech_encoder import SpeechEncoder, copy_encoder
from avdfd.models.visual_encoder import VisualBranch

BRANCHES = ("audio", "consistency", "picture")
_FIXED = {"fixed": (1 / 3, 1 / 3, 1 / 3), "visual": (0.0, 0.5, 0.5)}
"""Weights of the branches where they are not learned."""
_HIDDEN = 32  # of the networks with few inputs: head of the consistency branch, and fusion


class Encoded(NamedTuple):
    """Outputs of the encoders. If all of them are frozen, they stay the same in training."""

    pooled: Tensor
    """(B, W) global vector of the visual backbone, before the projection, which is always trained."""
    logit_audio: Tensor
    """(B,) audio branch."""
    said: Tensor
    """(B, T, K) tokens of the audio: by default, of the mouth as predicted from it."""
    shown: Tensor
    """(B, T, K) tokens of the mouth."""


class DetectorOutput(NamedTuple):
    """Outputs of stage 2 for a batch; every logit is that of the clip being fake."""

    logit_final: Tensor
    """(B,) fused."""
    logit_audio: Tensor
    """(B,) audio branch."""
    logit_consistency: Tensor
    """(B,) consistency branch: whether audio and mouth belong together."""
    logit_picture: Tensor
    """(B,) picture branch: appearance of the face, without audio."""
    log_weights: Tensor
    """(B, 3) logarithms of the weights of the branches in the fusion."""
    frames: Tensor
    """(B, T) log-ratio of consistency over time, from about half a second around each frame; low if audio and mouth do
    not belong together."""
    agreement: Tensor
    """(B, L) correlation of predicted and actual movement at lags from -15 to 15 frames."""
    logit_moved: Tensor | None = None
    """(B, M) consistency logits of parts of the clips with their audio moved, after those of the same parts with their
    own audio (`avdfd.models.evidence.moved`); in training only."""
    said: Tensor | None = None
    """(B, T, K) tokens of the audio, and"""
    shown: Tensor | None = None
    """(B, T, K) those of the mouth, that were compared; in evaluation only."""

    @property
    def logits(self) -> Tensor:
        """(B, 3) logits of the branches, in the order of `Detector.branches`."""
        return torch.stack([self.logit_audio, self.logit_consistency, self.logit_picture], dim=-1)

    @property
    def w_audio(self) -> Tensor:
        """(B,) weight of the audio branch."""
        return self.log_weights[:, 0].exp()


class Detector(nn.Module):
    """Scores the voice, the relation of audio and mouth, and the appearance of the face, and fuses the probabilities.

    The audio encoder and its head are trained in stage 1 (`load_audio`), and frozen unless `audio_trained`;
    `consistency` is trained in stage 2a, and frozen unless `consistency_trained`. `supervised` is for a fusion that has
    a loss of its own, see `ConfidenceFusion`.

    `representation` is frozen; None for one that is set later. Its weights are no part of the state_dict, as they come
    from a file of their own.

    Branches do not learn from the fusion's loss, so that each says what it finds by itself.

    Controls: `deaf` gives the predictor zeros in place of the mel; `without` leaves a branch out of the fusion.
    """

    branches = BRANCHES
    encoded = Encoded
    log_weights: Tensor

    def __init__(
        self,
        audio_encoder: AudioEncoder | SpeechEncoder,
        audio_head: nn.Module,
        visual_encoder: VisualBranch,
        consistency: Consistency,
        representation: Representation | None,
        *,
        fusion: Literal["learned", "fixed", "visual"] = "learned",
        supervised: bool = True,
        without: Literal["consistency", "picture"] | None = None,
        deaf: bool = False,
        audio_trained: bool = False,
        consistency_trained: bool = False,
    ) -> None:
        super().__init__()
        width = visual_encoder.proj.out_features
        self.deaf, self.without = deaf, without
        self.audio_encoder = audio_encoder
        self.audio_head = audio_head
        self.visual_encoder = visual_encoder
        self.consistency = consistency
        self.representation = representation
        leave_out(self, "representation")
        self.consistency_head = head(EVIDENCE, _HIDDEN, 1)
        self.picture_head = head(width, width, 1)
        left_out = () if without is None else (BRANCHES.index(without),)
        self.fusion = (
            ConfidenceFusion(EVIDENCE, hidden=_HIDDEN, branches=len(BRANCHES), supervised=supervised, left_out=left_out)
            if fusion == "learned"
            else FixedFusion(_FIXED[fusion], left_out=left_out)
        )
        self.audio_trained = audio_trained
        self.consistency_trained = consistency_trained
        self.audio_encoder.requires_grad_(audio_trained)
        self.audio_head.requires_grad_(audio_trained)
        self.consistency.requires_grad_(consistency_trained)

    def load_audio(self, stage1: AudioNet) -> None:
        """Copies encoder and head from stage 1."""
        copy_encoder(stage1.encoder, self.audio_encoder)
        self.audio_head.load_state_dict(stage1.head.state_dict())

    def train(self, mode: bool = True) -> "Detector":
        """As nn.Module.train, but frozen parts stay in eval mode, without dropout."""
        super().train(mode)
        keep_frozen_in_eval(self.audio_encoder, self.audio_head, dropout=self.audio_trained)
        return self

    def forward(
        self, clips: Tensor | Encoded, video: Tensor | None = None, shape: Tensor | None = None
    ) -> DetectorOutput:
        """Audio as `AudioEncoder` takes it, and of the same span video (B, 3, 16, H, W), as `VisualBranch.normalise`
        takes it, and what the representation takes of the mouth; or the encoders' outputs."""
        if isinstance(clips, Encoded):
            return self.compare_and_fuse(clips)
        assert video is not None, "audio comes with its video"
        assert shape is not None, "video comes with the shape of the mouth"
        return self.compare_and_fuse(self.encode(clips, video, shape))

    def encode(self, audio: Tensor, video: Tensor, shape: Tensor) -> Encoded:
        """Runs the encoders on audio as `AudioEncoder` takes it, video and the mouth, as in `forward`."""
        with nullcontext() if self.audio_trained else torch.no_grad():
            feature, _ = self.audio_encoder(audio)
            logit_audio = self.audio_head(feature).squeeze(-1)
        mel = audio if audio.ndim == 3 else zscore(log_mel(audio))
        assert self.representation is not None, "set the representation first"
        mouth = self.representation.features(shape)
        said, shown = self.consistency.tokens(torch.zeros_like(mel) if self.deaf else mel, mouth)
        _, pooled = self.visual_encoder.backbone(self.visual_encoder.normalise(video))
        return Encoded(pooled, logit_audio, said, shown)

    def compare_and_fuse(self, encoded: Encoded) -> DetectorOutput:
        """Compares audio and mouth, scores the branches and fuses them."""
        compared = self.consistency.compare(encoded.said, encoded.shown)
        evidence = summarised(compared)
        appearance = self.visual_encoder.proj(encoded.pooled)
        logits = torch.stack(
            [
                encoded.logit_audio,
                self.consistency_head(evidence).squeeze(-1),
                self.picture_head(appearance).squeeze(-1),
            ],
            dim=-1,
        )
        # Features of audio and appearance would let the weights learn the training clips by heart.
        # The evidence belongs to the consistency branch: without that, it may not decide on the weights of the others.
        known = torch.zeros_like(evidence) if self.without == "consistency" else evidence
        logit_final, log_weights = self.fusion(known, logits.detach())
        logit_audio, logit_consistency, logit_picture = logits.unbind(dim=-1)
        return DetectorOutput(
            logit_final=logit_final,
            logit_audio=logit_audio,
            logit_consistency=logit_consistency,
            logit_picture=logit_picture,
            log_weights=log_weights,
            frames=compared.frames,
            agreement=compared.agreement,
            logit_moved=self._moved(encoded) if self.training else None,
            said=None if self.training else encoded.said,
            shown=None if self.training else encoded.shown,
        )

    def _moved(self, encoded: Encoded) -> Tensor:
        """Scores parts of the clips with their own audio and with audio of other moments: (B, M)."""
        pairs = moved(encoded.said, encoded.shown)
        return torch.stack(
            [self.consistency_head(summarised(self.consistency.compare(*pair))).squeeze(-1) for pair in pairs], dim=1
        )
