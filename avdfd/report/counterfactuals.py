"""Section of the report on the relation of audio and video, from report.json's `counterfactuals`.

`avdfd.evaluation.counterfactuals` measures them and decides by its rule whether a score uses the relation.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from avdfd.evaluation.counterfactuals.rule import JUDGED_SHIFT, SHUFFLED_TIER, judged
from avdfd.report import frame, plots
from avdfd.report.frame import box
from avdfd.report.numbers import align, html_interval, number, with_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_APPLICABLE = "not applicable"
NOT_RUN = "Use of the relation of audio and video: not tested (evaluate.py --counterfactuals)."
_KINDS = {
    "own": "own audio and video",
    "cut": "own audio and video, 3.04 s",
    "fixed_audio": "one audio for all clips",
    "fixed_video": "one video for all clips",
    "shuffled": "frames shuffled",
    "still": "first frame throughout",
    "reversed": "audio reversed",
}
_STRANGER = "a stranger's audio"
_CHECKS = {"stranger": _STRANGER, "shift": f"audio moved by {JUDGED_SHIFT} ms", "shuffled": "frames shuffled"}
_KEY_SHIFTS = (200, JUDGED_SHIFT, 1000)
_KEY_KINDS = ("own", "fixed_audio", "shuffled")
KEY_FIGURES = (
    "score",
    f"real clips, {_STRANGER}",
    *(f"real clips, audio moved by {ms} ms" for ms in _KEY_SHIFTS),
    *(f"{SHUFFLED_TIER}, {_KINDS[kind]}" for kind in _KEY_KINDS),
    "uses the relation of audio and video",
)
"""Titles of `key_figures`."""
_ABOUT_REAL = (
    "AUC of changed real clips (1) against the same clips with their own streams (0): 0.5 means that the score does "
    "not depend on the change. A stranger is another identity of the same page and gender; two clips swap their audio, "
    "so that a score of one stream alone has exactly 0.5. Moved audio, late and early together, is cut from the clip "
    "beyond the window, and nothing is repeated; what the audio branch has there comes from the other stretch of "
    "speech, not from the shift. Below each AUC is its 95 % interval over identities."
)
_ABOUT_REPLACED = (
    "AUC of fakes against real clips, both with the replaced stream. With one audio for all clips, a score of the "
    "relation is at chance on fakes of the video alone; with one video for all clips, what is left is a judgement of "
    "the audio. If the order of the frames does not matter, the score does not follow the motion of the lips."
)
_ABOUT_WHOLE = (
    "Of whole clips, both sides of a comparison show the same stretch, and nothing is repeated: clips that swap their "
    "audio are cut to the shorter one, those with moved audio lack as much of either stream as the shift takes, and "
    "for one audio or video all are cut to 3.04 s."
)
RULE = (
    "Rule: the interval of a stranger's audio and that of audio moved by "
    f"{JUDGED_SHIFT} ms lie above 0.5, and shuffling the frames lowers AUC on {SHUFFLED_TIER} (interval of the "
    "difference above 0). A score of a single frame has no order and no time: the stranger's audio decides alone."
)


def is_missing(result: Mapping[str, Any]) -> bool:
    """Return True if a score of both streams was not tested: the system has a branch that takes video."""
    return "counterfactuals" not in result and result["kind"] not in ("pretrain", "scores")


def counterfactual_sentences(section: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[str]:
    """Yield whether the branch that is meant to uses the relation, and the same for every other system."""
    for name in (section["branch"], *result["against"]):
        yield f"{_named(name, result)} uses the relation of audio and video: {answer(section, name)}."


def answer(section: Mapping[str, Any], name: str) -> str:
    """Return "yes", "not shown" or "not applicable", and the figures that decide it, or the reason."""
    word = _word(section, name)
    if word == NOT_APPLICABLE:
        return f"{word} (no video is taken)"
    return f"{word} ({'; '.join(_evidence(section, name, section['verdicts'][name]['checks']))})"


def _word(section: Mapping[str, Any], name: str) -> str:
    if name in section.get("audio_only", ()):
        return NOT_APPLICABLE
    return "yes" if section["verdicts"][name]["uses"] else "not shown"


def counterfactuals_text(result: Mapping[str, Any]) -> list[str]:
    """Return paragraphs: the tables, and the sentences.

    The tables have real clips against changed ones, and AUC by tier with replaced streams, for the branch that is meant
    to use the relation and for the picture branch.
    """
    section, names = result["counterfactuals"], result["branches"]
    real = [["real clips changed, AUC", "clips", *names]]
    for title, of in _real(section):
        real.append([title, str(of["clips"]), *(with_interval(of["branches"][name], "auc") for name in names)])
    tables = [real]
    for branch in [section["branch"], *(name for name in names if name == "picture")]:
        replaced = [[f"{branch}, AUC", "overall", *section["replaced"]["own"]["tiers"]]]
        for kind, of in section["replaced"].items():
            cells = [with_interval(part[branch], "auc") if part else "–" for part in _parts(section, of)]
            replaced.append([_KINDS[kind], *cells])
        tables.append(replaced)
    lines = [*counterfactual_sentences(section, result), *left_out(section)]
    return [*(align(rows) for rows in tables if len(rows) > 1), "\n".join(lines)]


def key_figures(section: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the figures by which systems are compared, for the branch that is meant to use the relation, by title.

    A figure that was not measured is "–"; without a section, all are "not tested".
    """
    if section is None:
        return dict.fromkeys(KEY_FIGURES, "not tested")
    branch = section["branch"]
    shifts = {of["ms"]: of["both"]["branches"][branch] for of in section["shifts"]}
    stranger = section["stranger"]["branches"][branch] if section["stranger"] else None
    tested = [stranger, *(shifts.get(ms) for ms in _KEY_SHIFTS)]
    tiers = [section["replaced"].get(kind, {}).get("tiers", {}) for kind in _KEY_KINDS]
    tested += [of[SHUFFLED_TIER][branch] if SHUFFLED_TIER in of else None for of in tiers]
    texts = [with_interval(of, "auc") if of else "–" for of in tested]
    return dict(zip(KEY_FIGURES, [branch, *texts, _word(section, branch)], strict=True))


