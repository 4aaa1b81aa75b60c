"""The figures of the report, detect.py and search.py, with matplotlib's object interface (no global state or display).

The report's figures are narrow, so that their letters stay readable on a phone.
"""

import io
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avdfd.features import SAMPLE_RATE, WINDOW

# Colour and dashes of every branch and tier. The palette is that of Okabe and Ito, which colour-blind readers can tell
# apart; dashes do it in black and white.
STYLE: dict[str, tuple[str, Any]] = {
    "fused": ("#1a1a1a", "-"),
    "visual": ("#d55e00", "--"),
    "audio": ("#0072b2", "-."),
    "RVRA": ("#009e73", "-"),
    "RVFA": ("#0072b2", "-"),
    "FVRA": ("#d55e00", "--"),
    "FVFA": ("#1a1a1a", "-."),
    "RVFA-VC": ("#cc79a7", ":"),
    "RVFA-SVC": ("#8c6d00", (0, (5, 1))),
    "FAKE": ("#777777", (0, (1, 1))),
}
# Other systems, in their order.
_OTHERS: list[tuple[str, Any]] = [
    ("#cc79a7", ":"),
    ("#009e73", (0, (5, 1))),
    ("#8c6d00", (0, (1, 1))),
    ("#777777", "--"),
]
SUFFIXES = (".png", ".svg", ".pdf")
"""Files that `encode` can fill."""
_STRIP = 10  # frames in a film strip
_FEW = 40  # windows that can be told apart in a plot
_GRID = "#dddddd"
_MUTED = "#555555"


_Steps = Sequence[tuple[float, Sequence[float] | None]]


class Track(NamedTuple):
    """A quantity over time."""

    times: np.ndarray
    """(T,) seconds."""
    values: np.ndarray
    """(T,)"""


def svg(figure: Figure) -> str:
    """A figure as SVG text, the same for the same figure: letters as outlines, no date, no random ids."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "avdfd"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def encode(figure: Figure, suffix: str) -> bytes:
    """A figure as the bytes of a file with one of SUFFIXES."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.removeprefix("."), dpi=150)
    return buffer.getvalue()


def roc_curves(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """One ROC curve per branch, other system or tier from its `fpr`, `tpr` and `auc`."""
    figure, (axes,) = _figure(4.2, 4.2)
    axes.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=1, linestyle=":")
    styles = looks(curves)
    for name, curve in curves.items():
        color, dashes = styles[name]
        label = f"{name}  {curve['auc']:.3f}"
        axes.plot(curve["fpr"], curve["tpr"], color=color, linestyle=dashes, linewidth=1.8, label=label)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="reals called fake", ylabel="fakes called fake")
    axes.legend(title="AUC", loc="lower right", frameon=False, fontsize=9, title_fontsize=9)
    return figure


def distributions(counts: Mapping[str, Sequence[float]], threshold: float = 0.5) -> Figure:
    """Clips of each tier in even bins of P(fake), one tier above the other, each scaled to its own highest bar."""
    figure, rows = _figure(4.2, 0.72 * len(counts) + 0.7, rows=len(counts), sharex=True)
    for axes, (name, values) in zip(rows, counts.items(), strict=True):
        width = 1 / len(values)
        axes.bar(np.arange(len(values)) * width, values, width, align="edge", color=STYLE[name][0], alpha=0.9)
        axes.axvline(threshold, color=_MUTED, linewidth=1, linestyle=":")
        axes.set_ylabel(f"{name}\n{sum(values):.0f} clips", rotation=0, ha="right", va="center", fontsize=9)
        axes.set(xlim=(0, 1), yticks=[])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
    rows[-1].set_xlabel("P(fake)")
    return figure


