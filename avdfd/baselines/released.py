"""Checkpoints published by the authors of a system, loaded into this repository's modules.

`load(system, state_dict, **sizes)` takes a state dict with the released keys and returns a module in eval mode that
computes what the released code does.

    python -m avdfd.released convert IN OUT.safetensors --system openavff-finetune
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import safetensors.torch
from torch import Tensor, nn

from avdfd.core.errors import UserError
from avdfd.core.files import ensure_writable, write_atomic, write_sha256
from avdfd.models.audio_encoder import AudioEncoder, AudioNet, audio_head
from avdfd.models.avhubert import AVHubert, from_fairseq
from avdfd.models.mrdf import Mrdf, from_released
from avdfd.models.two_branch import TwoBranchDetector, TwoBranchOutput
from avdfd.models.vfd2022 import face_network, voice_network
from avdfd.models.vfd2023 import PatchTransformer
from avdfd.models.visual_encoder import VisualBranch
from avdfd.training.state_dicts import Weights, below, fill, read_weights, rename, shallower, unwrap
from avdfd.training.visual_weights import VISUAL
from OpenAVFF.finetuning import VideoCAVMAEFT
from OpenAVFF.pretraining import VideoCAVMAE
from OpenAVFF.visual_encoder import VisualEncoder

# Released prefix -> ours. Keys below a prefix are the same.
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


class ReleasedDetector(nn.Module):
    """The detector with the released call, in which frames come before colours."""

    def __init__(self, detector: TwoBranchDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, mel: Tensor, clip: Tensor) -> TwoBranchOutput:
        """mel (B, 128, 768), clip (B, 16, 3, 224, 224)."""
        return self.detector(mel, clip.transpose(1, 2))


def load(system: str, state_dict: Mapping[str, Any] | str | Path, **sizes: int) -> nn.Module:
    """Return the released `system` with the given weights (or file of weights), in eval mode.

    openavff-pretrain: `module(audio, video, mask_indices=[...])` -> total_loss, nce_loss, c_acc, rec_loss_a,
        rec_loss_v, audio_recon, video_recon; sizes encoder_depth (12), decoder_depth (4).
    openavff-finetune: `module(audio, video)` -> logits, column 0 = fake; size encoder_depth (12).
    avdfd-audio-encoder: `module(mel)` -> feature, tokens.
    avdfd-pretrain: `module(mel)` -> feat, z, logit, tokens.
    avdfd-detector: `module(mel, clip)` -> logit_audio, logit_final, logit_a2v, mismatch_mse, w_audio;
        size visual_depth (12).
    marlin: `module(video)` -> tokens, mean token; size visual_depth (12).
    mrdf-ce, mrdf-margin: `module(video, audio, padding_mask)` -> m_logits, v_cross, a_cross, v, a.
    avhubert: `module(video, audio, padding_mask)` -> features, from grey frames; sizes encoder_layers (12), dim (768),
        heads (12), ffn_dim (3072), width (64).
    vfd2022-face, vfd2022-voice, vfd2023-face, vfd2023-voice: `module(x)` -> embedding; size layers (12), 2023.

    A smaller depth leaves out the deeper blocks of the checkpoint. Wrappers are removed: `module.` prefixes,
    `state_dict` of Lightning, `model` of fairseq, `face_model_state_dict` and `voice_model_state_dict`.
    Raises UserError for an unknown system, unknown sizes, and keys that are missing, unexpected or of another shape.
    """
    if system not in SYSTEMS:
        raise UserError(f"unknown released system '{system}': use {', '.join(SYSTEMS)}")
    build, keys, known = SYSTEMS[system]
    unknown = sizes.keys() - known.keys()
    if unknown:
        raise UserError(f"{system}: unknown sizes {', '.join(sorted(unknown))}; it has {', '.join(known) or 'none'}")
    source = system
    if isinstance(state_dict, str | Path):
        source = f"{state_dict} as {system}"
        state_dict = read_weights(state_dict)
    weights = unwrap(state_dict, source, branch=system.rpartition("-")[2])
    for size in sizes.keys() & _BLOCKS.keys():
        weights = shallower(weights, _BLOCKS[size], sizes[size])
    module = build(weights, **{**known, **sizes})
    fill(module, keys(weights), source=source)
    return (ReleasedDetector(module) if isinstance(module, TwoBranchDetector) else module).eval()


def _detector(weights: Weights, *, visual_depth: int) -> TwoBranchDetector:
    layers = [k for k in weights if k.startswith("predictor.encoder.layers.") and k.endswith("norm1.weight")]
    audio, visual = AudioEncoder(), VisualBranch(depth=visual_depth)
    return TwoBranchDetector(audio, audio_head(audio), visual, predictor_depth=max(1, len(layers)), faithful=True)


class _Released(NamedTuple):
    """Recipe for a released system's module."""

    build: Callable[..., nn.Module]
    """(weights, **sizes) -> module with random weights."""
    keys: Callable[[Weights], Weights] = dict
    """Released state dict -> state dict of the module."""
    sizes: Mapping[str, int] = MappingProxyType({})
    """Released sizes."""


