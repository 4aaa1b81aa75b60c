"""What moved a model: which sound raised the audio branch's logit, and what its windows say of one moment.

N windows   A audio patches   S steps in a window
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from avdfd.features import SAMPLE_RATE, WINDOW
from avdfd.models.audio_encoder import AudioEncoder

_SECONDS = WINDOW / SAMPLE_RATE


def audio_effect(encoder: AudioEncoder, head: Callable[[Tensor], Tensor], mel: Tensor) -> Tensor:
    """z-scored mel (B, 128, 768) -> (B, A): the logit minus what it is with the clip's mean in place of a patch.

    References: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014 (occlusion).
    """
    width = encoder.patch_frames
    patches = mel.shape[-1] // width
    patch = torch.arange(mel.shape[-1], device=mel.device) // width
    covered = patch == torch.arange(patches, device=mel.device)[:, None, None]
    without = torch.where(covered, 0, mel[:, None])  # (B, A, 128, 768): zero is the mean of a z-score
    every = torch.cat([mel[:, None], without], dim=1)
    logits = head(encoder(every.flatten(0, 1))[0]).view(len(mel), 1 + patches)
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
