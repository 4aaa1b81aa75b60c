"""Checkpoints published by the authors of a system, loaded into this repository's modules.

`load(system, state_dict, **sizes)` takes the released keys and returns a module in eval mode that computes what
was released.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from avdfd.checkpoint import read_state_dict
from avdfd.config import AudioModelConfig, PredictorConfig, VisualModelConfig
from avdfd.errors import UserError
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.detector import Detector, DetectorOutput

# Released prefix -> ours. Keys below a prefix are the same in both.
_AUDIO = {"audio_enc.": "encoder.", "proj.": "projection.", "aux_head.": "head.", "proto_real": "prototype"}
_DETECTOR = {
    "audio_enc.": "audio_encoder.",
    "vis_enc.backbone.encoder.": "visual_encoder.backbone.",
    "vis_enc.proj.": "visual_encoder.proj.",
    "predictor.encoder.": "predictor.encoder.",
    "predictor.to_frame_feat.": "predictor.head.",
    "audio_head.": "audio_head.",
    "a2v_head.": "a2v_head.",
    "conf_net.": "fusion.confidence.",
}
# Both hold the visual encoder of OpenAVFF/visual_encoder.py under one prefix.
_VISUAL = {"marlin": {"encoder.": ""}, "openavff": {"visual_encoder.": ""}}


class ReleasedDetector(nn.Module):
    """The detector with the released call: frames before colours."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, mel: Tensor, clip: Tensor) -> DetectorOutput:
        """mel (B, 128, 768), clip (B, 16, 3, 224, 224)."""
        return self.detector(mel, clip.transpose(1, 2))


def load(system: str, state_dict: Mapping[str, Tensor] | str | Path, **sizes: int) -> nn.Module:
    """The released `system` with the given weights (or file of weights), in eval mode.

    avdfd-pretrain: `module(mel)` -> feat, z, logit, tokens.
    avdfd-detector: `module(mel, clip)` -> logit_audio, logit_final, logit_a2v, mismatch_mse, w_audio;
        `visual_depth` is the number of backbone blocks (default 12).

    Raises UserError for an unknown system, unknown sizes, and missing, unexpected or misshapen keys.
    """
    if isinstance(state_dict, str | Path):
        state_dict = read_state_dict(state_dict)
    if system == "avdfd-pretrain":
        _no_more_sizes(system, sizes)
        audio = AudioNet(AudioModelConfig())
        fill(audio, rename(state_dict, _AUDIO), source=system)
        return audio.eval()
    if system == "avdfd-detector":
        visual = VisualModelConfig(init="random", depth=sizes.pop("visual_depth", 12))
        _no_more_sizes(system, sizes)
        layers = [k for k in state_dict if k.startswith("predictor.encoder.layers.") and k.endswith("norm1.weight")]
        detector = Detector(AudioModelConfig(), visual, PredictorConfig(depth=max(1, len(layers))), faithful=True)
        renamed = rename(state_dict, _DETECTOR)
        kept = {k: v for k, v in renamed.items() if _block(k) < visual.depth}
        fill(detector, kept, source=system)
        return ReleasedDetector(detector).eval()
    raise UserError(f"unknown released system '{system}': use avdfd-pretrain or avdfd-detector")


def load_visual_encoder(module: nn.Module, config: VisualModelConfig) -> None:
    """Fills a visual encoder from the file that the config names (MARLIN's or OpenAVFF's keys)."""
    assert config.weights is not None, "the config asks for no weights"
    weights = read_state_dict(config.weights, sha256=config.sha256)
    prefixes = _VISUAL[config.init]
    ours = {k: v for k, v in weights.items() if k.startswith(tuple(prefixes))}
    if not ours:
        raise UserError(f"{config.weights}: no '{next(iter(prefixes))}*' keys; these are not {config.init} weights")
    fill(module, rename(ours, prefixes), source=str(config.weights))


def rename(state_dict: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Replaces the first prefix that fits each key; keys that none fits stay, to be reported as unexpected."""
    renamed = {}
    for key, value in state_dict.items():
        old = next((p for p in prefixes if key.startswith(p)), None)
        renamed[key if old is None else prefixes[old] + key.removeprefix(old)] = value
    return renamed


def fill(module: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """load_state_dict(strict) whose failure names the source and the keys. Raises UserError."""
    own = module.state_dict()
    missing = sorted(own.keys() - state_dict.keys())
    unexpected = sorted(state_dict.keys() - own.keys())
    misshapen = [k for k in own.keys() & state_dict.keys() if own[k].shape != state_dict[k].shape]
    for what, keys in (("lacks", missing), ("has unexpected", unexpected), ("has other shapes for", misshapen)):
        if keys:
            raise UserError(
                f"{source}: not a checkpoint of this model: {what} {len(keys)} of {len(own)} keys, e.g. '{keys[0]}'; "
                "check the file and the sizes in the config"
            )
    module.load_state_dict(dict(state_dict))


def _block(key: str) -> int:
    """Number of the backbone block that a key belongs to, -1 for all other keys."""
    _, found, rest = key.partition("visual_encoder.backbone.blocks.")
    return int(rest.split(".")[0]) if found else -1


def _no_more_sizes(system: str, sizes: dict[str, Any]) -> None:
    if set(sizes) - {"visual_depth"}:
        raise UserError(f"{system}: unknown sizes {', '.join(sizes)}")
