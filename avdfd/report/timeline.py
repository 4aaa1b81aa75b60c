"""Figure of one media file over time: frames, audio, scores and the evidence for them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avdfd.features.window import FPS, SAMPLE_RATE, WINDOW
from avdfd.inference.columns import best_lag
from avdfd.models.consistency import LAGS
from avdfd.report.plots import MUTED, STYLE, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRIP = 10  # frames in a film strip
_FEW = 40  # with more windows, markers would overlap


class Track(NamedTuple):
    """A quantity over time."""

    times: np.ndarray
    """(T,) seconds."""
    values: np.ndarray
    """(T,)"""


class Seen(NamedTuple):
    """The inspection of one file on one time axis; parts that are not available are None or empty."""

    strip: Sequence[tuple[float, np.ndarray, np.ndarray | None]]
    """Some moments: time in s, frame (H, W, 3) uint8 and its discrepancy (R, C)."""
    scores: Mapping[str, Track]
    """P(fake) of each branch at the centres of its windows, the main branch last."""
    weights: Mapping[str, Track] = {}
    """Weight of each branch in the fused score, at the centres of windows."""
    consistency: Track | None = None
    """Log-ratio of audio and mouth belonging together, at every frame."""
    agreement: tuple[np.ndarray, np.ndarray] | None = None
    """Correlation of predicted and actual movement of the mouth (31, T) at lags from -15 to 15 frames, and T + 1 time
    edges in s."""
    discrepancy: Track | None = None
    audio: tuple[np.ndarray, np.ndarray] | None = None
    """Spectrogram (bins, T) with its T + 1 time edges in s."""
    audio_effect: Track | None = None
    """Contribution of each moment of audio to the logit of the audio branch."""


def timeline(title: str, seen: Seen, *, span: tuple[float, float], threshold: float) -> "Figure":
    """Draw a file over the time `span` in seconds: frames with the discrepancy on the face, audio, scores, evidence."""
    frame = 8.7 / _STRIP  # inches, so that square frames stay square
    panels: list[tuple[float, Callable[[Axes], None]]] = []
    if seen.strip:
        panels.append((frame, lambda axes: _film_strip(axes, seen.strip, span, heat=False)))
        if seen.strip[0][2] is not None:
            panels.append((frame, lambda axes: _film_strip(axes, seen.strip, span, heat=True)))
    if seen.consistency is not None:
        named = partial(_filled, name="consistency\n(log-ratio)", branch="consistency")
        panels.append((1.2, partial(named, track=seen.consistency)))
    if seen.agreement is not None:
        panels.append((1.2, partial(_lags, agreement=seen.agreement)))
    if seen.discrepancy is not None:
        panels.append(
            (1.1, partial(_filled, track=seen.discrepancy, name="audio-visual\ndiscrepancy", branch="visual"))
        )
    if seen.audio is not None:
        panels.append((1.1, partial(_spectrogram, spectrogram=seen.audio)))
    if seen.audio_effect is not None:
        panels.append((0.8, partial(_filled, track=seen.audio_effect, name="audio part\nof the logit", branch="audio")))
    panels.append((2.1, partial(_score_lines, scores=seen.scores, threshold=threshold)))
    if seen.weights:
        panels.append((0.8, partial(_weight_lines, weights=seen.weights)))
    heights = [height for height, _ in panels]
    figure, rows = figure_of(11, sum(heights) + 1.2, rows=len(heights), sharex=True, height_ratios=heights)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", parse_math=False)
    for axes, (_, draw) in zip(rows, panels, strict=True):
        draw(axes)
    rows[-1].set(xlim=span, xlabel="time (s)")
    return figure


def over_time(starts: np.ndarray, values: np.ndarray) -> Track:
    """Average values (N, S) of S even steps in N windows, which may overlap, along time."""
    length = WINDOW / SAMPLE_RATE / values.shape[1]
    steps = np.arange(values.shape[1])
    times = (starts[:, None] + (steps + 0.5) * length).ravel()
    # The steps of a window are consecutive, whatever its start is, so that each meets one step of every other window.
    _, step = np.unique((np.rint(starts / length)[:, None] + steps).ravel(), return_inverse=True)
    count = np.bincount(step)
    return Track(np.bincount(step, times) / count, np.bincount(step, values.ravel()) / count)


def _film_strip(
    axes: "Axes",
    strip: Sequence[tuple[float, np.ndarray, np.ndarray | None]],
    span: tuple[float, float],
    *,
    heat: bool,
) -> None:
    """Draw frames side by side, each nearest to the centre of the time it covers; in grey under the `heat`."""
    edges = np.linspace(*span, _STRIP + 1)
    times = np.array([time for time, *_ in strip])
    maps = np.array([grid for *_, grid in strip]) if heat else np.zeros(1)
    low, high = np.quantile(maps, [0.5, 1])
    for left, right in itertools.pairwise(edges):
        _, frame, grid = strip[int(np.abs(times - (left + right) / 2).argmin())]
        place: dict[str, Any] = {"extent": (left, right, 0, 1), "aspect": "auto"}
        if heat and grid is not None:
            axes.imshow(frame.mean(axis=2), cmap="gray", interpolation="antialiased", **place)
            axes.imshow(grid, cmap="inferno", vmin=low, vmax=high, alpha=0.6, interpolation="bicubic", **place)
        else:
            axes.imshow(frame, interpolation="antialiased", **place)
        axes.axvline(right, color="white", linewidth=2)
    axes.set_ylim(0, 1)
    axes.axis("off")


def _filled(axes: "Axes", track: Track, name: str, branch: str) -> None:
    """Draw a quantity as a filled curve around 0."""
    color = STYLE[branch][0]
    axes.fill_between(*track, color=color, alpha=0.2, linewidth=0)
    axes.plot(*track, color=color, linewidth=1.4)
    low, high = float(min(0, track.values.min())), float(max(track.values.max(), 1e-6))
    axes.set(ylim=(1.15 * low, 1.15 * high))
    axes.set_ylabel(name, fontsize=9)


def _spectrogram(axes: "Axes", spectrogram: tuple[np.ndarray, np.ndarray]) -> None:
    values, edges = spectrogram
    axes.pcolormesh(edges, np.arange(len(values) + 1), values, cmap="magma", rasterized=True)
    axes.set(yticks=[])
    axes.set_ylabel("mel", fontsize=9)
    axes.grid(False)


def _lags(axes: "Axes", agreement: tuple[np.ndarray, np.ndarray]) -> None:
    """Draw the correlation at every lag over time, and the lag at which it is highest."""
    values, edges = agreement
    step = 1000 / FPS
    lags = np.linspace(-LAGS - 0.5, LAGS + 0.5, len(values) + 1) * step
    most = float(np.nanmax(np.abs(values)))
    axes.pcolormesh(edges, lags, values, cmap="RdBu_r", vmin=-most, vmax=most, rasterized=True)
    there = np.flatnonzero(~np.isnan(values[0]))
    best = best_lag(values[:, there].T)
    axes.hlines(best, edges[there], edges[there + 1], color="#1a1a1a", linewidth=1.6)
    axes.axhline(0, color=MUTED, linewidth=1, linestyle=":")
    axes.set(ylim=(lags[0], lags[-1]), yticks=[-400, 0, 400])
    axes.set_ylabel("audio late\nby (ms)", fontsize=9)
    axes.grid(False)


def _weight_lines(axes: "Axes", weights: Mapping[str, Track]) -> None:
    """Draw the weights of three branches; of two, the weight of the first, as the other one has the rest."""
    shown = weights if len(weights) > 2 else dict(itertools.islice(weights.items(), 1))
    for name, track in shown.items():
        marker = "o" if len(track.times) <= _FEW else ""
        color, dashes = STYLE[name] if len(shown) > 1 else (STYLE[name][0], "-")
        axes.plot(*track, color=color, linestyle=dashes, linewidth=1.4, marker=marker, markersize=3)
    axes.axhline(1 / len(weights), color=MUTED, linewidth=1, linestyle=":")
    axes.set(ylim=(-0.05, 1.05))
    axes.set_ylabel("weights" if len(shown) > 1 else f"weight of\n{next(iter(shown))}", fontsize=9)


def _score_lines(axes: "Axes", scores: Mapping[str, Track], threshold: float) -> None:
    axes.axhspan(threshold, 1.03, color="#b00020", alpha=0.06, linewidth=0)
    axes.axhline(threshold, color="#b00020", linewidth=1, linestyle=":")
    main, (times, values) = list(scores.items())[-1]
    few = len(times) <= _FEW
    for name, track in reversed(list(scores.items())):
        color, dashes = STYLE[name]
        style: dict[str, Any] = {"color": color, "linestyle": dashes, "linewidth": 1.8 if few else 1.2}
        axes.plot(*track, marker="o" if few else "", markersize=4, label=name, zorder=3 if name == main else 2, **style)
    if few:
        # Pale bars show the length of the windows of the main branch.
        half = WINDOW / SAMPLE_RATE / 2
        axes.hlines(values, times - half, times + half, color=STYLE[main][0], linewidth=6, alpha=0.12)
    axes.set(ylim=(-0.03, 1.03), ylabel="P(fake)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
