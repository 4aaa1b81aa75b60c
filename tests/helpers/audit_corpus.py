"""Small corpora with and without something planted, as elements and as files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avdfd.core.tiers import tier
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_audio, encode_frame
from avdfd.features.mel import FRAMES, SAMPLE_RATE, WINDOW

PEOPLE = 10


def pictures(rng: np.random.Generator) -> bytes:
    """77 frames of big random patches that fade from one picture to another."""
    one, other = (np.kron(rng.integers(0, 256, (7, 7, 3)), np.ones((32, 32, 1))) for _ in range(2))
    blends = [encode_frame((one * (1 - part) + other * part).astype(np.uint8), 80) for part in np.linspace(0, 1, 8)]
    return b"".join(blends[number * 8 // FRAMES] for number in range(FRAMES))


def speech(rng: np.random.Generator, lead: float = 0.0) -> np.ndarray:
    """Noise whose colour and loudness change ten times a second."""
    steps = np.repeat(rng.uniform(0.05, 0.5, WINDOW // 1600 + 1), 1600)[:WINDOW]
    colour = np.repeat(rng.uniform(-0.9, 0.9, WINDOW // 1600 + 1), 1600)[:WINDOW]
    sound = rng.standard_normal(WINDOW)
    sound[1:] += colour[1:] * sound[:-1]
    sound *= 0.2 * steps
    sound[: round(lead * SAMPLE_RATE)] = 0
    return np.clip(sound, -1, 1)


def write_store(root, clips) -> ElementStore:
    """`clips`: (identity, tier, clip name, waveforms, frames)."""
    with ElementWriter(root, {"made": "up"}) as writer:
        for identity, name, number, sounds, mjpeg in clips:
            source = f"{tier(name).folder}/Asian/men/{identity}/{number}.mp4"
            base = f"{tier('RVRA').folder}/Asian/men/{identity}/{number}.mp4"
            clip = {"tier": name, "identities": [identity], "source": source, "base": base, "method": ""}
            clip |= {"race": "Asian", "gender": "men", "sha256": source}
            windows = [
                {"start": 1.024 * place, "end": 1.024 * place + 3.072, "parts": {**encode_audio(sound), "mjpeg": mjpeg}}
                for place, sound in enumerate(sounds)
            ]
            writer.add(clip, windows)
    return ElementStore(root)


def corpus(root, lead=0.0, copy=False) -> ElementStore:
    """A real and a fake clip of everybody. `lead`: silence before the sound of the fakes; `copy`: the last person's
    real clip is one of the first one's, stored again."""
    rng = np.random.default_rng(0)
    clips, first = [], None
    for person in range(PEOPLE):
        for name in ("RVRA", "RVFA"):
            sounds = [speech(rng, lead if name == "RVFA" else 0.0) for _ in range(1 + person % 2)]
            content = sounds, pictures(rng)
            first = first or content
            if copy and person == PEOPLE - 1 and name == "RVRA":
                content = [sound * 0.7 for sound in first[0]], first[1]
            clips.append((f"id{person}", name, "00001", *content))
    return write_store(root, clips)


def write_clip(path: Path, sound: np.ndarray, bit_rate: int = 64_000, **tags: str) -> Path:
    """Sound (S,) at 16 kHz as AAC in MP4."""
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=bit_rate)
        frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
