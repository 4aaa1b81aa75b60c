"""Drawings of the inspection of one media file: a figure over time, and the content of an overlay."""

from typing import TYPE_CHECKING

import numpy as np

from avdfd.features.mel import HOP
from avdfd.features.window import MEL_FRAMES, SAMPLE_RATE, SECONDS
from avdfd.inference.columns import POOLED, WEIGHT, at
from avdfd.inference.inspection import Inspection
from avdfd.report import timeline
from avdfd.report.overlay import Story

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROUNDING = 2e-3  # seconds


def figure_over_time(title: str, seen: Inspection, threshold: float) -> "Figure":
    """Draw film strip, audio, scores and evidence over time."""
    starts, columns = seen.starts, seen.columns
    ends = np.array([window.end for window in seen.windows])
    middles, grid = (starts + ends) / 2, columns.get("discrepancy")
    evidence = timeline.Seen(
        strip=[(time, frame, None if grid is None else at(starts, grid, time)) for time, frame in seen.strip],
        scores={branch: timeline.Track(middles, columns[branch]) for branch in seen.branches},
        weights={branch: timeline.Track(middles, values) for branch, values in _weights(seen).items()},
        consistency=timeline.over_time(starts, columns["frames"]) if "frames" in columns else None,
        agreement=_agreement(starts, columns["agreement"]) if "agreement" in columns else None,
        discrepancy=None if grid is None else timeline.over_time(starts, grid.mean(axis=(2, 3))),
        audio=_spectrogram(starts, columns["mel"]),
        audio_effect=timeline.over_time(starts, columns["audio_effect"]) if "audio_effect" in columns else None,
    )
    span = (float(starts.min()), float(ends.max()))
    return timeline.timeline(title, evidence, span=span, threshold=threshold)


def story(title: str, seen: Inspection, threshold: float) -> Story:
    """Return what an overlay shows of a file."""
    return Story(
        title=title,
        starts=[window.start for window in seen.windows],
        scores={branch: seen.columns[branch] for branch in seen.branches},
        threshold=threshold,
        weights=_weights(seen),
        discrepancy=seen.columns.get("discrepancy"),
        consistency=seen.columns.get("frames"),
        agreement=seen.columns.get("agreement"),
        faces=[window.face for window in seen.windows],
        end=seen.windows[-1].end,
    )


def _weights(seen: Inspection) -> dict[str, np.ndarray]:
    """Return the weights (N,) of the branches; empty without fusion."""
    names = {branch: f"{WEIGHT}{branch}" for branch in seen.branches}
    return {branch: seen.columns[name] for branch, name in names.items() if name in seen.columns}


def _agreement(starts: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the correlations (N, 31) of windows, which may overlap, over time.

    Returns (31, T), NaN outside all windows, between the T + 1 times in s at which a window starts or ends.
    """
    ends = starts + SECONDS
    edges = np.unique(np.concatenate([starts, ends]).round(3))
    inside = (starts[:, None] < edges[1:] - _ROUNDING) & (edges[:-1] + _ROUNDING < ends[:, None])
    count = inside.sum(axis=0)
    return np.where(count, (values.T @ inside) / np.maximum(count, 1), np.nan), edges


def _spectrogram(starts: np.ndarray, mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join mels of windows (N, 128, 96) to one (128, T) with its T + 1 time edges; NaN outside all windows."""
    length = HOP / SAMPLE_RATE * POOLED
    firsts = np.round((starts - starts.min()) / length).astype(int)
    whole = np.full((mel.shape[1], firsts.max() + MEL_FRAMES // POOLED), np.nan, np.float32)
    for first, window in zip(firsts, mel, strict=True):
        whole[:, first : first + window.shape[1]] = window
    return whole, starts.min() + np.arange(whole.shape[1] + 1) * length
