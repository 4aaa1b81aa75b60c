"""The method's models as a config describes them, with random or stage-1 weights."""

from functools import partial
from pathlib import Path

from avdfd.config import AudioModelConfig, TrainConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.models.audio_encoder import AudioEncoder, AudioNet, audio_head
from avdfd.models.detector import Detector
from avdfd.models.visual_encoder import VisualBranch
from avdfd.training import weights
from avdfd.training.state_dicts import fill, filled, read_weights, unwrap


def build_audio_encoder(cfg: AudioModelConfig) -> AudioEncoder:
    """Return the audio encoder of both stages with random weights."""
    return AudioEncoder(**cfg.model_dump(exclude={"input", "projection_dim"}))


def build_audio_net(cfg: AudioModelConfig) -> AudioNet:
    """Return stage 1's model with random weights."""
    return AudioNet(build_audio_encoder(cfg), projection_dim=cfg.projection_dim)


def build_detector(cfg: TrainConfig, audio: AudioModelConfig) -> Detector:
    """Return stage 2's model with random weights, its audio branch with the sizes of stage 1.

    Raises UserError if these do not fit the predictor.
    """
    if audio.dim % cfg.predictor.heads:
        raise UserError(
            f"predictor.heads {cfg.predictor.heads} must divide the width of stage 1, {audio.dim}; change it"
        )
    audio_encoder = build_audio_encoder(audio)
    visual = cfg.visual.model_dump(exclude={"init", "weights", "sha256"})
    return Detector(
        audio_encoder,
        audio_head(audio_encoder),
        # OpenAVFF's encoder has no such biases.
        VisualBranch(audio.dim, **visual, qkv_bias=cfg.visual.init != "openavff"),
        predictor_depth=cfg.predictor.depth,
        predictor_heads=cfg.predictor.heads,
        predictor_dropout=cfg.predictor.dropout,
        predictor_zeros=cfg.predictor.zeros,
        direction=cfg.direction,
        anchors=cfg.anchors,
        discrepancy=cfg.discrepancy,
        fusion=cfg.fusion,
        supervised=cfg.loss.confidence > 0,
        synchrony=cfg.synchrony is not None,
        audio_trained=cfg.audio_lr_scale > 0,
        faithful=cfg.faithful,
    )


def is_released(path: Path) -> bool:
    """Return True for a file of the authors' stage 1: a torch file, where runs of this repository have safetensors."""
    return path.suffix in (".pt", ".pth")


def load_audio_net(path: str | Path, *, headless: bool = False) -> tuple[AudioNet, AudioModelConfig]:
    """Return the stage-1 model of a run folder (its best epoch) or of a file of weights, and its config.

    The authors' file holds the encoder alone. It is refused unless `headless`; the rest of the model is then random.
    Raises UserError if there is none.
    """
    path = Path(path)
    path = path / BEST if path.is_dir() else path
    if is_released(path):
        if not headless:
            raise UserError(
                f"{path}: the released encoder has no head, and a frozen one would stay random: set audio_lr_scale to "
                "train it, or faithful to true, as released"
            )
        audio_model = AudioModelConfig()
        model = build_audio_net(audio_model)
        fill(model.encoder, unwrap(read_weights(path), str(path)), source=str(path))
        return model, audio_model
    facts, state = weights.load(path, "pretrain")
    assert facts.audio_model is not None, "weights of stage 1 have an audio model"
    return filled(partial(build_audio_net, facts.audio_model), state, str(path)), facts.audio_model
