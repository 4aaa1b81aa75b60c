"""What the numbers of report.json mean, in words."""

from collections.abc import Mapping
from html import escape
from typing import Any

from avdfd.evaluation.grouped_metrics import MIN_CLIPS, MIN_IDENTITIES, TUNED
from avdfd.metrics.calibration import BINS
from avdfd.metrics.roc import DCF_ALARM, DCF_MISS, DCF_PRIOR
from avdfd.report.numbers import number, temperatures, with_interval


def protocol(result: Mapping[str, Any]) -> str:
    """What was trained on and judged, and which people."""
    protocol = result["protocol"]
    trained = ", ".join(protocol["trained_tiers"]) or "real clips alone"
    left_out = f" ({protocol['left_out']})" if protocol["left_out"] else ""
    new = f"; new to it: {', '.join(protocol['new_kinds'])}" if protocol["new_kinds"] else ""
    seen = {"train": "These are the people it was trained on.", "validation": "Nobody judged was trained on."}
    people = seen.get(result["split"], "Nobody judged was in training or validation.")
    return (
        f"Protocol: {protocol['name']}{left_out}. Trained on {trained}; judged on "
        f"{', '.join(protocol['judged_tiers'])}{new}. {people}"
    )


def few_people(result: Mapping[str, Any]) -> str:
    """A warning if the bootstrap has too few people to draw from; else empty."""
    people = result["overall"]["identities"]
    return "" if people >= 20 else f"Only {people} identities: take the intervals as too narrow, and p as too small."


def over_runs(result: Mapping[str, Any]) -> str:
    """How many runs the numbers are means of; empty for one."""
    runs = len(result["runs"])
    if runs == 1:
        return ""
    deviation = result["overall"][result["main"]]["auc_deviation"]
    return f"; mean of {runs} runs with a deviation of {deviation:.3f}, which the intervals include"


def calibrated(result: Mapping[str, Any]) -> str:
    """Calibration of the main branch, before and after."""
    main = result["main"]
    metrics, fitted = result["overall"][main], result["fitted"].get(main)
    before = f"Calibration of {main}: ECE {number(metrics['ece'])}, Brier {number(metrics['brier'])}"
    if fitted is None:
        return f"{before}; no temperature, since no validation report is of these weights."
    if "ece_calibrated" in metrics:
        return (
            f"{before}; at the temperature {temperatures(fitted)} of validation ECE "
            f"{number(metrics['ece_calibrated'])}, Brier {number(metrics['brier_calibrated'])}."
        )
    if None in fitted["temperature"]:
        return f"{before}; no temperature, since validation has no likeliest one."
    return f"{before}; the temperature of these clips is {temperatures(fitted)}."


def weights(result: Mapping[str, Any]) -> str:
    """What the fusion listens to; empty for a system that has none."""
    medians = ", ".join(f"{tier} {number(of['median'])}" for tier, of in result["weight_audio"].items())
    return f"Weight of the audio branch in the fused score, median: {medians}." if medians else ""


def worst(result: Mapping[str, Any], name: str) -> str:
    """The worst of some groups of people, or why none is named; empty if there is but one group."""
    members, worst = result["groups"][name]["members"], result["groups"][name]["worst"]
    if len(members) < 2:
        return ""
    small = sum(part["too_small"] for part in members.values())
    if worst is None:
        return f"Worst {name}: not named, {small} of {len(members)} groups are too small."
    part = members[worst]
    return (
        f"Worst {name}: {worst}, AUC {with_interval(part[result['main']], 'auc')}, {part['clips']} clips of "
        f"{part['identities']} identities, of {len(members) - small} groups that are large enough"
        + (f" ({small} are not)." if small else ".")
    )


def how_to_read(result: Mapping[str, Any]) -> str:
    """Beside the first table."""
    visual = (
        " The audio branch only hears and cannot tell a fake picture with real sound (FVRA); the visual branch "
        "compares the mouth with the sound." if "visual" in result["branches"] else ""
    )  # fmt: skip
    rule = result["pooling"]["windows"]
    pooled = {"mean": "the mean", "max": "the largest"}.get(rule, f"the mean of the {rule.removeprefix('top')} largest")
    return (
        "Area under the ROC curve of each tier's fakes against the real clips: 0.5 is chance, 1 is perfect. Below it "
        f"the bootstrap 95 % interval over identities. A clip's score is {pooled} of its windows' P(fake); in the last "
        f"row every window of 3 s is by itself. Label 1 is fake for every branch.{visual}"
    )


def about_metrics(result: Mapping[str, Any]) -> str:
    """Beside the table of all metrics."""
    reals = result["overall"]["clips"] - result["overall"]["fake_clips"]
    text = (
        "AP depends on how many fakes there are, so its value at chance is beside it; that of EER and balanced "
        "accuracy is 0.5. "
        f"TPR at 1 % FPR allows {reals // 100} of the {reals} real clips to be called fake, at 0.1 % {reals // 1000}. "
        f"minDCF is that of ASVspoof 5: fakes have a prior of {DCF_PRIOR}, one that passes costs {DCF_MISS:.0f}, a "
        f"real called fake {DCF_ALARM:.0f}; 0 is perfect, 1 no better than not to look."
    )
    fitted = result["fitted"]
    if TUNED in result["overall"][result["main"]]:
        values = ", ".join(f"{b} {' / '.join(map(number, of['eer_threshold']))}" for b, of in fitted.items())
        return f"{text} Thresholds from validation: {escape(values)}."
    return (
        f"{text} Balanced accuracy is at the threshold 0.5; evaluate validation first to have it at a chosen one too."
    )


def about_calibration(result: Mapping[str, Any]) -> str:
    """Beside the table of calibration."""
    fitted = result["fitted"].get(result["main"])
    here = result["overall"]["prevalence"]
    prior = f" In validation {fitted['prevalence']:.1%} of the clips were fake, here" if fitted else " Here"
    return (
        f"ECE of P(fake) over {BINS} bins of equal mass; by chance is what calibrated scores would have on so many "
        "clips. A temperature is fitted by likelihood on validation clips of the tiers that were trained on, and the "
        f"clips judged here have no part in it.{prior} {here:.1%} are; where fakes are rarer, every probability above "
        "is too high."
    )


def about_groups(result: Mapping[str, Any]) -> str:
    """Beside the table of groups."""
    named = " ".join(filter(None, (worst(result, name) for name in result["groups"])))
    return (
        f"{escape(named)} A method is judged against all real clips, a group of people by its own reals and fakes, "
        f"from {MIN_IDENTITIES} people and {MIN_CLIPS} clips of each class on. The worst of several groups is low by "
        "chance, too: look at its interval."
    )
