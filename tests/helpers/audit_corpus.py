"""Small corpora with and without planted shortcuts and leaks, as elements and as files."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avdfd.core.tiers import tier
from avdfd.elements import ElementStore, ElementWriter
from avdfd.elements.form import encode_audio, encode_frame
from avdfd.features.window import FRAMES, SAMPLE_RATE, WINDOW

IDENTITIES = 10
LISTS = {"train": range(6), "validation": (6, 7), "test": (8, 9)}


def fading_frames(rng: np.random.Generator) -> bytes:
    """Return 77 frames (JPEG) of large random patches that fade from one image to another."""
    one, other = (np.kron(rng.integers(0, 256, (7, 7, 3)), np.ones((32, 32, 1))) for _ in range(2))
    blends = [encode_frame((one * (1 - part) + other * part).astype(np.uint8), 80) for part in np.linspace(0, 1, 8)]
    return b"".join(blends[number * 8 // FRAMES] for number in range(FRAMES))


def speech(rng: np.random.Generator, lead: float = 0.0) -> np.ndarray:
    """Return noise whose spectrum and loudness change ten times a second, after `lead` seconds of silence."""
    steps = np.repeat(rng.uniform(0.05, 0.5, WINDOW // 1600 + 1), 1600)[:WINDOW]
    colour = np.repeat(rng.uniform(-0.9, 0.9, WINDOW // 1600 + 1), 1600)[:WINDOW]
    audio = rng.standard_normal(WINDOW)
    audio[1:] += colour[1:] * audio[:-1]
    audio *= 0.2 * steps
    audio[: round(lead * SAMPLE_RATE)] = 0
    return np.clip(audio, -1, 1)


KEEP = ("wav", "mel.npy", "mjpeg")


def write_store(root, clips, keep=KEEP) -> ElementStore:
    """Write elements of `clips`: (identity, tier, clip name, waveforms, frames); of their arrays those of `keep`."""
    with ElementWriter(root, {"made": "up"}) as writer:
        for identity, name, number, waveforms, mjpeg in clips:
            source = f"{tier(name).folder}/Asian/men/{identity}/{number}.mp4"
            base = f"{tier('RVRA').folder}/Asian/men/{identity}/{number}.mp4"
            clip = {"tier": name, "identities": [identity], "source": source, "base": base, "method": ""}
            clip |= {"race": "Asian", "gender": "men", "sha256": source}
            windows = []
            for place, audio in enumerate(waveforms):
                parts = {**encode_audio(audio), "mjpeg": mjpeg}
                parts = {name: data for name, data in parts.items() if name in keep}
                windows.append({"start": 1.024 * place, "end": 1.024 * place + 3.072, "parts": parts})
            writer.add(clip, windows)
    return ElementStore(root)


def corpus(root, lead=0.0, copy=False, keep=KEEP) -> ElementStore:
    """Write a real and a fake clip of each identity.

    `lead` is the silence at the start of fake audio. With `copy`, the real clip of the last identity is a
    near-duplicate of that of the first.
    """
    rng = np.random.default_rng(0)
    clips, first = [], None
    for place in range(IDENTITIES):
        for name in ("RVRA", "RVFA"):
            waveforms = [speech(rng, lead if name == "RVFA" else 0.0) for _ in range(1 + place % 2)]
            content = waveforms, fading_frames(rng)
            first = first or content
            if copy and place == IDENTITIES - 1 and name == "RVRA":
                content = [audio * 0.7 for audio in first[0]], first[1]
            clips.append((f"id{place}", name, "00001", *content))
    return write_store(root, clips, keep)


def write_clip(path: Path, audio: np.ndarray, bit_rate: int = 64_000, **tags: str) -> Path:
    """Write audio (S,) at 16 kHz as AAC in MP4."""
    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", bit_rate=bit_rate)
        frame = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_lists(root: Path, lists: Mapping[str, Iterable[int]]) -> Path:
    """Write split lists of identities, by number, beside the elements in `root`."""
    (root / "splits").mkdir()
    for split, numbers in lists.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(f"id{number}" for number in numbers))
    return root


def write_files(root: Path, elements: Path, *, longer: float = 0.0, bit_rate: int = 64_000) -> Path:
    """Write the source files of a store. `longer` and `bit_rate` apply to the fakes."""
    rng = np.random.default_rng(1)
    for source in sorted({meta.source for meta in ElementStore(elements).metas}):
        fake = "FakeAudio" in source
        samples = rng.uniform(0.02, 0.06) * rng.standard_normal(round((1 + fake * longer) * SAMPLE_RATE))
        (root / source).parent.mkdir(parents=True)
        write_clip(root / source, samples, bit_rate if fake else 64_000)
    return root