_FACE, _VOICE = (3, 224, 224), (1, 128, 256)
SYSTEMS = {
    "openavff-pretrain": _Released(
        lambda _, **sizes: VideoCAVMAE(faithful=True, **sizes), sizes={"encoder_depth": 12, "decoder_depth": 4}
    ),
    "openavff-finetune": _Released(
        lambda _, **sizes: VideoCAVMAEFT(faithful=True, **sizes), sizes={"encoder_depth": 12}
    ),
    "avdfd-audio-encoder": _Released(lambda _: AudioEncoder()),
    "avdfd-pretrain": _Released(lambda _: AudioNet(AudioEncoder()), partial(rename, prefixes=_AUDIO)),
    "avdfd-detector": _Released(_detector, partial(rename, prefixes=_DETECTOR), {"visual_depth": 12}),
    "marlin": _Released(
        lambda _, visual_depth: VisualEncoder(depth=visual_depth, qkv_bias=True),
        partial(below, prefixes=VISUAL["marlin"], source="marlin"),
        {"visual_depth": 12},
    ),
    "mrdf-ce": _Released(lambda _: Mrdf(variant="ce", encoder_layers=0, faithful=True), from_released),
    "mrdf-margin": _Released(lambda _: Mrdf(variant="margin", encoder_layers=0, faithful=True), from_released),
    "avhubert": _Released(
        lambda _, **sizes: AVHubert(**sizes),
        from_fairseq,
        {"encoder_layers": 12, "dim": 768, "heads": 12, "ffn_dim": 3072, "width": 64},
    ),
    "vfd2022-face": _Released(lambda _: face_network(faithful=True)),
    "vfd2022-voice": _Released(lambda _: voice_network(faithful=True)),
    "vfd2023-face": _Released(lambda _, layers: PatchTransformer(_FACE, layers=layers), sizes={"layers": 12}),
    "vfd2023-voice": _Released(lambda _, layers: PatchTransformer(_VOICE, layers=layers), sizes={"layers": 12}),
}
# Size -> pattern of the released keys before the number of the block.
_BLOCKS = {
    "encoder_depth": r"(audio_encoder\.transformer|visual_encoder\.blocks)",
    "decoder_depth": r"(audio|visual)_decoder\.blocks",
    "visual_depth": r"(vis_enc\.backbone\.)?encoder\.blocks",
    "encoder_layers": r"encoder\.layers",
    "layers": r"transformer\.resblocks",
}


def convert(source: Path, target: Path, system: str, **sizes: int) -> str:
    """Write a published checkpoint with its own keys as safetensors, with its sha256 beside it; return the sha256.

    Raises UserError if `load` does, if the target is no `.safetensors`, or if it cannot be written.
    """
    if target.suffix != ".safetensors":
        raise UserError(f"{target}: the target must be a safetensors file; name it OUT.safetensors")
    content = read_weights(source)
    load(system, content, **sizes)
    weights = unwrap(content, str(source), branch=system.rpartition("-")[2])
    ensure_writable(target.parent)
    # Released files have tensors under two names, which safetensors does not support.
    own = {key: value.detach().clone().contiguous() for key, value in weights.items()}
    data = safetensors.torch.save(own, metadata={"system": system})
    write_atomic(target, data)
    return write_sha256(target, data)
