"""Sizes of a small AVFF, and random clips for it."""

import torch

SIZES = {"frames": 8, "image_size": 32, "audio_length": 256, "dim": 24, "encoder_depth": 1, "heads": 2}
DECODER = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}


def clips(batch, seed=0):
    """Return audio (B, 256, 128) and video (B, 3, 8, 32, 32)."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 256, 128, generator=rng), torch.randn(batch, 3, 8, 32, 32, generator=rng)
