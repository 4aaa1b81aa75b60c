"""Figures of reports and of search.py, drawn with matplotlib's object interface (no global state, no display).

The figures of reports are narrow, so that their text stays readable on a phone.
"""

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and dashes of every branch and tier. The palette of Okabe and Ito suits colour-blind readers, dashes suit black
# and white.
STYLE: dict[str, tuple[str, Any]] = {
    "fused": ("#1a1a1a", "-"),
    "visual": ("#d55e00", "--"),
    "consistency": ("#d55e00", "--"),
    "picture": ("#009e73", (0, (5, 1))),
    "audio": ("#0072b2", "-."),
    "RVRA": ("#009e73", "-"),
    "RVFA": ("#0072b2", "-"),
    "FVRA": ("#d55e00", "--"),
    "FVFA": ("#1a1a1a", "-."),
    "RVFA-VC": ("#cc79a7", ":"),
    "RVFA-SVC": ("#8c6d00", (0, (5, 1))),
    "FAKE": ("#777777", (0, (1, 1))),
}
# Colours and dashes of other systems, in their order.
_OTHERS: list[tuple[str, Any]] = [
    ("#cc79a7", ":"),
    ("#009e73", (0, (5, 1))),
    ("#8c6d00", (0, (1, 1))),
    ("#777777", "--"),
]
SUFFIXES = (".png", ".svg", ".pdf")
"""File types that `encode` can make."""
GRID = "#dddddd"
MUTED = "#555555"


def looks(names: Iterable[str]) -> dict[str, tuple[str, Any]]:
    """Return colour and dashes by name. Other systems take those of branches that are not among the names."""
    names = list(names)
    taken = {STYLE[name] for name in names if name in STYLE}
    branches = [STYLE[name] for name in ("fused", "visual", "audio")]
    others = itertools.cycle([look for look in (_OTHERS if taken else [*branches, *_OTHERS]) if look not in taken])
    return {name: STYLE[name] if name in STYLE else next(others) for name in names}


def svg(figure: "Figure") -> str:
    """Return a figure as SVG text that is reproducible: text as outlines, no date, no random ids."""
    from matplotlib import rc_context  # here as below: it takes half a second, and is loaded once a figure is drawn

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "avdfd"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def encode(figure: "Figure", suffix: str) -> bytes:
    """Return a figure as the bytes of a file with one of SUFFIXES."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.removeprefix("."), dpi=150)
    return buffer.getvalue()


def curve_with_band(
    axes: "Axes",
    at: Sequence[float],
    points: Sequence[Mapping[str, Any]],
    metric: str,
    look: tuple[str, Any],
    **more: Any,
) -> None:
    """Draw a metric of `points` along `at`, and its intervals as a band if there are any.

    `look` is a colour with dashes (`looks`); `more` are properties of the line.
    """
    color, dashes = look
    order = 2 + (dashes != "-")  # a curve below stays visible between dashes
    axes.plot(at, [of[metric] for of in points], color=color, ls=dashes, linewidth=1.6, zorder=order, **more)
    intervals = [of[f"{metric}_interval"] for of in points]
    if points and None not in intervals:
        low, high = np.transpose(intervals)
        axes.fill_between(at, low, high, color=color, alpha=0.1, linewidth=0)


def roc_curves(curves: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Draw one ROC curve per branch, system or tier from its `fpr`, `tpr` and `auc`."""
    figure, (axes,) = figure_of(4.2, 4.2)
    axes.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=1, linestyle=":")
    styles = looks(curves)
    for name, curve in curves.items():
        color, dashes = styles[name]
        label = f"{name}  {curve['auc']:.3f}"
        order = 2 + (dashes != "-")  # a curve below stays visible between dashes
        axes.plot(curve["fpr"], curve["tpr"], color=color, ls=dashes, linewidth=1.8, label=label, zorder=order)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(title="AUC", loc="lower right", frameon=False, fontsize=9, title_fontsize=9)
    return figure


def error_rates(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], along: str, mark: tuple[float, str] | None = None
) -> "Figure":
    """Draw rates of errors (x, y) by name along a quantity; `mark` is a place on it with its name."""
    figure, (axes,) = figure_of(4.2, 3.2)
    for (name, (x, y)), (color, dashes) in zip(curves.items(), [STYLE["fused"], STYLE["visual"]], strict=False):
        axes.plot(x, y, color=color, ls=dashes, marker="o", markersize=4, linewidth=1.6, label=name)
    if mark is not None:
        axes.axvline(mark[0], color=MUTED, linewidth=1, linestyle=":", label=mark[1])
    axes.set(ylim=(-0.02, 1.02), xlabel=along, ylabel="rate of errors")
    axes.legend(frameon=False, fontsize=9)
    return figure


def distributions(counts: Mapping[str, Sequence[float]], threshold: float = 0.5) -> "Figure":
    """Draw a histogram of P(fake) for each tier, one above the other, each scaled to its highest bar."""
    figure, rows = figure_of(4.2, 0.72 * len(counts) + 0.7, rows=len(counts), sharex=True)
    for axes, (name, values) in zip(rows, counts.items(), strict=True):
        width = 1 / len(values)
        axes.bar(np.arange(len(values)) * width, values, width, align="edge", color=STYLE[name][0], alpha=0.9)
        axes.axvline(threshold, color=MUTED, linewidth=1, linestyle=":")
        axes.set_ylabel(f"{name}\n{sum(values):.0f} clips", rotation=0, ha="right", va="center", fontsize=9)
        axes.set(xlim=(0, 1), yticks=[])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
    rows[-1].set_xlabel("P(fake)")
    return figure


