"""AVFF's audio front end: a Kaldi filter bank, resampled to a fixed number of frames.

    S samples at 16 kHz   T frames of 10 ms   L frames of the encoder's input

References:
    Gong et al., "AST: Audio Spectrogram Transformer", Interspeech 2021.
    OpenAVFF, the public re-implementation.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.compliance import kaldi

SAMPLE_RATE = 16_000
MEL_BINS = 128
MEAN = -5.081
STD = 4.4849


def fbank(waveform: Tensor, *, length: int = 1024, mean: float = MEAN, std: float = STD) -> Tensor:
    """Normalised log filter bank (..., length, 128) of waveforms (S,) or (B, S) in [-1, 1] of 25 ms or more."""
    if waveform.ndim == 2:
        # torchaudio's Kaldi front end takes one recording at a time.
        return torch.stack([fbank(one, length=length, mean=mean, std=std) for one in waveform])
    features = kaldi.fbank(
        (waveform - waveform.mean())[None],
        sample_frequency=SAMPLE_RATE,
        num_mel_bins=MEL_BINS,
        frame_shift=10,
        window_type="hanning",
        htk_compat=True,
        use_energy=False,
        dither=0.0,
    )
    return (stretch(features, length) - mean) / std


def stretch(features: Tensor, length: int) -> Tensor:
    """Interpolate features (T, F) or (B, T, F) linearly in time to (..., length, F)."""
    batch = features if features.ndim == 3 else features[None]
    stretched = F.interpolate(batch.transpose(1, 2), size=length, mode="linear").transpose(1, 2)
    return stretched if features.ndim == 3 else stretched[0]