def reliability(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Part of fakes against mean P(fake) in bins: one curve for each name, the first with what chance alone does.

    A curve has `score`, `fakes`, `low`, `high` and `ece` (`avdfd.calibration.Reliability`).
    """
    figure, (axes,) = _figure(4.2, 4.2)
    axes.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=1, linestyle=":")
    looks: list[dict[str, Any]] = [
        {"color": STYLE["visual"][0], "linestyle": "--", "marker": "o"},
        {"color": STYLE["audio"][0], "linestyle": "-", "marker": "s"},
    ]
    for look, (name, curve) in zip(looks, curves.items(), strict=False):
        label = f"{name}  {curve['ece']:.3f}"
        axes.plot(curve["score"], curve["fakes"], label=label, linewidth=1.6, markersize=4.5, **look)
    band = next(iter(curves.values()))
    axes.vlines(band["score"], band["low"], band["high"], color="#aaaaaa", linewidth=6, alpha=0.35, zorder=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel="mean P(fake) in a bin", ylabel="part of it that is fake")
    axes.legend(title="ECE", loc="upper left", frameon=False, fontsize=9, title_fontsize=9)
    return figure


def weights(by_tier: Mapping[str, Sequence[float]]) -> Figure:
    """Weight of the audio branch for each tier: every clip as a dot, the median as a bar."""
    figure, (axes,) = _figure(4.2, 0.45 * len(by_tier) + 0.9)
    for row, (name, values) in enumerate(by_tier.items()):
        # Dots are spread vertically in a fixed pattern, so that the picture is the same every time.
        offset = 0.22 * (np.arange(len(values)) * 0.618 % 1 - 0.5) * 2
        axes.plot(values, row + offset, "o", color=STYLE[name][0], markersize=3.5, alpha=0.7, markeredgewidth=0)
        axes.plot([np.median(values)] * 2, [row - 0.36, row + 0.36], color="#1a1a1a", linewidth=2)
    axes.axvline(0.5, color=_MUTED, linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(len(by_tier) - 0.5, -0.5), yticks=range(len(by_tier)))
    axes.set_yticklabels(list(by_tier))
    axes.set_xlabel("weight of the audio branch")
    axes.grid(False, axis="y")
    return figure


def looks(names: Iterable[str]) -> dict[str, tuple[str, Any]]:
    """Colour and dashes of branches, tiers and other systems by name."""
    others = itertools.cycle(_OTHERS)
    return {name: STYLE[name] if name in STYLE else next(others) for name in names}


def severities(
    title: str, unit: str, levels: Sequence[float], auc: Mapping[str, _Steps], reals: Mapping[str, _Steps]
) -> Figure:
    """AUC of each branch or system over the severities of a perturbation, and below it that of perturbed reals against
    themselves; each step is a value with its interval, the first as it is without the perturbation."""
    figure, rows = _figure(2.9, 3.1, rows=2, sharex=True, height_ratios=[1.5, 1])
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    places = np.arange(len(levels) + 1)
    for axes, curves, label in zip(rows, (auc, reals), ("AUC", "reals\nagainst clean"), strict=True):
        axes.axhline(0.5, color="#aaaaaa", linewidth=1, linestyle=":")
        for name, (color, dashes) in looks(curves).items():
            values, intervals = zip(*curves[name], strict=True)
            axes.plot(places, values, color=color, linestyle=dashes, linewidth=1.6)
            if None not in intervals:
                low, high = np.transpose(intervals)
                axes.fill_between(places, low, high, color=color, alpha=0.1, linewidth=0)
        axes.set_ylabel(label, fontsize=9)
        axes.set(xlim=(-0.15, len(levels) + 0.15), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        axes.tick_params(labelsize=8)
    rows[-1].set(xticks=places, xlabel=unit)
    rows[-1].set_xticklabels(["–", *(f"{level:g}" for level in levels)])
    return figure


def over_time(starts: np.ndarray, values: np.ndarray) -> Track:
    """Values (N, S) of S even steps in N windows, which may overlap -> their means along the time."""
    length = WINDOW / SAMPLE_RATE / values.shape[1]
    times = (starts[:, None] + (np.arange(values.shape[1]) + 0.5) * length).ravel()
    _, step = np.unique(np.floor(times / length), return_inverse=True)
    count = np.bincount(step)
    return Track(np.bincount(step, times) / count, np.bincount(step, values.ravel()) / count)


class Seen(NamedTuple):
    """What detect.py saw in one file, all on one time axis; what there is nothing of is None or empty."""

    strip: Sequence[tuple[float, np.ndarray, np.ndarray | None]]
    """Time in s, frame (H, W, 3) uint8 and the discrepancy on it (R, C) of some moments."""
    scores: Mapping[str, Track]
    """P(fake) of each branch at the middles of its windows, the main one last."""
    w_audio: Track | None = None
    """Weight of the audio branch, likewise."""
    discrepancy: Track | None = None
    sound: tuple[np.ndarray, np.ndarray] | None = None
    """Spectrogram (bins, T) with its T + 1 edges in s."""
    audio_effect: Track | None = None
    """What the sound of a moment adds to the audio branch's logit."""


def timeline(title: str, seen: Seen, *, span: tuple[float, float], threshold: float) -> Figure:
    """A file over the time `span` in seconds: film strip with the discrepancy on the face, sound, scores, evidence."""
    frame = 8.7 / _STRIP  # inches, so that square frames stay square
    panels: list[tuple[float, Callable[[Axes], None]]] = []
    if seen.strip:
        panels.append((frame, lambda axes: _film_strip(axes, seen.strip, span, heat=False)))
        if seen.strip[0][2] is not None:
            panels.append((frame, lambda axes: _film_strip(axes, seen.strip, span, heat=True)))
    if seen.discrepancy is not None:
        panels.append(
            (1.1, partial(_filled, track=seen.discrepancy, name="audio-visual\ndiscrepancy", branch="visual"))
        )
    if seen.sound is not None:
        panels.append((1.1, partial(_spectrogram, sound=seen.sound)))
    if seen.audio_effect is not None:
        panels.append(
            (0.8, partial(_filled, track=seen.audio_effect, name="sound's part\nof the logit", branch="audio"))
        )
    panels.append((2.1, partial(_score_lines, scores=seen.scores, threshold=threshold)))
    if seen.w_audio is not None:
        panels.append((0.8, partial(_weight, track=seen.w_audio)))
    heights = [height for height, _ in panels]
    figure, rows = _figure(11, sum(heights) + 1.2, rows=len(heights), sharex=True, height_ratios=heights)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", parse_math=False)
    for axes, (_, draw) in zip(rows, panels, strict=True):
        draw(axes)
    rows[-1].set(xlim=span, xlabel="time (s)")
    return figure


def sweep(
    points: Sequence[tuple[Mapping[str, float], Sequence[float]]],
    scales: Mapping[str, Sequence[str] | Literal["linear", "log"]],
    metric: str,
    best: int | None,
) -> Figure:
    """A metric against each varied key, one panel below the other: runs as dots, means as a line.

    `points` are (place of each key, metric of each seed). `scales` has the values of a key, of which a place is the
    number, or how its range is drawn, in which a place is the value; there every setting has a mean of its own, as a
    bar. Setting number `best` is marked.
    """
    figure, rows = _figure(5.2, 1.9 * len(scales) + 0.5, rows=len(scales), sharey=True)
    for axes, (key, scale) in zip(rows, scales.items(), strict=True):
        ranged = isinstance(scale, str)
        at = [places[key] for places, _ in points]
        style: dict[str, Any] = {"color": STYLE["audio"][0], "markersize": 4.5, "alpha": 0.55, "markeredgewidth": 0}
        for x, (_, values) in zip(at, points, strict=True):
            axes.plot([x] * len(values), values, "o", label="a run" if x == at[0] else None, **style)
        means: dict[float, list[float]] = {}
        for x, (_, values) in zip(at, points, strict=True):
            means.setdefault(x, []).extend(values)
        line = [(x, float(np.mean(values))) for x, values in sorted(means.items()) if values]
        look: dict[str, Any] = {"marker": "_", "markersize": 14, "linestyle": ""} if ranged else {"marker": "."}
        axes.plot(*zip(*line, strict=True), color=STYLE["fused"][0], linewidth=1.6, label="mean", **look)
        if best is not None:
            ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": STYLE["visual"][0], "markersize": 9}
            values = points[best][1]
            axes.plot([at[best]] * len(values), values, "o", markeredgewidth=1.6, label="the best setting", **ring)
        if ranged:
            axes.set_xscale(str(scale))
            axes.tick_params(axis="x", which="both", labelsize=9)
        else:
            axes.set(xlim=(-0.5, len(scale) - 0.5), xticks=range(len(scale)))
            axes.set_xticklabels([label if len(label) <= 16 else f"{label[:15]}…" for label in scale])
        axes.set(xlabel=key, ylabel=metric)
        axes.ticklabel_format(axis="y", useOffset=False)
    handles, labels = rows[0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return figure


def _film_strip(
    axes: Axes,
    strip: Sequence[tuple[float, np.ndarray, np.ndarray | None]],
    span: tuple[float, float],
    *,
    heat: bool,
) -> None:
    """Frames side by side, each the one nearest to the middle of the time it covers; grey under the `heat`."""
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


def _filled(axes: Axes, track: Track, name: str, branch: str) -> None:
    """A quantity whose distance from 0 counts."""
    color = STYLE[branch][0]
    axes.fill_between(*track, color=color, alpha=0.2, linewidth=0)
    axes.plot(*track, color=color, linewidth=1.4)
    low, high = float(min(0, track.values.min())), float(max(track.values.max(), 1e-6))
    axes.set(ylim=(1.15 * low, 1.15 * high))
    axes.set_ylabel(name, fontsize=9)


def _spectrogram(axes: Axes, sound: tuple[np.ndarray, np.ndarray]) -> None:
    values, edges = sound
    axes.pcolormesh(edges, np.arange(len(values) + 1), values, cmap="magma", rasterized=True)
    axes.set(yticks=[])
    axes.set_ylabel("mel", fontsize=9)
    axes.grid(False)


def _weight(axes: Axes, track: Track) -> None:
    axes.plot(
        *track, color=STYLE["audio"][0], linewidth=1.4, marker="o" if len(track.times) <= _FEW else "", markersize=3
    )
    axes.axhline(0.5, color=_MUTED, linewidth=1, linestyle=":")
    axes.set(ylim=(-0.05, 1.05))
    axes.set_ylabel("weight of\naudio", fontsize=9)


def _score_lines(axes: Axes, scores: Mapping[str, Track], threshold: float) -> None:
    axes.axhspan(threshold, 1.03, color="#b00020", alpha=0.06, linewidth=0)
    axes.axhline(threshold, color="#b00020", linewidth=1, linestyle=":")
    main, (times, values) = list(scores.items())[-1]
    few = len(times) <= _FEW
    for name, track in reversed(list(scores.items())):
        color, dashes = STYLE[name]
        style: dict[str, Any] = {"color": color, "linestyle": dashes, "linewidth": 1.8 if few else 1.2}
        axes.plot(*track, marker="o" if few else "", markersize=4, label=name, zorder=3 if name == main else 2, **style)
    if few:
        # Pale bars show how long the windows are that the main branch's scores were computed on.
        half = WINDOW / SAMPLE_RATE / 2
        axes.hlines(values, times - half, times + half, color=STYLE[main][0], linewidth=6, alpha=0.12)
    axes.set(ylim=(-0.03, 1.03), ylabel="P(fake)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _figure(width: float, height: float, rows: int = 1, **layout: object) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with `rows` axes below each other, in the style of all figures here."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, squeeze=False, **layout)[:, 0]  # type: ignore[call-overload]
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=_GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9, length=3)
        axes.xaxis.label.set_size(10)
        axes.yaxis.label.set_size(10)
    return figure, list(grid)
