"""Explanation of the score of the audio branch: the contribution of each audio patch.

A audio patches   K numbers of a patch
"""

from collections.abc import Callable

import torch
from torch import Tensor

from avdfd.core.fields import map_tensors
from avdfd.features.patches import Patches
from avdfd.models.audio_encoder import AudioEncoder
from avdfd.models.speech_encoder import Hidden, SpeechEncoder

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


def _without(hidden: Hidden, part: int) -> Hidden:
    """Replace a part of the tokens, and of the patches of the statistics, by the mean over the clip. Weights stay."""

    def covered(values: Tensor) -> Tensor:
        inside = torch.arange(values.shape[1], device=values.device) * _PARTS // values.shape[1] == part
        return torch.where(inside.view(1, -1, *[1] * (values.ndim - 2)), values.mean(dim=1, keepdim=True), values)

    return map_tensors(hidden, covered)._replace(weights=hidden.weights)
