"""The method's models as a config describes them, with random or stage-1 weights."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from avdfd.config import AudioModelConfig, ConsistencyModelConfig, TrainConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.datasets.loaders import Inputs
from avdfd.features.patches import Front
from avdfd.features.window import MEL_FRAMES
from avdfd.models.audio_encoder import AudioEncoder, AudioNet, audio_head
from avdfd.models.consistency import Consistency
from avdfd.models.detector import Detector
from avdfd.models.representations import MouthShape
from avdfd.models.speech_encoder import SpeechEncoder
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.models.visual_encoder import VisualBranch
from avdfd.training import weights
from avdfd.training.front_ends import build_front, fill_front, load_front, sizes_of
from avdfd.training.representations import load_representation, width_of
from avdfd.training.state_dicts import fill, filled, read_weights, unwrap

AnyDetector = Detector | TwoBranchDetector
"""Model of stage 2, by `TrainConfig.consistency`."""


def build_audio_encoder(cfg: AudioModelConfig) -> AudioEncoder | SpeechEncoder:
    """Return the audio encoder of both stages with random weights.

    A pretrained encoder that its weights refer to is not built: see `attach_front`.
    """
    if cfg.front is None:
        return AudioEncoder(**cfg.model_dump(exclude={"input", "projection_dim", "front"}))
    front, sizes = cfg.front, sizes_of(cfg.front)
    layers = front.layers if isinstance(front.layers, list) else [*range(sizes.depth + 1)]
    if layers[-1] > sizes.depth:
        raise UserError(
            f"model.front.layers {front.layers}: {front.arch} has {sizes.depth} layers, and so hidden states 0 to "
            f"{sizes.depth}"
        )
    if (front.train_from or 0) > layers[-1]:
        raise UserError(f"model.front: train_from {front.train_from} is above the last of layers {front.layers}")
    return SpeechEncoder(
        layers=layers,
        width=sizes.dim,
        front_end=build_front(front) if front.carried else None,
        carried=front.carried,
        train_from=front.train_from,
        weights=front.layers == "learned",
        pool=front.head,
        rate=front.rate,
        weighting=front.weighting,
        statistics=Front(MEL_FRAMES // cfg.patch_frames, True, tuple(cfg.spectra)) if cfg.spectra else None,
        origin=front.model_dump(exclude={"file", "lr_scale", "cache", "embed"}),
        **cfg.model_dump(include={"dim", "depth", "heads", "mlp_dim", "dropout", "score"}),
    )


def attach_front(encoder: AudioEncoder | SpeechEncoder, cfg: AudioModelConfig, folders: Iterable[Path] = ()) -> None:
    """Load the pretrained encoder that the weights of a run refer to from its own file, also in one of the folders.

    Does nothing for an encoder without one, or whose weights carry it. Raises UserError as `fill_front` does.
    """
    if isinstance(encoder, SpeechEncoder) and cfg.front is not None and not cfg.front.carried:
        encoder.attach(load_front(cfg.front, folders))


def start_front(encoder: AudioEncoder | SpeechEncoder, cfg: AudioModelConfig) -> None:
    """Give a new model the weights of its pretrained encoder's file, if any. Raises UserError as `fill_front` does."""
    attach_front(encoder, cfg)
    if isinstance(encoder, SpeechEncoder) and cfg.front is not None and cfg.front.carried:
        assert encoder.front_end is not None, "one that is carried is built"
        fill_front(encoder.front_end, cfg.front)


def attach_representation(
    detector: AnyDetector, cfg: ConsistencyModelConfig | None, folders: Iterable[Path] = ()
) -> None:
    """Load the visual representation that the weights of a run refer to from its own file, also in one of the folders.

    Does nothing for the mouth shape. Raises UserError as `load_representation` does.
    """
    if isinstance(detector, Detector) and cfg is not None and cfg.representation.encoder is not None:
        detector.representation = load_representation(cfg.representation, folders)


def detector_inputs(
    cfg: TrainConfig, audio: AudioModelConfig, consistency: ConsistencyModelConfig | None = None
) -> Inputs:
    """Return the form of stage 2's inputs, without augmentation."""
    inputs = Inputs(cfg.visual.image_size, audio=audio.input, shape=cfg.consistency is not None)
    return inputs if consistency is None else inputs._replace(representation=consistency.representation)


def build_audio_net(cfg: AudioModelConfig) -> AudioNet:
    """Return stage 1's model with random weights."""
    return AudioNet(build_audio_encoder(cfg), projection_dim=cfg.projection_dim)


