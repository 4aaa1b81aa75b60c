"""Cues and fingerprints of the clips of a store, read from the elements; no source file is needed.

They come from the first window of a clip, and the silence at its end from the last one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from avdfd.datasets.hand_over import start
from avdfd.elements import Element, ElementMeta, coded
from avdfd.elements.protocol import Store
from avdfd.evaluation.audit.probes import Clip
from avdfd.features.acoustics import edge_silence, loudness, spectral_edge
from avdfd.features.window import FPS, FRAMES, SAMPLE_RATE, frames_of, samples_of
from avdfd.media.fingerprints import audio_hash, video_hash
from avdfd.media.video import ArrayFrame

_EVERY = 6  # frames: one per quarter of a second, as fingerprints use
_RINGS = 16
_LEVELS = 8

NEEDS = {"loudness": "waveforms", "edge_silence": "waveforms", "spectral_edge": "waveforms", "first_frame": "frames"}
"""Cue -> what the elements must have for it; all other cues come from the index of the store."""
FINGERPRINTS = {"fingerprint of the audio": "waveforms", "fingerprint of the video": "frames"}
"""The same for the fingerprints that near-duplicates are found by."""


class Look(NamedTuple):
    """The cues and fingerprints of a clip."""

    source: str
    clip: Clip
    sha256: str | None
    """Hash of the source file; None if it is not known."""
    picture_hash: bytes | None
    sound_hash: bytes | None


def look_at(
    store: Store,
    metas: Sequence[ElementMeta],
    workers: int,
    progress: Callable[[Iterable[Look]], Iterable[Look]] = iter,
) -> list[Look]:
    """Return the look at every clip, in the order of their first elements, read by loader processes.

    A look has what the store has: see `lacking`.
    """
    looks = _Looks(store, _ends(metas))
    return list(progress(start(DataLoader(looks, batch_size=None, num_workers=workers, collate_fn=_unchanged))))


def lacking(store: Store, needs: Mapping[str, str]) -> dict[str, str]:
    """Return those of `needs` that a store cannot give, each with the reason."""
    have = {"waveforms": store.has_waveforms, "frames": store.has_frames}
    return {name: f"needs {kind}; the elements have none" for name, kind in needs.items() if not have[kind]}


def frame_statistics(frame: np.ndarray) -> np.ndarray:
    """Return statistics of a frame (H, W, 3) uint8 that do not describe its content: (30,).

    Means and standard deviations of the colours, power in 16 rings of the spectrum from coarse to fine, and the
    fraction of pixels in each of 8 grey levels.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    window = np.outer(*(np.hanning(side) for side in grey.shape))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in grey.shape), indexing="ij"))
    ring = np.minimum((2 * radius * _RINGS).astype(int), _RINGS - 1)
    rings = np.log(np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()) + 1)
    levels = np.histogram(grey, _LEVELS, (0, 256))[0] / grey.size
    return np.concatenate([frame.mean(axis=(0, 1)), frame.std(axis=(0, 1)), rings, levels])


class _Looks(Dataset[Look]):
    """The looks at clips, given their first and last windows."""

    def __init__(self, store: Store, ends: Sequence[tuple[ElementMeta, ElementMeta]]) -> None:
        self.store, self.ends = store, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> Look:
        first, last = self.ends[number]
        waveform = self.store.has_waveforms
        wanted = range(0, min(FRAMES, frames_of(first.end - first.start)), _EVERY) if self.store.has_frames else None
        start = self._read(first, waveform=waveform, frames=wanted)
        cues: dict[str, Any] = {"covered": last.end - first.start}
        picture_hash = sound_hash = None
        if start.waveform is not None:
            end = start if last is first else self._read(last)
            cues |= {
                "loudness": loudness(start.waveform),
                "edge_silence": edge_silence(start.waveform, SAMPLE_RATE)[0]
                + edge_silence(end.waveform, SAMPLE_RATE)[1],
                "spectral_edge": spectral_edge(start.waveform, SAMPLE_RATE),
            }
            sound_hash = audio_hash(start.waveform)
        if start.frames is not None:
            cues["first_frame"] = frame_statistics(start.frames[0])
            frames = (ArrayFrame(frame, place * _EVERY / FPS, 0) for place, frame in enumerate(start.frames))
            picture_hash = video_hash(frames)
        return Look(
            first.source,
            Clip(first.tier, first.identities, first.base, cues),
            None if first.sha256.startswith("path:") else first.sha256,
            picture_hash,
            sound_hash,
        )

    def _read(self, meta: ElementMeta, *, waveform: bool = True, frames: Sequence[int] | None = None) -> Element:
        """Read an element; the audio of a clip shorter than a window is not repeated."""
        element = self.store.read(meta.key, waveform=waveform, mel=False, frames=frames)
        if not meta.short or element.waveform is None:
            return element
        return replace(element, waveform=element.waveform[: samples_of(meta.end - meta.start)])


def _ends(metas: Sequence[ElementMeta]) -> list[tuple[ElementMeta, ElementMeta]]:
    """Return the first and the last window of every clip."""
    found: dict[int, tuple[ElementMeta, ElementMeta]] = {}
    for code, meta in zip(coded(metas, "source").codes.tolist(), metas, strict=True):
        first, last = found.get(code, (meta, meta))
        found[code] = (min(first, meta, key=_start), max(last, meta, key=_start))
    return list(found.values())


def _start(meta: ElementMeta) -> float:
    return meta.start


def _unchanged(look: Any) -> Any:
    return look
