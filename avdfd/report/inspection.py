"""Drawings of the inspection of one media file: a figure over time, and the content of an overlay."""

import numpy as np
from matplotlib.figure import Figure

from avdfd.features.mel import HOP
from avdfd.features.window import MEL_FRAMES, SAMPLE_RATE
from avdfd.inference.explanation import at
from avdfd.inference.inspection import POOLED, Inspection
from avdfd.report import timeline
from avdfd.report.overlay import Story


def figure_over_time(title: str, seen: Inspection, threshold: float) -> Figure:
    """Draw film strip, audio, scores and evidence over time."""
    starts, columns = seen.starts, seen.columns
    ends = np.array([window.end for window in seen.windows])
    middles, grid = (starts + ends) / 2, columns.get("discrepancy")
    evidence = timeline.Seen(
        strip=[(time, frame, None if grid is None else at(starts, grid, time)) for time, frame in seen.strip],
        scores={branch: timeline.Track(middles, columns[branch]) for branch in seen.branches},
        w_audio=timeline.Track(middles, columns["w_audio"]) if "w_audio" in columns else None,
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
        w_audio=seen.columns.get("w_audio"),
        discrepancy=seen.columns.get("discrepancy"),
        faces=[window.face for window in seen.windows],
        end=seen.windows[-1].end,
    )


def _spectrogram(starts: np.ndarray, mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join mels of windows (N, 128, 96) to one (128, T) with its T + 1 time edges; NaN outside all windows."""
    length = HOP / SAMPLE_RATE * POOLED
    firsts = np.round((starts - starts.min()) / length).astype(int)
    whole = np.full((mel.shape[1], firsts.max() + MEL_FRAMES // POOLED), np.nan, np.float32)
    for first, window in zip(firsts, mel, strict=True):
        whole[:, first : first + window.shape[1]] = window
    return whole, starts.min() + np.arange(whole.shape[1] + 1) * length