def build_detector(
    cfg: TrainConfig, audio: AudioModelConfig, consistency: ConsistencyModelConfig | None = None
) -> AnyDetector:
    """Return stage 2's model with random weights, its audio branch with the sizes of stage 1.

    Raises UserError if these do not fit the predictor, or if the consistency branch would have no mel.
    """
    audio_encoder = build_audio_encoder(audio)
    visual = cfg.visual.model_dump(exclude={"init", "weights", "sha256"})
    # OpenAVFF's encoder has no such biases.
    visual_encoder = VisualBranch(audio.dim, **visual, qkv_bias=cfg.visual.init != "openavff", keep=cfg.keep_tokens)
    common: dict[str, Any] = {
        "fusion": cfg.fusion,
        "supervised": cfg.loss.confidence > 0,
        "audio_trained": cfg.audio_lr_scale > 0,
    }
    if cfg.consistency is None:
        return _two_branches(cfg, audio_encoder, visual_encoder, **common)
    if audio.input == "mel_err":
        raise UserError(f"{cfg.audio} takes mel_err, and the consistency branch needs the audio: use another stage 1")
    consistency = consistency or ConsistencyModelConfig()
    return Detector(
        audio_encoder,
        audio_head(audio_encoder),
        visual_encoder,
        build_consistency(consistency),
        MouthShape() if consistency.representation.kind == "mouth-shape" else None,
        without=cfg.without,
        deaf=cfg.consistency.zeros,
        consistency_trained=cfg.consistency.lr_scale > 0,
        **common,
    )


def _two_branches(
    cfg: TrainConfig, audio_encoder: AudioEncoder | SpeechEncoder, visual_encoder: VisualBranch, **common: Any
) -> TwoBranchDetector:
    if audio_encoder.dim % cfg.predictor.heads:
        raise UserError(
            f"predictor.heads {cfg.predictor.heads} must divide the width of stage 1, {audio_encoder.dim}; change it"
        )
    return TwoBranchDetector(
        audio_encoder,
        audio_head(audio_encoder),
        visual_encoder,
        predictor_depth=cfg.predictor.depth,
        predictor_heads=cfg.predictor.heads,
        predictor_dropout=cfg.predictor.dropout,
        predictor_zeros=cfg.predictor.zeros,
        direction=cfg.direction,
        anchors=cfg.anchors,
        discrepancy=cfg.discrepancy,
        synchrony=cfg.synchrony is not None,
        faithful=cfg.faithful,
        **common,
    )


def is_released(path: Path) -> bool:
    """Return True for a file of the authors' stage 1: a torch file, where runs of this repository have safetensors."""
    return path.suffix in (".pt", ".pth")


def load_audio_net(
    path: str | Path, *, headless: bool = False, folders: Iterable[Path] = ()
) -> tuple[AudioNet, AudioModelConfig]:
    """Return the stage-1 model of a run folder (its best epoch) or of a file of weights, and its config.

    A pretrained encoder that it refers to is also looked for in the folders.

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
    model = filled(partial(build_audio_net, facts.audio_model), state, str(path))
    attach_front(model.encoder, facts.audio_model, folders)
    return model, facts.audio_model


def build_consistency(cfg: ConsistencyModelConfig) -> Consistency:
    """Return stage 2a's model with random weights."""
    return Consistency(features=width_of(cfg.representation), **cfg.model_dump(exclude={"representation"}))


def load_consistency(path: str | Path) -> tuple[Consistency, ConsistencyModelConfig]:
    """Return the model of a run folder of stage 2a (its best epoch) or of a file of weights, and its config.

    Raises UserError if there is none.
    """
    path = Path(path)
    path = path / BEST if path.is_dir() else path
    facts, state = weights.load(path, "consistency")
    model = facts.consistency_model
    assert model is not None, "weights of stage 2a have a model"
    found = filled(partial(build_consistency, model), state, str(path))
    check_components(found, str(path))
    return found, model


def check_components(model: Consistency, source: str) -> None:
    """Raise UserError if what a file has as principal components are none: they are orthonormal."""
    basis = model.reduction
    if basis is not None and not torch.allclose(basis.T @ basis, torch.eye(basis.shape[1]).to(basis), atol=1e-3):
        raise UserError(
            f"{source}: its 'reduction' does not hold principal components, which are orthonormal; run stage 2a again"
        )
