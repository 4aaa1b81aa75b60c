"""Sentences of the report: the results of report.json in words, and how to read its tables."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MIN_CLIPS, MIN_IDENTITIES, MISSES, TUNED
from avdfd.evaluation.protocol import PUBLISHED
from avdfd.evaluation.stored import OF_FILES
from avdfd.metrics.calibration import BINS
from avdfd.metrics.roc import DCF_ALARM, DCF_MISS, DCF_PRIOR
from avdfd.metrics.selective import DEFAULT
from avdfd.report.numbers import branch_weights, number, temperatures, with_interval

_NOTHING_SHOWN = "nothing shows that these identities or kinds of fakes are new to the system."


def protocol(result: Mapping[str, Any]) -> str:
    """Return the protocol: trained and tested tiers, and whether the identities are new."""
    protocol = result["protocol"]
    tested = ", ".join(protocol["judged_tiers"])
    if result["kind"] == "scores":
        return (
            f"Protocol: scores from a file, tested on {tested}. What the system was trained on is not known, so "
            f"{_NOTHING_SHOWN}"
        )
    if protocol["name"] == PUBLISHED:
        return f"Protocol: published weights: trained by their authors, tested on {tested}. {_shared(protocol)}"
    trained = ", ".join(protocol["trained_tiers"]) or "real clips only"
    left_out = f" ({protocol['left_out']})" if protocol["left_out"] else ""
    new = f"; new to it: {', '.join(protocol['new_kinds'])}" if protocol["new_kinds"] else ""
    known = {
        "train": "These are the identities it was trained on.",
        "validation": "No test identity is in the training split.",
    }
    identities = known.get(result["split"], "No test identity is in the training or validation split.")
    if protocol.get("shared_identities"):
        identities = _shared(protocol)
    return f"Protocol: {protocol['name']}{left_out}. Trained on {trained}; tested on {tested}{new}. {identities}"


def _shared(protocol: Mapping[str, Any]) -> str:
    """Return what is known of the identities that published weights were trained on."""
    if protocol["shared_identities"]:
        shared, clips = protocol["shared_identities"]
        return f"As published: {shared} of {clips} clips show an identity of the training list."
    return f"Their training data are not known here: {_NOTHING_SHOWN}"


def outside(result: Mapping[str, Any]) -> str:
    """Return what is particular about scores from a file: clips without a score, and their scale; else nothing."""
    if result["kind"] != "scores":
        return ""
    found, how, sentences = result["left_out"], result["runs"][0], []
    if found["without_score"]:
        sentences.append(
            f"{found['without_score']} of {found['clips']} clips have no score and take no part (left_out.csv)."
        )
    if found["named"] > found["scored"]:
        sentences.append(
            f"Of {found['named']} files in the table, {found['empty']} have no score, {found['not_judged']} are clips "
            f"that are not judged here, and {found['unknown']} are no clips of the store."
        )
    if how["window_column"] and result["windows"] is None:
        sentences.append(
            "The scores are of other windows than those of the element store, so nothing is said about single windows."
        )
    if how["scale"] == "rank":
        sentences.append(
            "The order of these scores alone has a meaning: Brier score, log loss, ECE and the threshold 0.5 have none."
        )
    return " ".join(sentences)


def few_identities(result: Mapping[str, Any]) -> str:
    """Return a warning if there are too few identities for the bootstrap; else nothing."""
    count = result["overall"]["identities"]
    return "" if count >= 20 else f"Only {count} identities: intervals are too narrow and p values too small."


def spared(result: Mapping[str, Any]) -> str:
    """Return the warning about a store whose windows were chosen by ground truth; empty for another store."""
    count = result.get("left_out_by_truth", 0)
    if not count:
        return ""
    return (
        f"The element store lacks {count} windows of fakes in which nothing is fake: ground truth chose them "
        "(media.min_fake of a former version), so these figures are too good. Preprocess the data into a new store."
    )


def short_clips(result: Mapping[str, Any]) -> str:
    """Return how many clips are shorter than a window; empty if none is."""
    count = result["overall"].get("short_clips", 0)
    if not count:
        return ""
    return (
        f"{count} of {result['overall']['clips']} clips are shorter than a window of 3.072 s (short); systems that "
        "take windows are given them repeated."
    )


def over_runs(result: Mapping[str, Any]) -> str:
    """Return the number of runs that are averaged; empty for one run."""
    runs = len(result["runs"])
    if runs == 1:
        return ""
    over_seeds = result["overall"][result["main"]]["auc_deviation"]
    return f"; mean of {runs} runs, standard deviation {over_seeds:.3f}; the intervals include it"


def calibrated(result: Mapping[str, Any]) -> str:
    """Return the calibration of the main branch before and after temperature scaling."""
    main = result["main"]
    metrics, fitted = result["overall"][main], result["fitted"].get(main)
    before = f"Calibration of {main}: ECE {number(metrics['ece'])}, Brier {number(metrics['brier'])}"
    if fitted is None:
        return f"{before}; no temperature, as there is no validation report of these weights."
    if "ece_calibrated" in metrics:
        return (
            f"{before}; with the validation temperature {temperatures(fitted)} ECE "
            f"{number(metrics['ece_calibrated'])}, Brier {number(metrics['brier_calibrated'])}."
        )
    if None in fitted["temperature"]:
        return f"{before}; no temperature, as the likelihood on validation has no maximum."
    return f"{before}; the temperature of these clips is {temperatures(fitted)}."


def at_threshold(result: Mapping[str, Any]) -> str:
    """Return the errors over all clips at the threshold of validation, or that there is none."""
    main = result["main"]
    metrics, fitted = result["overall"][main], result["fitted"].get(main)
    if FALSE_ALARMS not in metrics or fitted is None:
        return "No threshold is known from validation: evaluate the validation split first." if _judged(result) else ""
    threshold = " / ".join(map(number, fitted["eer_threshold"]))
    return (
        f"All clips at the threshold {threshold} of validation, {main} score: real clips called fake "
        f"{with_interval(metrics, FALSE_ALARMS)}, fakes called real {with_interval(metrics, MISSES)}."
    )


def _judged(result: Mapping[str, Any]) -> bool:
    """Return True for a split in which thresholds of validation apply."""
    return result["split"] not in ("train", "validation")


def decided(result: Mapping[str, Any]) -> str:
    """Return what the default band of uncertain scores decides; empty without a validation report."""
    row = next((row for row in result.get("coverage") or () if row["allowed"] == DEFAULT), None)
    if row is None:
        return ""
    return (
        f"With the band of {result['main']} that allows {100 * DEFAULT:g} % errors of each kind on validation, "
        f"{100 * row['coverage']:.1f} % of the clips are decided; {100 * row['false_alarms']:.1f} % of the real clips "
        f"are called fake, and {100 * row['misses']:.1f} % of the fakes real."
    )


def weights(result: Mapping[str, Any]) -> str:
    """Return the weights of the branches; empty for a system without fusion."""
    found = branch_weights(result)
    if not found:
        return ""
    names = " / ".join(found)
    tiers = next(iter(found.values()))
    medians = (f"{tier} {' / '.join(number(of[tier]['median']) for of in found.values())}" for tier in tiers)
    return f"Weights in the fused score, median of {names}: {', '.join(medians)}."


def carried(result: Mapping[str, Any]) -> str:
    """Return which branch carries which tier; empty without intervals, and for a system of one branch."""
    found = result.get("carried")
    if not found:
        return ""

    def listed(tier: str, names: Sequence[str]) -> str:
        return ", ".join(f"{name} {number(result['tiers'][tier][name]['auc'])}" for name in names)

    above = "; ".join(f"{tier} by {listed(tier, of['above']) or 'none'}" for tier, of in found.items())
    below = "; ".join(f"{tier} by {listed(tier, of['below'])}" for tier, of in found.items() if of["below"])
    return f"Carried (interval of AUC above 0.5): {above}." + (
        f" Scored lower than real clips (interval below 0.5): {below}." if below else ""
    )


def in_sync(result: Mapping[str, Any]) -> str:
    """Return on which side of real clips the consistency of fakes is; empty without a log-ratio of consistency."""
    found = result.get("less_in_sync")
    if not found:
        return ""
    values = ", ".join(f"{tier} {with_interval(of, 'auc')}" for tier, of in found.items())
    return f'AUC of "less in sync than real clips", without a classifier (below 0.5: more in sync): {values}.'


def worst(result: Mapping[str, Any], name: str) -> str:
    """Return the worst group, or why none is named; empty for a single group."""
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
    """Return the note on the first table."""
    others = ""
    if "visual" in result["branches"]:
        others = "the visual branch takes frames and audio."
    if "consistency" in result["branches"]:
        others = (
            "the picture branch takes frames only, so it cannot detect fake audio with real video (RVFA); "
            "the consistency branch takes the movement of the mouth and the audio."
        )
    if others:
        others = f" The audio branch takes audio only, so it cannot detect fake video with real audio (FVRA); {others}"
    rule = result["pooling"]["windows"]
    pooled = {"mean": "the mean", "max": "the maximum"}.get(rule, f"the mean of the {rule.removeprefix('top')} largest")
    score = f"{pooled} of P(fake) over its windows"
    score += "; the last row has every window of 3 s on its own" if result["windows"] else ""
    if rule == OF_FILES:
        score = "that of its file"
    return (
        "Area under the ROC curve of each tier's fakes against the real clips: 0.5 is chance, 1 is perfect. Below it, "
        f"the bootstrap 95 % interval over identities. A clip's score is {score}. Label 1 is fake for every branch."
        f"{others}"
    )


def about_carried(result: Mapping[str, Any]) -> str:
    """Return the note on the table of the branches that carry a tier."""
    text = (
        "A branch carries a tier if the 95 % interval of its AUC lies above 0.5; the highest AUC comes first. If the "
        "interval lies below 0.5, it scores these fakes lower than real clips."
    )
    if result.get("less_in_sync"):
        text += (
            " Less in sync: AUC of the negative log-ratio of consistency, mean over a clip's frames, before any "
            "classifier. It has two sides: dubs are less in sync than real clips (above 0.5); some talking heads are "
            "more in sync than real clips (below 0.5), which is evidence as well."
        )
    return text


def about_windows(result: Mapping[str, Any]) -> str:
    """Return the note on the table of windows."""
    overall = result["windows"]
    return (
        f"Every window is judged by its own label: {overall['fake_clips']} of {overall['clips']} contain fake audio or "
        "video. A tier is compared with the windows of real clips, its real windows count as real; the kinds of fake "
        'windows are compared with all windows without anything fake; "both" includes fakes of unknown kind.'
    )


def about_localisation(result: Mapping[str, Any]) -> str:
    """Return the note on the table of localisation."""
    found = result["localisation"]
    left_out = f" {found['left_out']} clips that are fake throughout are left out." if found["left_out"] else ""
    return (
        f"{found['periods']} fake periods in {found['partly_fake']} of {found['clips']} clips.{left_out} Proposals are "
        "the stretches in which the score stays above a level, at up to 64 levels, ranked by their mean score. AP is "
        "over all proposals of all clips, a period counts once; AR is the fraction of periods that the best 50, 20 or "
        "10 proposals of a clip find, the mean over IoU 0.5 to 0.95. A score from windows is constant over 3 s, or a "
        "mean where windows overlap: short periods need overlapping windows (media.hop) or the steps of the windows."
    )


def about_metrics(result: Mapping[str, Any]) -> str:
    """Return the note on the table of all metrics."""
    reals = result["overall"]["clips"] - result["overall"]["fake_clips"]
    text = (
        "AP depends on the proportion of fakes, so its chance level is given; that of EER and balanced accuracy is "
        "0.5. "
        f"TPR at 1 % FPR allows {reals // 100} of the {reals} real clips to be called fake, at 0.1 % {reals // 1000}. "
        f"minDCF is that of ASVspoof 5: fakes have a prior of {DCF_PRIOR}, a missed fake costs {DCF_MISS:.0f} and a "
        f"false alarm {DCF_ALARM:.0f}; 0 is perfect, 1 no better than a constant answer."
    )
    fitted = result["fitted"]
    if TUNED in result["overall"][result["main"]]:
        values = ", ".join(f"{b} {' / '.join(map(number, of['eer_threshold']))}" for b, of in fitted.items())
        return f"{text} Thresholds from validation: {escape(values)}."
    return (
        f"{text} Balanced accuracy is at the threshold 0.5; evaluate the validation split first for a chosen threshold."
    )


def about_calibration(result: Mapping[str, Any]) -> str:
    """Return the note on the table of calibration."""
    fitted = result["fitted"].get(result["main"])
    here = result["overall"]["prevalence"]
    prior = f" In validation {fitted['prevalence']:.1%} of the clips were fake, here" if fitted else " Here"
    return (
        f"ECE of P(fake) over {BINS} bins of equal size; by chance is the ECE of calibrated scores on as many clips. "
        "The temperature is fitted by likelihood on validation clips of the trained tiers, never on the clips tested "
        f"here.{prior} {here:.1%} are; where fakes are rarer, all these probabilities are too high."
    )


def about_groups(result: Mapping[str, Any]) -> str:
    """Return the note on the table of groups."""
    named = " ".join(filter(None, (worst(result, name) for name in result["groups"])))
    return (
        f"{escape(named)} Fakes of a method are compared with all real clips, those of a group with the group's own. A "
        f"group needs {MIN_IDENTITIES} identities and {MIN_CLIPS} clips of each class. The worst of several groups is "
        "partly low by chance: consider its interval."
    )
