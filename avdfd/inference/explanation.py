"""What moved a model: which sound raised the audio branch's logit, and what its windows say of one moment.

N windows   A audio patches   K numbers of a patch   S steps in a window
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from avdfd.features.mel import SAMPLE_RATE, WINDOW
from avdfd.features.patches import Patches
from avdfd.models.audio_encoder import AudioEncoder

_SECONDS = WINDOW / SAMPLE_RATE


def audio_effect(encoder: AudioEncoder, head: Callable[[Tensor], Tensor], sound: Tensor) -> Tensor:
    """What the encoder takes of B clips -> (B, A): the logit minus what it is with the clip's mean patch in place of a
    patch.

    References: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (occlusion).
    """
    values = encoder.front(sound).values
    covered = torch.eye(values.shape[1], dtype=torch.bool, device=values.device)[:, :, None]
    without = torch.where(covered, values.mean(dim=1, keepdim=True)[:, None], values[:, None])  # (B, A, A, K)
    every = torch.cat([values[:, None], without], dim=1)
    logits = head(encoder(Patches(every.flatten(0, 1)))[0]).view(every.shape[:2])
    return logits[:, :1] - logits[:, 1:]


def at(starts: Iterable[float], values: np.ndarray, time: float) -> np.ndarray | None:
    """What values (N, S, ...) of S even steps in each window say of a moment: the mean over the windows that show it.

    None where there is no window.
    """
    steps = values.shape[1]
    found = [
        window[min(int((time - start) / _SECONDS * steps), steps - 1)]
        for start, window in zip(starts, values, strict=True)
        if start <= time < start + _SECONDS
    ]
    return np.mean(found, axis=0) if found else None
