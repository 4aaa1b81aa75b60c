"""Metrics by page (`avdfd.evaluation.pages`), their shortcut probes, and means over folds, as text and HTML.

Pooled figures, with the errors at thresholds of validation, come first: those within pages need no threshold that
holds for all of them, and look better.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES
from avdfd.evaluation.page_draws import ENOUGH
from avdfd.report import frame
from avdfd.report.numbers import NAMES, align, number, with_interval

_HEADING = "<h2>Within each page</h2>"
_NOTE = (
    "AUC and EER of the {main} score among the clips of one page. Pairs: the fraction of fakes that score above the "
    "original they were made from. Means are over pages, with 95 % intervals from pages drawn with replacement."
)
_POOLED = {
    "auc": "AUC",
    "eer": "EER",
    FALSE_ALARMS: "real clips called fake at the validation threshold",
    MISSES: "fakes called real",
}
_HEAD = ["page", "clips", "fakes", "AUC", "EER", "pairs", "fake above its original"]


def pages_text(metrics: Mapping[str, Any], probes: Mapping[str, Any] | None = None) -> str:
    """Return the tables of one branch: its pages, the means over them, methods and, if given, shortcut probes."""
    auc, eer, pairs = (_mean(metrics, name) for name in ("auc", "eer", "pair_accuracy"))
    methods = [[name, str(of["fakes"]), number(of["auc"])] for name, of in metrics["methods"].items()]
    texts = [
        align([_HEAD, *_rows(metrics)]),
        f"mean over pages: AUC {auc}, EER {eer}, fake above its original {pairs}",
        align([["method", "fakes", "AUC"], *methods]),
    ]
    if probes:
        rows = [[name, _mean(found, "auc"), _highest(found.get("within", {}))] for name, found in probes.items()]
        texts.append(align([["shortcut probe", "AUC over pages", "within a page, at most"], *rows]))
    return "\n\n".join(texts)


def draws_text(systems: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of systems over their draws (`avdfd.evaluation.page_draws`): pooled, the means, and every page."""
    pooled = [
        [name, *(_each(of["pooled"][figure]) if figure in of["pooled"] else "-" for figure in _POOLED)]
        for name, of in systems.items()
        if of["pooled"]
    ]
    head = ["mean over pages and draws", "draws", "AUC", "AUC of each draw", "EER", "fake above its original", "lowest"]
    rows, tables = [], []
    for name, of in systems.items():
        auc, worst = of["mean"]["auc"], of["worst"]
        pairs = _mean(of, "pair_accuracy") if of["mean"]["pair_accuracy"] else "-"
        each = ", ".join(map(number, auc["draws"]))
        lowest = f"{number(of['pages'][worst]['auc'])} ({worst})"
        rows.append([name, str(of["draws"]), _mean(of, "auc"), each, _mean(of, "eer"), pairs, lowest])
        of_pages = [
            [page, str(one["clips"]), str(one["fakes"]), number(one["auc"]), ", ".join(map(number, one["auc_draws"]))]
            for page, one in of["pages"].items()
        ]
        tables.append(align([[f"page, {name}", "clips", "fakes", "AUC", "AUC of each draw"], *of_pages]))
    few = [name for name, of in systems.items() if of["draws"] < ENOUGH]
    warning = f"fewer than {ENOUGH} draws of the codecs, which is no estimate of their effect: {'; '.join(few)}"
    first = [align([["all clips pooled (each draw)", *_POOLED.values()], *pooled])] if pooled else []
    return "\n\n".join([*first, align([head, *rows]), *([warning] if few else []), *tables])


def branches_text(pages: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the means over pages of every branch and system as a table."""
    rows = [[name, *_means(metrics)] for name, metrics in pages.items()]
    return align([["mean over pages", "AUC", "EER", "fake above its original"], *rows])


def pages_html(result: Mapping[str, Any]) -> str:
    """Return heading and tables; nothing if no page is known."""
    if not result.get("pages"):
        return ""
    main, tables = result["main"], []
    means = [[name, *_means(metrics)] for name, metrics in result["pages"].items()]
    for head, rows in (
        (["mean over pages", "AUC", "EER", "fake above its original"], means),
        (_HEAD, _rows(result["pages"][main])),
    ):
        cells = "".join(f"<th class=num>{name}</th>" for name in head[1:])
        body = "".join(
            f"<tr><th scope=row>{escape(name)}</th>{''.join(f'<td class=num>{cell}</td>' for cell in more)}</tr>"
            for name, *more in rows
        )
        tables.append(frame.box(f"<thead><tr><th>{head[0]}</th>{cells}</tr></thead>", body))
    return f"{_HEADING}{''.join(tables)}<p class=note>{_NOTE.format(main=escape(main))}</p>"


def folds_text(summary: Mapping[str, Any]) -> str:
    """Return pooled figures, and mean and standard deviation over folds as a table with a row for each tier."""
    pooled = summary["pooled"]
    figures = ", ".join(f"{title} {with_interval(pooled, name)}" for name, title in _POOLED.items() if name in pooled)
    first = f"{summary['branch']} score, {pooled['clips']} clips of all folds pooled: {figures}"
    metrics = list(summary["metrics"]["overall"])
    head = [f"{len(summary['folds'])} folds, {summary['branch']} score", *({"auc": "AUC", **NAMES}[m] for m in metrics)]
    rows = [
        [tier, *(f"{of[m]['mean']:.3f} ± {of[m]['deviation']:.3f}" if m in of else "" for m in metrics)]
        for tier, of in summary["metrics"].items()
    ]
    return f"{first}\n\n{align([head, *rows])}\nMean ± standard deviation over folds."


def _each(figure: Mapping[str, Any]) -> str:
    """Return the mean over draws, and the values of each."""
    return f"{number(figure['value'])} ({', '.join(map(number, figure['draws']))})"


def _rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            *(str(page["clips"]), str(page["fakes"]), number(page["auc"]), number(page["eer"]), str(page["pairs"])),
            "" if page["pair_accuracy"] is None else number(page["pair_accuracy"]),
        ]
        for name, page in metrics["pages"].items()
    ]


def _means(metrics: Mapping[str, Any]) -> list[str]:
    return [_mean(metrics, name) for name in ("auc", "eer", "pair_accuracy")]


def _mean(metrics: Mapping[str, Any], name: str) -> str:
    """Return a mean over pages with its interval."""
    mean = metrics["mean"][name]
    if mean["value"] is None:
        return "-"
    interval = "" if mean["interval"] is None else " [{:.3f}, {:.3f}]".format(*mean["interval"])
    return number(mean["value"]) + interval


def _highest(within: Mapping[str, float]) -> str:
    """Return the page on which a cue reaches most."""
    if not within:
        return ""
    page = max(within, key=lambda name: within[name])
    return f"{number(within[page])} ({page})"
