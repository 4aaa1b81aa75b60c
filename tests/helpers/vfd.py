"""Small folders and lists in the formats of VFD 2022 and 2023: random faces, mels and voices."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from avdfd.elements.form import encode_wav
from avdfd.features.window import SAMPLE_RATE

SMALL = {
    "model": {"image_size": 64, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16, "width": 0.0625},
    "match": {"lr": 1e-5, "epochs": 2, "batch_size": 4, "optimizer": "sgd"},
    "finetune": {"lr": 1e-3, "epochs": 2, "batch_size": 2, "schedule": "cosine"},
}
"""Sections of the config of a small VFD."""


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


def make_list(root: Path, labels: Mapping[str, int], seconds: float = 4.0) -> Path:
    """Write images below face/ with these labels, their WAV files below voice/, and the list of them."""
    rng = np.random.default_rng(2)
    lines = []
    for name, label in labels.items():
        image, voice = root / "face" / f"{name}.jpg", root / "voice" / f"{name}.wav"
        for path in (image, voice):
            path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), rng.integers(0, 256, (64, 64, 3), np.uint8))
        voice.write_bytes(encode_wav(rng.uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)), SAMPLE_RATE))
        lines.append(f"{image} {label}\n")
    path = root / "frames.txt"
    path.write_text("".join(lines))
    return path
