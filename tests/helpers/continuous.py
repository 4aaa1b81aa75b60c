"""Stores whose windows are cut from continuous clips, as those of data/preprocess.py are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import decode_wav, encode_audio, encode_frame, encode_wav
from avdfd.features.window import FACE_SIZE, FRAMES, SAMPLE_RATE, WINDOW


def continuous_store(
    root: Path, starts: Sequence[float], identities: Sequence[str] = ("id1",), tiers: Sequence[str] = ("RVRA",)
) -> tuple[np.ndarray, ElementStore]:
    """Return the audio of the first clip and a store: a clip per tier and identity, with windows at these starts.

    Frame k of a window has the grey level 2 k.
    """
    rng = np.random.default_rng(0)
    mjpeg = b"".join(encode_frame(np.full((FACE_SIZE, FACE_SIZE, 3), 2 * k, np.uint8), 95) for k in range(FRAMES))
    clips: list[np.ndarray] = []
    with ElementWriter(root / "elements", {"made": "up"}) as writer:
        for tier in tiers:
            for identity in identities:
                samples = rng.uniform(-0.5, 0.5, round(max(starts) * SAMPLE_RATE) + WINDOW).astype(np.float32)
                clips.append(decode_wav(encode_wav(samples, SAMPLE_RATE)))
                source = f"{tier}/{identity}.mp4"
                clip: dict[str, Any] = {"tier": tier, "identities": [identity], "source": source, "base": source}
                clip |= {"method": "", "race": "", "gender": "men", "sha256": source}
                windows = []
                for start in starts:
                    first = round(start * SAMPLE_RATE)
                    parts = {**encode_audio(clips[-1][first : first + WINDOW]), "mjpeg": mjpeg}
                    windows.append({"start": start, "end": start + WINDOW / SAMPLE_RATE, "parts": parts})
                writer.add(clip, windows)
    return clips[0], ElementStore(root / "elements")
