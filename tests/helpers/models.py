"""Small models with random weights."""

from typing import Any

from avdfd.models.audio_encoder import AudioEncoder, AudioNet, audio_head
from avdfd.models.consistency import Consistency
from avdfd.models.detector import Detector
from avdfd.models.representations import MouthShape
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.models.visual_encoder import VisualBranch


def small_audio_encoder() -> AudioEncoder:
    return AudioEncoder(dim=32, depth=1, heads=2, mlp_dim=32)


def small_audio_net() -> AudioNet:
    return AudioNet(small_audio_encoder(), projection_dim=8)


def small_two_branch(*, visual_depth: int = 1, predictor_depth: int = 1, **options: Any) -> TwoBranchDetector:
    """Return a detector with two branches for mels and video of 32 pixels; `options` are its own."""
    audio = small_audio_encoder()
    visual = VisualBranch(audio.dim, image_size=32, dim=24, depth=visual_depth, heads=2)
    return TwoBranchDetector(
        audio, audio_head(audio), visual, predictor_depth=predictor_depth, predictor_heads=2, **options
    )


def small_detector(**options: Any) -> Detector:
    """Return a detector with three branches for mels, video of 32 pixels and mouth shapes; `options` are its own."""
    audio = small_audio_encoder()
    visual = VisualBranch(audio.dim, image_size=32, dim=24, depth=1, heads=2)
    consistency = Consistency(tokens=4)
    consistency.shape_basis.normal_()
    return Detector(audio, audio_head(audio), visual, consistency, MouthShape(), **options)
