"""Small elements of random audio and frames, and stores of them."""

import tarfile
from pathlib import Path

import cv2
import numpy as np

from avdfd.elements import ElementWriter
from avdfd.elements.form import LANDMARKS, encode_audio, encode_frame, encode_landmarks
from avdfd.features.window import FRAMES, WINDOW

JOURNAL = "journal-000.jsonl"
SETTINGS = {"media.hop": 1.0, "media.decoder": "pyav"}


def waveform(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, WINDOW).astype(np.float32)


def frames(seed: int) -> np.ndarray:
    """Return smooth random frames (77, 224, 224, 3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 200, (FRAMES, 4, 4, 3)).astype(np.uint8)
    return np.stack([cv2.resize(frame, (224, 224), interpolation=cv2.INTER_LINEAR) for frame in small])


def window(start: float, seed: int) -> dict:
    audio = encode_audio(waveform(seed))
    mjpeg = b"".join(encode_frame(frame, 90) for frame in frames(seed))
    return {"start": start, "end": start + 3.072, "parts": {**audio, "mjpeg": mjpeg}}


def clip(source: str, tier: str = "RVRA") -> dict:
    return {
        "tier": tier, "identities": ["id1"], "source": source, "base": source, "method": "real", "race": "Asian",
        "gender": "men", "sha256": "0" * 64,
    }  # fmt: skip


WINDOWS = {seed: window(float(seed % 3), seed) for seed in range(4)}


def fill(root: Path, sources: list[str], per_clip: int = 2, shard_clips: int = 3) -> None:
    with ElementWriter(root, SETTINGS, shard_clips) as writer:
        for source in sources:
            writer.add(clip(source), [WINDOWS[seed] for seed in range(per_clip)])


def members(root: Path) -> list[str]:
    names = []
    for shard in sorted(root.glob("shard-*.tar")):
        with tarfile.open(shard) as archive:
            names += archive.getnames()
    return names


def whole_clip(steps: int, seed: int) -> dict:
    """Return an element that is a whole clip of this many frames."""
    audio = encode_audio(waveform(seed).repeat(4)[: 640 * steps], mel=False)
    mjpeg = b"".join(encode_frame(frame, 90) for frame in np.resize(frames(seed), (steps, 224, 224, 3)))
    return {"start": 0.04, "end": 0.04 + steps / 25, "parts": {**audio, "mjpeg": mjpeg}}


def tracks(seed: int, steps: int = FRAMES) -> np.ndarray:
    """Return landmarks (steps, 71, 3), some of them beside the crop."""
    return np.random.default_rng(seed).uniform(-40, 260, (steps, 71, 3)).astype(np.float32)


def with_landmarks(element: dict, seed: int) -> dict:
    steps = round(25 * (element["end"] - element["start"]))
    return {**element, "parts": {**element["parts"], LANDMARKS: encode_landmarks(tracks(seed, steps))}}
