"""Frozen visual representations as a config describes them, with the weights of their files."""

from collections.abc import Collection, Iterable
from pathlib import Path

from avdfd.config import AvHubertConfig, RepresentationConfig, VisualModelConfig
from avdfd.features.mouth_shape import SHAPE
from avdfd.models.avhubert import AVHubert, from_fairseq
from avdfd.models.avhubert_features import FrozenAVHubert, Stream
from avdfd.models.representations import FaceTokens, MouthShape, Representation
from avdfd.training.front_ends import find_file
from avdfd.training.state_dicts import fill, read_weights, unwrap
from avdfd.training.visual_weights import load_visual_encoder
from OpenAVFF.visual_encoder import VisualEncoder

_KEY = "model.representation"


def build_avhubert(cfg: AvHubertConfig, streams: Collection[Stream]) -> FrozenAVHubert:
    """Return AV-HuBERT with random weights."""
    sizes = cfg.model_dump(include={"encoder_layers", "dim", "heads", "ffn_dim", "width"})
    return FrozenAVHubert(AVHubert(**sizes), streams, layer=cfg.layer)


def load_avhubert(encoder: FrozenAVHubert, cfg: AvHubertConfig) -> None:
    """Load the published weights that a config names. Raises UserError if they are missing or do not fit."""
    content = unwrap(read_weights(cfg.file, sha256=cfg.sha256), cfg.file)
    fill(encoder.avhubert, from_fairseq(content), source=cfg.file)


def width_of(cfg: RepresentationConfig) -> int:
    """Return the number of features per frame."""
    return SHAPE if cfg.encoder is None else cfg.encoder.dim


def load_representation(cfg: RepresentationConfig, folders: Iterable[Path] = ()) -> Representation:
    """Return a representation with the weights of its file, if it has one.

    The file is looked for where the config says, then by its name in the folders. Raises UserError if it is not found,
    has another sha256, is damaged, or holds another model.
    """
    if isinstance(cfg.encoder, AvHubertConfig):
        file = _found(cfg.encoder.file, cfg.encoder.sha256, folders, of="AV-HuBERT", key=f"{_KEY}.avhubert.file")
        lips = build_avhubert(cfg.encoder, ())
        load_avhubert(lips, cfg.encoder.model_copy(update={"file": file}))
        return lips
    if isinstance(cfg.encoder, VisualModelConfig):
        vit = cfg.encoder
        assert vit.weights is not None, "the config checks it"
        file = _found(vit.weights, vit.sha256, folders, of="the ViT", key=f"{_KEY}.vit.weights")
        sizes = vit.model_dump(include={"image_size", "dim", "depth", "heads"})
        backbone = VisualEncoder(**sizes, qkv_bias=vit.init != "openavff")
        load_visual_encoder(backbone, vit.model_copy(update={"weights": file}))
        return FaceTokens(backbone, normalisation=vit.normalisation)
    return MouthShape()


def _found(file: str, sha256: str | None, folders: Iterable[Path], *, of: str, key: str) -> str:
    assert sha256 is not None, "the config checks it"
    return str(find_file(file, sha256, folders, of=of, key=key))
