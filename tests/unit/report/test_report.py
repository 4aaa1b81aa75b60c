"""The page and the figures of synthetic scores."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from avdfd import report
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, TUNED, grouped_metrics
from avdfd.report import plots, points, voices
from avdfd.report.audit import audit_html
from avdfd.report.numbers import LOCALISED, NAMES
from tests.helpers.scored import BRANCHES, THREE, TIERS, made_up_clips, made_up_result, made_up_voices


class Page(HTMLParser):
    """Parser that collects the parts of a page and checks that elements are closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.text: list[str] = []
        self.links: list[str | None] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [v for k, v in values.items() if k in ("href", "src")]
        if tag == "img":
            self.images.append(values)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def page_of(result) -> Page:
    """Parse the page without its figures, which take long to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw", lambda _: {})
        return Page(report.build(result))


def text_of(result) -> str:
    return "".join(page_of(result).text)


def row_of(result, first: str, number: int = 0) -> list[str]:
    """Return a row of the page by its first cell."""
    return [row for row in page_of(result).rows if row and row[0] == first][number]


def metrics_of(result, branch: str) -> list[str]:
    return next(row for row in page_of(result).rows if row[:2] == ["overall", branch])


def calibration_of(result, branch: str) -> list[str]:
    return row_of(result, branch, -1)


def test_page_is_well_formed_and_needs_nothing_else():
    html = report.build(made_up_result(fitted=True))
    page = Page(html)
    assert len(page.images) == 5
    assert all(str(link).startswith(("data:image/svg+xml;base64,", "data:text/csv;")) for link in page.links)
    assert all(image["alt"] for image in page.images)
    assert not re.search(r"<script\s|@import|url\(", html)
    assert html.count("<script>") == 1  # which sorts tables; the policy of the page knows its hash
    assert "<script>alert" in "".join(page.text)  # of the config, as text
    assert "FVRA <wav2lip>" in "".join(page.text)


def test_page_is_rendered_from_the_file():
    result = made_up_result(made_up_clips((*BRANCHES, "other")), fitted=True)
    read = json.loads(json.dumps(result, allow_nan=False))
    assert page_of(read).rows == page_of(result).rows
    assert report.summary_text(read) == report.summary_text(result)


def test_first_table_shows_the_numbers_of_report_json():
    result = made_up_result()
    rows = page_of(result).rows
    assert rows[0] == ["AUC", *BRANCHES, "fakes", "identities"]
    assert [row[0] for row in rows[1:6]] == ["overall", "RVFA", "FVRAnot trained on", "RVFA-SVC", "per window"]
    fvra = result["tiers"]["FVRA"]
    for branch, cell in zip(BRANCHES, rows[3][1:4], strict=True):
        low, high = fvra[branch]["auc_interval"]
        assert cell == f"{fvra[branch]['auc']:.3f}{low:.3f} – {high:.3f}"
    assert rows[3][4:] == ["12", "6"]


def test_windows_and_localisation_are_shown():
    clips = made_up_clips()
    audio, video = np.array([TIERS[name][::-1] for name in clips.tier]).T
    windows = replace(clips, fake_seconds=np.stack([audio, video], axis=1) * 3.072)
    judged = grouped_metrics(clips, "fused", BRANCHES, {}, windows=windows, replicates=50, seed=0)
    groups = judged["window_groups"]
    assert list(groups) == ["RVFA", "FVRA", "RVFA-SVC", "fake audio alone", "fake video alone"]
    assert (groups["fake audio alone"]["clips"], groups["fake audio alone"]["fake_clips"]) == (36, 24)
    metrics = {f"{name}{end}": value for name in LOCALISED for end, value in (("", 0.25), ("_interval", [0.1, 0.5]))}
    found = {"clips": 9, "partly_fake": 4, "periods": 5, "left_out": 2}
    found["systems"] = {"fused": {"from": "windows", **metrics}, "discrepancy": {"from": "steps of windows", **metrics}}
    result = made_up_result(window_groups=groups, localisation=found)
    auc = groups["fake audio alone"]["audio"]["auc"]
    assert row_of(result, "fake audio alone")[1].startswith(f"{auc:.3f}")
    assert row_of(result, "discrepancy") == ["discrepancy", "steps of windows", *["0.2500.100 – 0.500"] * 6]
    assert "5 fake periods in 4 of 9 clips. 2 clips that are fake throughout are left out." in text_of(result)
    text = report.summary_text(result)
    assert re.search(r"localisation +from +AP at IoU 0.5 +AP at IoU 0.75 +AP at IoU 0.95 +AR of 50 ", text)
    assert re.search(rf"fake audio alone +36 +{auc:.3f} \[", text)
    assert "localisation" not in report.summary_text(made_up_result())
    assert "Where is the fake?" not in text_of(made_up_result())


def test_protocol_is_shown():
    sentence = (
        "Protocol: cross-manipulation. Trained on RVFA; tested on RVFA, FVRA, RVFA-SVC; new to it: FVRA <wav2lip>. "
        "No test identity is in the training or validation split."
    )
    assert sentence in text_of(made_up_result())
    assert sentence in report.summary_text(made_up_result())
    assert "No test identity is in the training split." in text_of(made_up_result(split="validation"))
    published = made_up_result()["protocol"] | {"name": "published weights", "trained_tiers": [], "new_kinds": []}
    text = text_of(made_up_result(protocol=published | {"shared_identities": None}))
    said = "Protocol: published weights: trained by their authors, tested on RVFA, FVRA, RVFA-SVC. "
    assert f"{said}Their training data are not known here: nothing shows" in text
    assert "Trained on" not in text
    shared = text_of(made_up_result(protocol=published | {"shared_identities": [2, 6]}))
    assert f"{said}As published: 2 of 6 clips show an identity of the training list." in shared


def test_differences_are_shown_with_their_tests():
    result = made_up_result(made_up_clips((*BRANCHES, "other")))
    pair = result["paired"]["other"]["FVRA"]
    cell = row_of(result, "other")[3]
    assert cell.startswith(f"{pair['difference']:+.3f}{pair['interval'][0]:+.3f} to {pair['interval'][1]:+.3f}p ")
    assert "p(D)" in cell
    line = next(line for line in report.summary_text(result).splitlines() if line.startswith("minus other"))
    assert f"{pair['difference']:+.3f} [{pair['interval'][0]:+.3f}, " in line


def test_calibration_is_shown_before_and_after():
    result = made_up_result(fitted=True)
    fused, fitted = result["overall"]["fused"], result["fitted"]["fused"]
    row = calibration_of(result, "fused")
    assert row[1] == f"{fitted['temperature'][0]:.2f}"
    assert row[2:4] == [f"{fused['ece']:.3f}", f"{fused['ece_calibrated']:.3f}"]
    assert row[5].startswith(f"{fused['brier']:.3f}")
    assert row[6].startswith(f"{fused['brier_calibrated']:.3f}")
    assert f"with the validation temperature {fitted['temperature'][0]:.2f} ECE" in report.summary_text(result)
    assert "In validation 75.0% of the clips were fake, here 75.0% are" in text_of(result)


def test_errors_at_the_threshold_of_validation_come_first():
    result = made_up_result(fitted=True)
    fused, [threshold] = result["overall"]["fused"], result["fitted"]["fused"]["eer_threshold"]
    line = f"All clips at the threshold {threshold:.3f} of validation, fused score: real clips called fake "
    line += f"{fused[FALSE_ALARMS]:.3f} ["
    said, page = report.summary_text(result), text_of(result)
    assert line in said
    assert page.index(line) < page.index("Does it separate fakes from real clips?")
    assert "No threshold is known from validation" in report.summary_text(made_up_result())
    assert "threshold is known" not in report.summary_text(made_up_result(split="validation"))


def test_calibration_without_validation():
    assert "no temperature, as there is no validation report of these weights" in report.summary_text(made_up_result())
    assert calibration_of(made_up_result(), "fused")[1] == "–"
    none = made_up_result(fitted={b: {"eer_threshold": [0.5], "temperature": [None], "prevalence": 0.5}
                                  for b in BRANCHES})  # fmt: skip
    assert "the likelihood on validation has no maximum" in report.summary_text(none)
    here = made_up_result()
    here["fitted"] = made_up_result(fitted=True)["fitted"]  # as validation's own report has it
    assert "the temperature of these clips is" in report.summary_text(here)


def test_another_system_may_lack_validation():
    clips = made_up_clips((*BRANCHES, "other"))
    fitted = made_up_result(clips, fitted=True)["fitted"]
    result = made_up_result(clips, fitted={b: fitted[b] for b in BRANCHES})
    assert calibration_of(result, "other")[1] == "–"
    tuned = list(NAMES).index(TUNED)
    assert metrics_of(result, "other")[3 + tuned] == "–"
    assert metrics_of(result, "fused")[3 + tuned] != "–"


def test_worst_group_is_named():
    result = made_up_result(made_up_clips(identities=40))
    group = result["groups"]["race"]
    worst, section = group["worst"], group["members"][group["worst"]]
    assert f"Worst race: {worst}, AUC {section['fused']['auc']:.3f} [" in report.summary_text(result)
    assert "160 clips of 20 identities, of 2 groups that are large enough." in report.summary_text(result)
    assert row_of(result, f"{worst} (worst)")[1].startswith(f"{section['fused']['auc']:.3f}")
    few = made_up_result()
    assert "Worst race: not named, 2 of 2 groups are too small." in report.summary_text(few)
    assert row_of(few, "African")[1] == "too few clips"


def test_several_runs_are_shown():
    result = made_up_result(made_up_clips(runs=3), fitted=True)
    text = text_of(result)
    assert "; mean of 3 runs, standard deviation 0.0" in text
    assert "runs/x0, seed 0" in text
    assert "runs/x2, seed 2" in text
    assert calibration_of(result, "fused")[1].count("/") == 2


def test_probes_that_were_left_out_are_named_once():
    missing = {"loudness": "needs waveforms; the elements have none"}
    left_out = {"elements": {"RVFA": missing, "RVFA-VC": missing}}
    audit = made_up_audit({"RVFA": {"duration": 0.5}}) | {"left_out": left_out, "unreadable": {"<a>.mp4": "no audio"}}
    said = report.summary_text(made_up_result(audit=audit))
    assert "loudness    elements  RVFA, RVFA-VC    needs waveforms; the elements have none" in said
    assert said.splitlines()[-2:] == ["file not probed  reason", "<a>.mp4          no audio"]
    assert "<td>&lt;a&gt;.mp4</td><td>no audio</td>" in audit_html(made_up_result(audit=audit))


def made_up_audit(aucs, by_chance=0.6):
    """Return an audit of files with these AUCs by tier and cue."""

    def one(auc):
        return {"auc": auc, "by_chance": by_chance, "shortcut": auc > by_chance}

    probes = {tier: {cue: one(auc) for cue, auc in cues.items()} for tier, cues in aucs.items()}
    return {"probes": {"files": probes}, "leaks": [], "clips": {}}


def test_warns_of_shortcuts_and_few_identities():
    found = {"RVFA": {"loudness": 0.93, "duration": 0.55}, "FVRA": {"loudness": 0.62, "duration": 0.71}}
    found["FVRA"]["bit_rate"] = 0.55
    result = made_up_result(audit=made_up_audit(found, by_chance=0.7))
    text = text_of(result)
    assert "loudness on RVFA (0.930), duration on FVRA (0.710)." in text
    assert "it may be chance: loudness on FVRA (0.620)." in text
    assert "Only 6 identities" in text
    many = text_of(made_up_result(made_up_clips(identities=25)))
    assert "Shortcut" not in many
    assert "intervals are too narrow" not in many


def test_warns_of_a_store_whose_windows_ground_truth_has_chosen():
    spared = "lacks 3 windows of fakes in which nothing is fake"
    result = made_up_result(left_out_by_truth=3)
    assert spared in text_of(result)
    assert spared in report.summary_text(result)
    assert "of fakes in which nothing is fake" not in text_of(made_up_result())


def test_text_table_is_aligned():
    result = made_up_result(audit=made_up_audit({"RVFA": {"loudness": 0.93}}))
    auc, rest, pairs, known, probes = report.summary_text(result).split("\n\n")
    lines = auc.splitlines()
    assert lines[0].split() == ["AUC", "clips", "identities", *BRANCHES]
    starts = [[m.start() for m in re.finditer(r"\d\.\d{3} \[", line)] for line in lines[1:]]
    assert len(starts) == 4
    assert all(s == starts[0] and len(s) == 3 for s in starts)
    assert rest.startswith("fused")
    assert "EER" in rest
    assert pairs.startswith("AUC of fused")
    assert known.splitlines()[0] == "Only 6 identities: intervals are too narrow and p values too small."
    assert known.splitlines()[1].startswith("No threshold is known from validation")
    assert known.splitlines()[2].startswith("Protocol: ")
    beside = f"{result['tiers']['RVFA']['fused']['auc']:.3f}"
    assert probes.splitlines()[1].split() == ["RVFA", "0.930", beside]


def test_three_branches():
    result = made_up_result(made_up_clips(THREE))
    assert page_of(result).rows[0] == ["AUC", *THREE, "fakes", "identities"]
    sync = result["less_in_sync"]["FVRA"]
    low, high = sync["auc_interval"]
    carried = row_of(result, "FVRA")
    assert carried == ["FVRA", "consistency", "–", f"{sync['auc']:.3f}{low:.3f} – {high:.3f}"]
    text = report.summary_text(result)
    auc = {tier: f"{of['consistency']['auc']:.3f}" for tier, of in result["tiers"].items()}
    assert re.search(
        rf"Carried \(interval of AUC above 0.5\): RVFA by audio .*; FVRA by consistency {auc['FVRA']};", text
    )
    assert f"FVRA {sync['auc']:.3f} [{low:.3f}, {high:.3f}]" in text
    assert f"Weights in the fused score, median of {' / '.join(THREE[:3])}: RVRA " in text
    assert "the consistency branch takes the movement of the mouth and the audio" in text_of(result)
    assert "discrepancy" not in text
    rows = points.weights(result)
    assert rows[0] == ["tier", "branch", "weight"]
    assert {row[1] for row in rows[1:]} == {*THREE[:3]}
    assert len(report.draw(result)["weights"].legends) == 1


def test_branches_below_chance_are_named():
    clips = made_up_clips(THREE)
    clips.scores["picture"][:] = 1 - clips.scores["consistency"]
    text = report.summary_text(made_up_result(clips))
    assert re.search(
        r"Scored lower than real clips \(interval below 0.5\): .*FVRA by " + THREE[2] + r" 0.0\d\d\.", text
    )


def test_stage_1_has_one_branch_and_no_weights():
    clips = made_up_clips(branches=("audio",))
    result = made_up_result(clips)
    assert "weights" not in report.draw(result)
    assert result["weight_audio"] == {}
    assert page_of(result).rows[0] == ["AUC", "audio", "fakes", "identities"]
    assert "Is it better" not in text_of(result)
    assert "visual" not in report.summary_text(result)


def test_order_of_voices_is_shown():
    section = made_up_voices(made_up_clips())
    result = made_up_result(voices=section)
    svc, far = section["tiers"]["RVFA-SVC"], section["steps"][1]
    assert (far["near"], far["far"]) == ("RVFA-SVC", "RVFA")
    row = next(row for row in page_of(result).rows if row[0].startswith("RVFA-SVC") and "not trained on" in row[0])
    low, high = svc["distance_interval"]
    assert row[1] == f"{svc['distance']:.3f}{low:.3f} – {high:.3f}"
    assert row[2].startswith(f"{svc['beyond']['difference']:+.3f}")
    assert row[2] == row[3]  # the first step is from RVRA
    assert row[4:] == ["12", "6"]
    line = next(line for line in report.summary_text(result).splitlines() if line.startswith("Order of voices"))
    assert f"RVFA-SVC {svc['distance']:.3f}" in line
    assert line.removeprefix("Order of voices by distance to the prototype: ")[1:] in text_of(result)
    html = voices.voices_html(result)
    assert html.count("data:image/svg+xml") == html.count("download=") == 2
    star = voices.draw(section)["embedding"].axes[0].lines[-1]
    assert [star.get_label(), *np.ravel(star.get_data())] == ["prototype", *section["map"]["prototype"]]


def test_order_of_voices_may_be_missing():
    assert "voices" not in report.summary_text(made_up_result(voices=None))
    assert "voices" not in text_of(made_up_result(voices=None))
    result = made_up_result(voices={"missing": "runs/<x>: stage 1 of runs/y is missing"})
    assert "not known. runs/<x>: stage 1 of runs/y is missing." in report.summary_text(result)
    assert "Not known. runs/<x>: stage 1 of runs/y is missing." in text_of(result)


def test_missing_intervals_are_not_shown():
    clips = made_up_clips(identities=1)
    result = json.loads(json.dumps(made_up_result(clips)))
    assert result["overall"]["fused"]["auc_interval"] is None
    assert "[" not in report.summary_text(result)
    assert page_of(result).rows[1][3] == f"{result['overall']['fused']['auc']:.3f}"


def test_figures_are_the_same_every_time():
    result = made_up_result(fitted=True)
    one, two = ({name: plots.svg(figure) for name, figure in report.draw(result).items()} for _ in range(2))
    assert one == two


def test_roc_figure_draws_the_points():
    curve = {"fpr": [0, 0, 0.5, 0.5, 1], "tpr": [0, 0.5, 0.5, 1, 1], "auc": 0.75}
    line = plots.roc_curves({"fused": curve}).axes[0].lines[1]
    assert np.asarray(line.get_xydata()).tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert line.get_label() == "fused  0.750"


def test_reliability_figure_draws_both_curves():
    result = made_up_result(fitted=True)
    calibration = result["calibration"]["fused"]
    lines = report.draw(result)["reliability"].axes[0].lines
    for line, (name, curve) in zip(lines[1:], calibration.items(), strict=True):
        assert np.asarray(line.get_xdata()).tolist() == curve["score"]
        assert np.asarray(line.get_ydata()).tolist() == curve["fakes"]
        assert line.get_label() == f"{name}  {curve['ece']:.3f}"


def test_distributions_put_every_clip_in_a_bar():
    counts = made_up_result()["curves"]["distributions"]
    figure = plots.distributions(counts | {"FAKE": [1, 0, 1]})
    heights = [sum(bar.get_height() for bar in axes.containers[0]) for axes in figure.axes]
    assert heights == [12, 12, 12, 12, 2]
