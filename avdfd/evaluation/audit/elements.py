"""Cues and fingerprints of the clips of a store, read from the elements; no source file is needed.

They come from the first window of a clip, and the silence at its end from the last one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from avdfd.core.errors import UserError
from avdfd.elements import ElementMeta, ElementStore, coded
from avdfd.elements.protocol import Store
from avdfd.evaluation.audit.probes import Clip
from avdfd.features.acoustics import edge_silence, loudness, spectral_edge
from avdfd.features.mel import FPS, FRAMES, SAMPLE_RATE
from avdfd.media.decode import ArrayFrame
from avdfd.media.fingerprints import audio_hash, video_hash

_EVERY = 6  # frames: one per quarter of a second, as fingerprints use
_RINGS = 16
_LEVELS = 8


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

    Raises UserError for a store without audio or frames.
    """
    if not isinstance(store, ElementStore):
        raise UserError(f"{store.root}: --audit needs audio and video, which this store does not have")
    looks = _Looks(store, _ends(metas))
    return list(progress(DataLoader(looks, batch_size=None, num_workers=workers, collate_fn=_unchanged)))


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

    def __init__(self, store: ElementStore, ends: Sequence[tuple[ElementMeta, ElementMeta]]) -> None:
        self.store, self.ends = store, ends

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> Look:
        first, last = self.ends[number]
        start = self.store.read(first.key, waveform=True, mel=False, frames=range(0, FRAMES, _EVERY))
        end = start if last is first else self.store.read(last.key, waveform=True, mel=False)
        cues = {
            "covered": last.end - first.start,
            "loudness": loudness(start.waveform),
            "edge_silence": edge_silence(start.waveform, SAMPLE_RATE)[0] + edge_silence(end.waveform, SAMPLE_RATE)[1],
            "spectral_edge": spectral_edge(start.waveform, SAMPLE_RATE),
            "first_frame": frame_statistics(start.frames[0]),
        }
        frames = (ArrayFrame(frame, place * _EVERY / FPS, 0) for place, frame in enumerate(start.frames))
        return Look(
            first.source,
            Clip(first.tier, first.identities, first.base, cues),
            None if first.sha256.startswith("path:") else first.sha256,
            video_hash(frames),
            audio_hash(start.waveform),
        )


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