def reliability(curves: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """Draw the fraction of fakes against mean P(fake) in bins: one curve per name, the first with its range by chance.

    A curve has `score`, `fakes`, `low`, `high` and `ece` (`avdfd.metrics.calibration.Reliability`).
    """
    figure, (axes,) = figure_of(4.2, 4.2)
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
    axes.set(xlabel="mean P(fake) in a bin", ylabel="fraction of fakes in the bin")
    axes.legend(title="ECE", loc="upper left", frameon=False, fontsize=9, title_fontsize=9)
    return figure


def dots(by_tier: Mapping[str, Sequence[float]], bars: Mapping[str, float], label: str) -> "Figure":
    """Draw a value of the clips of each tier: every clip as a dot, and a bar for the tier."""
    figure, (axes,) = figure_of(4.2, 0.45 * len(by_tier) + 0.9)
    for row, (name, values) in enumerate(by_tier.items()):
        # Dots are spread vertically in a fixed pattern, so that the figure is reproducible.
        offset = 0.22 * (np.arange(len(values)) * 0.618 % 1 - 0.5) * 2
        axes.plot(values, row + offset, "o", color=STYLE[name][0], markersize=3.5, alpha=0.7, markeredgewidth=0)
        axes.plot([bars[name]] * 2, [row - 0.36, row + 0.36], color="#1a1a1a", linewidth=2)
    axes.set(ylim=(len(by_tier) - 0.5, -0.5), yticks=range(len(by_tier)))
    axes.set_yticklabels(list(by_tier))
    axes.set_xlabel(label)
    axes.grid(False, axis="y")
    return figure


def weights(by_branch: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> "Figure":
    """Draw the weights of branches in the fused score, by tier: a dot for every clip, a bar at the median.

    `by_branch` has `values` and `median` of each branch and tier.
    """
    tiers, count = [*next(iter(by_branch.values()))], len(by_branch)
    figure, (axes,) = figure_of(4.2, (0.3 + 0.2 * count) * len(tiers) + 1.1)
    for place, (branch, of) in enumerate(by_branch.items()):
        color = STYLE[branch][0]
        for row, tier in enumerate(tiers):
            values, middle = np.array(of[tier]["values"]), row + (place - (count - 1) / 2) * 0.8 / count
            # Dots are spread vertically in a fixed pattern, so that the figure is reproducible.
            spread = 0.55 / count * (np.arange(len(values)) * 0.618 % 1 - 0.5)
            axes.plot(values, middle + spread, "o", color=color, markersize=3, alpha=0.6, markeredgewidth=0)
            ends = [middle - 0.36 / count, middle + 0.36 / count]
            axes.plot([of[tier]["median"]] * 2, ends, color="#1a1a1a", linewidth=2)
        axes.plot([], [], "o", color=color, markersize=5, label=branch)
    for row in range(1, len(tiers)):
        axes.axhline(row - 0.5, color=GRID, linewidth=0.7)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(tiers) - 0.5, -0.5), yticks=range(len(tiers)))
    axes.set_yticklabels(tiers)
    axes.set_xlabel("weight in the fused score")
    axes.grid(False, axis="y")
    figure.legend(loc="outside lower center", ncols=count, frameon=False, fontsize=9)
    return figure


def plane(
    by_tier: Mapping[str, Sequence[Sequence[float]]], explained: Sequence[float], prototype: Sequence[float] | None
) -> "Figure":
    """Draw the clips of each tier on two principal components with their fractions of the variance."""
    figure, (axes,) = figure_of(4.2, 4.7)
    for marker, (name, points) in zip(itertools.cycle("o^sDvPX"), by_tier.items(), strict=False):
        look: dict[str, Any] = {"color": STYLE[name][0], "markersize": 4.5, "alpha": 0.7, "markeredgewidth": 0}
        axes.plot(*zip(*points, strict=True), marker, label=name, **look)
    if prototype is not None:
        star: dict[str, Any] = {"color": "#ffd700", "markersize": 15, "markeredgecolor": "#1a1a1a"}
        axes.plot(*prototype, "*", label="prototype", **star)
    axes.set(xlabel=f"component 1 ({explained[0]:.0%} of the variance)", ylabel=f"component 2 ({explained[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1)
    return figure


def sweep(
    points: Sequence[tuple[Mapping[str, float], Sequence[float]]],
    scales: Mapping[str, Sequence[str] | Literal["linear", "log"]],
    metric: str,
    best: int | None,
) -> "Figure":
    """Draw a metric against each varied key, one panel below the other: runs as dots, means as a line.

    `points` are (position by key, metric of each seed). `scales` has, for each key, its list of values, in which a
    position is an index, or the scale of its range ("linear" or "log"), on which a position is the value; then each
    setting has a mean of its own, drawn as a bar. The setting at index `best` is marked.
    """
    figure, rows = figure_of(5.2, 1.9 * len(scales) + 0.5, rows=len(scales), sharey=True)
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


def figure_of(width: float, height: float, rows: int = 1, **layout: object) -> "tuple[Figure, list[Axes]]":
    """Return a figure of this size in inches with `rows` axes below each other, in the common style."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, squeeze=False, **layout)[:, 0]  # type: ignore[call-overload]
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9, length=3)
        axes.xaxis.label.set_size(10)
        axes.yaxis.label.set_size(10)
    return figure, list(grid)
