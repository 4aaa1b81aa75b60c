"""Small pretrained audio encoders of drawn weights, in files, and stage 1 on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from avdfd.config import AudioModelConfig, FrontConfig
from avdfd.core.files import sha256_of
from avdfd.models.speech_encoder import SpeechEncoder
from avdfd.training.build import build_audio_encoder, start_front
from avdfd.training.front_ends import build_front
from tests.helpers.runs import AUDIO

Values = dict[str, Any]

SIZES: Values = {"depth": 2, "dim": 16, "heads": 2, "mlp_dim": 16, "channels": 8}
WHISPER: Values = {"kind": "whisper", "arch": "tiny", "sizes": SIZES}
WAVLM: Values = {"kind": "ssl", "arch": "wavlm-base-plus", "sizes": SIZES}
XLS_R: Values = {"kind": "ssl", "arch": "xls-r-300m", "sizes": SIZES}


def encoder_files(folder: Path, fronts: Sequence[Values] = (WHISPER, WAVLM)) -> dict[str, Path]:
    """Write encoders into files; return these by architecture."""
    found = {}
    for front in fronts:
        torch.manual_seed(0)
        model = build_front(FrontConfig.model_validate({**front, "file": "x", "sha256": "0" * 64}))
        prefix = "encoder." if front["kind"] == "whisper" else ""
        state = {prefix + key.removeprefix("model."): value for key, value in model.state_dict().items()}
        found[front["arch"]] = folder / f"{front['arch']}.pt"
        torch.save(state, found[front["arch"]])
    return found


def audio_model(front: Values, files: dict[str, Path], of_model: Values | None = None, **more: Any) -> Any:
    """Return `model` of stage 1 on an encoder; `more` are keys of `model.front`."""
    path = files[front["arch"]]
    whole = {**front, "file": str(path), "sha256": sha256_of(path), **more}
    return {**AUDIO, "input": "waveform", "front": whole, **(of_model or {})}


def encoder_of(front: Values, files: dict[str, Path], of_model: Values | None = None, **more: Any) -> SpeechEncoder:
    """Return the encoder of `audio_model`, in eval mode."""
    cfg = AudioModelConfig.model_validate(audio_model(front, files, of_model, **more))
    torch.manual_seed(1)
    encoder = build_audio_encoder(cfg)
    start_front(encoder, cfg)
    assert isinstance(encoder, SpeechEncoder)
    return encoder.eval()
