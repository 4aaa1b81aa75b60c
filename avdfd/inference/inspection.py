"""Run a model over one media file: its windows and the scores and evidence of each."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avdfd.baselines.open_store import takes_whole_clips
from avdfd.elements import Element
from avdfd.features.window import FPS
from avdfd.inference.columns import DISTANCE, POOLED, WEIGHT
from avdfd.inference.runs import Run
from avdfd.inference.scoring import score_windows
from avdfd.inference.spool import Spooled, read

_BATCH = 8  # windows in memory at once
_STRIP = 24  # least number of windows, of a long video, that give frames for the film strip


@dataclass(frozen=True)
class FaceScore:
    """Score of one face of a file, and where it is in the first of its windows: a box in pixels at a time."""

    number: int
    score: float
    windows: int
    speaks: int
    """Windows in which its mouth moves with the audio."""
    time: float
    left: int
    top: int
    width: int
    height: int


class Inspection(NamedTuple):
    """Scores and explanations of the N windows of a file."""

    windows: list[Spooled]
    branches: tuple[str, ...]
    """Names of the scores, the main branch last."""
    columns: dict[str, np.ndarray]
    """(N,) for each branch and, with the prefix `WEIGHT`, its weight, with `DISTANCE`, its distance from the training
    data; of a consistency branch `frames` (N, 77) and
    `agreement` (N, 31). With explanations also `audio_effect` (N, A), `discrepancy` (N, 8, R, C) and `mel` (N, 128, 96)
    in columns of 32 ms."""
    strip: list[tuple[float, np.ndarray]]
    """Time and pixels of some frames."""

    @property
    def starts(self) -> np.ndarray:
        return np.array([window.start for window in self.windows])

    def judged(self) -> "Inspection":
        """Return the windows that are judged by default: of several faces in one, that which speaks or is largest."""
        return self._of([window.face is None or window.face.judged for window in self.windows])

    def faces(self) -> list[FaceScore]:
        """Return the scores of the faces, in the order of their numbers."""
        found = []
        for number in sorted({window.face.number for window in self.windows if window.face}):
            one = self._of([window.face is not None and window.face.number == number for window in self.windows])
            faces = [window.face for window in one.windows if window.face]
            left, top, width, height = faces[0].box
            found.append(
                FaceScore(
                    number=number,
                    score=float(one.columns[self.branches[-1]].mean()),
                    windows=len(faces),
                    speaks=sum(face.speaks for face in faces),
                    time=faces[0].time,
                    left=left,
                    top=top,
                    width=width,
                    height=height,
                )
            )
        return found

    def _of(self, chosen: list[bool]) -> "Inspection":
        windows = [window for window, taken in zip(self.windows, chosen, strict=True) if taken]
        columns = {name: values[np.array(chosen)] for name, values in self.columns.items()}
        return self._replace(windows=windows, columns=columns)


def inspect(run: Run, windows: list[Spooled], *, explain: bool) -> Inspection:
    """Score the windows of a file, a few at a time, and delete them from disk."""
    parts: list[dict[str, np.ndarray]] = []
    strip: list[tuple[float, np.ndarray]] = []
    every = max(1, len(windows) // _STRIP)
    for first in range(0, len(windows), _BATCH):
        chosen = windows[first : first + _BATCH]
        elements = [read(window, whole=takes_whole_clips(run.config)) for window in chosen]
        scores = score_windows(run, elements, explain=explain)
        part: dict[str, np.ndarray | None] = {**scores.branch}
        part |= {f"{WEIGHT}{branch}": values for branch, values in scores.weights.items()}
        part |= {f"{DISTANCE}{branch}": values for branch, values in scores.distances.items()}
        part |= {"frames": scores.frames, "agreement": scores.agreement}
        if explain:
            mel = np.stack([element.mel for element in elements])
            part |= {"discrepancy": scores.discrepancy, "audio_effect": scores.audio_effect}
            part["mel"] = mel.reshape(len(mel), len(mel[0]), -1, POOLED).mean(axis=3)
            for number, (window, element) in enumerate(zip(chosen, elements, strict=True), first):
                strip += thumbnails(window, element) if number % every == 0 and element.frames is not None else []
        parts.append({name: values for name, values in part.items() if values is not None})
    shutil.rmtree(windows[0].path.parent)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Inspection(windows, run.branches, columns, strip)


def thumbnails(window: Spooled, element: Element) -> Iterator[tuple[float, np.ndarray]]:
    """Yield a few frames of a window with their times."""
    for k in range(4, len(element.frames), 10):
        yield window.start + k / FPS, element.frames[k].copy()