def left_out(section: Mapping[str, Any]) -> list[str]:
    """Return a line for each reason why counterfactuals were left out."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in section["left_out"].items():
        by_reason.setdefault(reason, []).append({"stranger": _STRANGER, **_KINDS}.get(name, name))
    lines = [f"Left out: {', '.join(names)}: {reason}." for reason, names in by_reason.items()]
    whole = section.get("whole", False)
    partly = [of for of in section["shifts"] if of["both"]["clips"] < section["real_clips"]]
    if partly:
        few = min(partly, key=lambda of: of["both"]["clips"])
        lines.append(
            f"Audio moved by {few['ms']} ms: {few['both']['clips']} of {section['real_clips']} real clips "
            f"{'are long enough' if whole else 'have the audio beyond a window'}."
        )
    stranger = section["stranger"]
    if stranger and stranger["clips"] < section["real_clips"]:
        alone = section["real_clips"] - stranger["clips"]
        short = "" if whole else ", or are shorter than a window"
        lines.append(f"{alone} real clips have no stranger of the same page and gender{short}.")
    if section["clips"] > section.get("cut_clips", section["clips"]) > 0:
        few = section["clips"] - section["cut_clips"]
        lines.append(f"One audio or video for all clips: {few} clips, shorter than 3.04 s, take no part.")
    return lines


def counterfactuals_html(result: Mapping[str, Any]) -> str:
    """Return heading, sentences, tables and the curve of shifts; one line if it was not tested, nothing for audio."""
    heading = "<h2>Does it use the relation of audio and video?</h2>"
    if "counterfactuals" not in result:
        return f"{heading}<p class=note>{NOT_RUN}</p>" if is_missing(result) else ""
    section, names = result["counterfactuals"], result["branches"]
    first, *others = counterfactual_sentences(section, result)
    lines = [f"<p class=lead>{escape(first)}</p>", *(f"<p>{escape(line)}</p>" for line in others)]
    lines += [f"<p class=note>{escape(line)}</p>" for line in left_out(section)]
    about = _ABOUT_REAL + (f" {_ABOUT_WHOLE}" if section.get("whole") else "")
    figure = ""
    if section["shifts"]:
        title = "Audio moved against the video"
        svg = plots.svg(draw(section, names))
        caption = "Real clips with moved audio against the same clips in sync."
        figure = f"<div class=figures>{frame.figure('shifts', title, caption, svg, shift_points(section, names))}</div>"
    return (
        f"{heading}{''.join(lines)}<p class=note>{RULE}</p>{_real_table(section, names)}"
        f"<p class=note>{about}</p>{figure}{_replaced_table(section, names)}<p class=note>{_ABOUT_REPLACED}</p>"
    )


def draw(section: Mapping[str, Any], names: Sequence[str]) -> "Figure":
    """Draw AUC against the shift in milliseconds, above 0 if the audio is late."""
    figure, (axes,) = plots.figure_of(4.2, 3.2)
    axes.axhline(0.5, color="#aaaaaa", linewidth=1, linestyle=":")
    axes.axvline(0, color="#aaaaaa", linewidth=1, linestyle=":")
    for name, look in plots.looks(names).items():
        at, points = zip(*_curve(section, name), strict=True)
        plots.curve_with_band(axes, at, points, "auc", look, marker=".", label=name)
    axes.set(ylim=(-0.03, 1.03), xlabel="ms: audio early (below 0), audio late (above 0)", ylabel="AUC")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def shift_points(section: Mapping[str, Any], names: Sequence[str]) -> list[list[Any]]:
    """Return the data of the figure: a row for each shift and branch."""
    rows: list[list[Any]] = [["ms", "branch", "auc", "low", "high"]]
    for name in names:
        rows += [[ms, name, of["auc"], *(of["auc_interval"] or ("", ""))] for ms, of in _curve(section, name)]
    return rows


def _curve(section: Mapping[str, Any], name: str) -> list[tuple[int, Mapping[str, Any]]]:
    points: list[tuple[int, Mapping[str, Any]]] = []
    for of in section["shifts"]:
        sides = {-of["ms"]: of["early"], of["ms"]: of["late"]}
        points += [(ms, side["branches"][name]) for ms, side in sides.items() if side is not None]
    return sorted(points, key=lambda point: point[0])


def _named(name: str, result: Mapping[str, Any]) -> str:
    return f"The score of {name}" if name in result["against"] else f"The {name} branch"


def _evidence(section: Mapping[str, Any], name: str, checks: Mapping[str, bool | None]) -> Iterator[str]:
    """Yield the figures of each check, or that it was not measured."""
    for check, of in judged(section).items():
        if check not in checks:
            continue
        text = with_interval(of["branches"][name], "auc") if of else "not measured"
        yield f"{_CHECKS[check]} {text}"
    if name in section.get("one_image", ()):
        yield f"order and time {NOT_APPLICABLE} to a single frame"
        return
    if SHUFFLED_TIER not in section["replaced"]["own"]["tiers"]:
        yield f"no {SHUFFLED_TIER} to shuffle the frames of"
        return
    own, shuffled = (section["replaced"][kind]["tiers"][SHUFFLED_TIER][name]["auc"] for kind in ("own", "shuffled"))
    lost = {True: "", False: ", no clear loss", None: ", no interval"}[checks["shuffled"]]
    yield f"{SHUFFLED_TIER} {number(own)}, with {_CHECKS['shuffled']} {number(shuffled)}{lost}"


def _parts(section: Mapping[str, Any], of: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
    """Return the figures of a counterfactual, overall and by tier; None for a tier whose clips take no part."""
    return [of["overall"], *(of["tiers"].get(tier) for tier in section["replaced"]["own"]["tiers"])]


def _real(section: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if section["stranger"]:
        yield _STRANGER, section["stranger"]
    for of in section["shifts"]:
        yield f"audio moved by {of['ms']} ms", of["both"]


def _real_table(section: Mapping[str, Any], names: Sequence[str]) -> str:
    head = "".join(f"<th class=num>{escape(name)}</th>" for name in names)
    body = ""
    for title, of in _real(section):
        cells = "".join(f"<td class=num>{html_interval(of['branches'][name], 'auc')}</td>" for name in names)
        body += f"<tr><th scope=row>{escape(title)}</th>{cells}<td class=num>{of['clips']}</td></tr>"
    return box(f"<thead><tr><th>Real clips</th>{head}<th class=num>clips</th></tr></thead>", body) if body else ""


def _replaced_table(section: Mapping[str, Any], names: Sequence[str]) -> str:
    tiers = list(section["replaced"]["own"]["tiers"])
    head = "".join(f"<th class=num>{escape(tier)}</th>" for tier in tiers)
    body = ""
    for name in names:
        body += f"<tr><th class=group colspan={len(tiers) + 2}>{escape(name)}</th></tr>"
        for kind, of in section["replaced"].items():
            texts = [html_interval(part[name], "auc") if part else "–" for part in _parts(section, of)]
            cells = "".join(f"<td class=num>{text}</td>" for text in texts)
            body += f"<tr><th scope=row>{_KINDS[kind]}</th>{cells}</tr>"
    return box(f"<thead><tr><th>AUC</th><th class=num>overall</th>{head}</tr></thead>", body)
