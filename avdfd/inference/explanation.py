"""Explanations of scores: the contribution of each audio patch, the lag of the audio, and values of overlapping windows
at one moment.

N windows   A audio patches   K numbers of a patch   S steps in a window
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from avdfd.core.fields import map_tensors
from avdfd.features.patches import Patches
from avdfd.features.window import FPS, SAMPLE_RATE, WINDOW
from avdfd.models.audio_encoder import AudioEncoder
from avdfd.models.consistency import LAGS
from avdfd.models.speech_encoder import Hidden, SpeechEncoder

_SECONDS = WINDOW / SAMPLE_RATE
_PARTS = 12


def audio_effect(encoder: AudioEncoder | SpeechEncoder, head: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
    """Return (B, A) for the audio of B clips: the logit minus the logit with a patch replaced by the clip's mean patch.

    With a pretrained encoder, a patch is a twelfth of its tokens, and of the patches of the statistics beside them.

    References: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (occlusion).
    """
    front = encoder.front(audio)
    if isinstance(front, Hidden):
        parts = [head(encoder(_without(front, part))[0]) for part in range(_PARTS)]
        return head(encoder(front)[0]) - torch.cat(parts, dim=1)
    values = front.values
    covered = torch.eye(values.shape[1], dtype=torch.bool, device=values.device)[:, :, None]
    without = torch.where(covered, values.mean(dim=1, keepdim=True)[:, None], values[:, None])  # (B, A, A, K)
    every = torch.cat([values[:, None], without], dim=1)
    logits = head(encoder(Patches(every.flatten(0, 1)))[0]).view(every.shape[:2])
    return logits[:, :1] - logits[:, 1:]


def best_lag(agreement: np.ndarray) -> np.ndarray:
    """Return the lag (...) of the highest correlation (..., 31), in ms; above 0 if the audio is late."""
    return (agreement.argmax(axis=-1) - LAGS) * (1000 / FPS)


def _without(hidden: Hidden, part: int) -> Hidden:
    """Replace a part of the tokens, and of the patches of the statistics, by the mean over the clip."""

    def covered(values: Tensor) -> Tensor:
        inside = torch.arange(values.shape[1], device=values.device) * _PARTS // values.shape[1] == part
        return torch.where(inside.view(1, -1, *[1] * (values.ndim - 2)), values.mean(dim=1, keepdim=True), values)

    return map_tensors(hidden, covered)


def at(starts: Iterable[float], values: np.ndarray, time: float) -> np.ndarray | None:
    """Return the mean of values (N, S, ...), S even steps in each window, at a moment over the windows that contain it.

    None if no window does.
    """
    steps = values.shape[1]
    found = [
        window[min(int((time - start) / _SECONDS * steps), steps - 1)]
        for start, window in zip(starts, values, strict=True)
        if start <= time < start + _SECONDS
    ]
    return np.mean(found, axis=0) if found else None
