"""Small folders in the format of VFD 2022: random faces and mels."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np


def add_clip(root: Path, face: str, voice: str, rng: np.random.Generator) -> None:
    """Write an image of 64x64 noise and a dB mel."""
    for path in (root / face, root / voice):
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / face), rng.integers(0, 256, (64, 64, 3), np.uint8))
    mel = -80 * rng.random((512, 301), dtype=np.float32)
    np.save(root / voice, mel - mel.max())


def make_voxceleb(root: Path, identities: Iterable[str], clips: int = 2) -> Path:
    """Write real clips of these identities in the layout of VoxCeleb2."""
    rng = np.random.default_rng(0)
    for identity in identities:
        for number in range(clips):
            add_clip(root, f"face/{identity}/video/{number:05d}.jpg", f"voice/{identity}_video_{number:05d}.npy", rng)
    return root


def make_dfdc(root: Path, real: Iterable[str], fake: Iterable[str]) -> Path:
    """Write real and fake clips of these names in the layout of DFDC."""
    rng = np.random.default_rng(1)
    for folder, names in (("real", real), ("fake", fake)):
        for name in names:
            add_clip(root, f"{folder}/{name}.jpg", f"audio_feat/{name}.npy", rng)
    return root
