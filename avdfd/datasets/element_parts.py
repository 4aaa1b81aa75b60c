"""Parts of an element as tensors: audio as it is stored, and labels."""

import numpy as np
import torch
from torch import Tensor

from avdfd.core.tiers import AUDIO_CLASS
from avdfd.datasets.jpegs import Encoded
from avdfd.elements import Element, ElementMeta
from avdfd.elements.form import Jpegs


def mel_or_pcm_of(element: Element) -> Tensor:
    """Return the log mel of an element (128, 768), or its waveform (49152,) as int16 if it was read without a mel."""
    return pcm_of(element) if element.mel is None else torch.from_numpy(element.mel)


def pcm_of(element: Element) -> Tensor:
    """Return the waveform of an element (49152,) as int16, the type in which it is stored."""
    return torch.from_numpy((element.waveform * 32_768).astype(np.int16))


def frames_of(element: Element) -> Tensor | Encoded:
    """Return the frames of an element (n, 224, 224, 3) uint8, or its JPEGs if it was read with these."""
    if isinstance(element.frames, Jpegs):
        return Encoded(*map(torch.from_numpy, element.frames))
    return torch.from_numpy(element.frames)


def label_of(element: Element) -> Tensor:
    """Return the label of an element's window as a float: 1 = fake, NaN if unknown.

    A window of a partially fake clip is real if it contains none of the fake periods.
    """
    return torch.tensor(float(element.meta.window.label) if element.meta else torch.nan)


def audio_class_of(meta: ElementMeta) -> int:
    """Return the class of a window's audio as in `Batch`: that of its tier, but 0 if this window's audio is real."""
    of_tier = AUDIO_CLASS.get(meta.tier, -1)
    return of_tier if meta.window.audio else min(of_tier, 0)
