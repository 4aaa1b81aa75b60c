"""The page and the figures, from made-up scores."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from avdfd import plots, report
from avdfd.evaluation import Clip, as_csv, draw, judge, tiers_of

BRANCHES = ("audio", "visual", "fused")
TIERS = {"RVRA": (0, 0), "RVFA": (0, 1), "FVRA": (1, 0), "RVFA-SVC": (0, 1)}


def made_up_clips(branches=BRANCHES, identities=6, seed=0) -> list[Clip]:
    """Two clips per identity and tier; each branch sees what it can, with noise."""
    rng = np.random.default_rng(seed)
    clips = []
    for tier, (video, audio) in TIERS.items():
        for number in range(2 * identities):
            scores = dict(zip(BRANCHES, rng.normal((2 * audio, 2 * video, audio + video), 1), strict=True))
            p = {branch: float(1 / (1 + np.exp(-scores[branch]))) for branch in branches}
            weight = float(rng.random()) if "fused" in branches else None
            label, identity = int(video or audio), f"id{number // 2}"
            clips.append(Clip(f"{tier}/{identity}/{number}.mp4", tier, label, identity, 2, p, weight, weight))
    return clips


def made_up_result(clips: list[Clip] | None = None, **changes: Any) -> dict[str, Any]:
    clips = clips or made_up_clips()
    about: dict[str, Any] = {"run": "runs/x", "kind": "train", "split": "test", "elements": "data/x", "against": {}}
    about |= {"checkpoint_sha256": "00" * 32, "git": "abc", "device": "cpu", "bootstrap": 50, "seed": 0}
    about["config"] = {"name": "<script>alert(1)</script>"}
    return about | judge(clips, tuple(clips[0].scores), list(clips[0].scores)[-1], {}, replicates=50, seed=0) | changes


class Page(HTMLParser):
    """Collects what a test asks of the page and checks that elements are closed in order."""

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
        if self.open and self.open[-1] == "style":
            return
        self.text.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def test_page_is_well_formed_and_needs_nothing_else():
    clips = made_up_clips()
    html = report.build(made_up_result(clips), draw(clips, BRANCHES, "fused"))
    page = Page(html)
    assert len(page.images) == 4
    assert all(str(link).startswith("data:image/svg+xml;base64,") for link in page.links)
    assert all(image["alt"] for image in page.images)
    assert not re.search(r"<script|@import|url\(", html)
    assert "<script>alert" in "".join(page.text)  # of the config, as text


def test_verdict_table_comes_first_and_says_what_report_json_says():
    result = made_up_result()
    rows = Page(report.build(result, {})).rows
    assert rows[0] == ["AUC", *BRANCHES, "fakes", "identities"]
    assert [row[0] for row in rows[1:5]] == ["overall", "RVFA", "FVRA", "RVFA-SVC"]
    fvra = result["tiers"]["FVRA"]
    for branch, cell in zip(BRANCHES, rows[3][1:4], strict=True):
        low, high = fvra[branch]["auc_interval"]
        assert cell == f"{fvra[branch]['auc']:.3f}{low:.3f} – {high:.3f}"
    assert rows[3][4:] == ["12", "6"]


def test_warns_of_shortcuts_and_few_identities():
    probes = {"RVFA": {"loudness": 0.93, "duration": 0.55}, "FVRA": {"loudness": 0.6, "duration": 0.61}}
    result = made_up_result(probes=probes)
    assert report.shortcuts(result) == [("RVFA", "loudness", 0.93), ("FVRA", "duration", 0.61)]
    text = "".join(Page(report.build(result, {})).text)
    assert "loudness on RVFA (0.930), duration on FVRA (0.610)." in text
    assert "Only 6 identities" in text
    many = "".join(Page(report.build(made_up_result(made_up_clips(identities=25)), {})).text)
    assert "Shortcut" not in many
    assert "identities: take" not in many


def test_text_table_is_aligned():
    result = made_up_result(probes={"RVFA": {"loudness": 0.93}})
    auc, rest, probes = report.as_text(result).split("\n\n")
    lines = auc.splitlines()
    assert lines[0].split() == ["AUC", "clips", "identities", *BRANCHES]
    starts = [[m.start() for m in re.finditer(r"\d\.\d{3} \[", line)] for line in lines[1:]]
    assert len(starts) == 4
    assert all(s == starts[0] and len(s) == 3 for s in starts)
    assert rest.startswith("fused")
    assert "EER" in rest
    assert probes.splitlines()[1].split() == ["RVFA", "0.930"]


def test_stage_1_has_one_branch_and_no_weights():
    clips = made_up_clips(branches=("audio",))
    result, figures = made_up_result(clips), draw(clips, ("audio",), "audio")
    assert "weights" not in figures
    assert result["weight_audio"] == {}
    assert Page(report.build(result, figures)).rows[0] == ["AUC", "audio", "fakes", "identities"]
    assert "visual" not in report.as_text(result)


def test_no_interval_is_shown_where_there_is_none():
    clips = made_up_clips(identities=1)
    result = json.loads(json.dumps(made_up_result(clips)))
    assert result["overall"]["fused"]["auc_interval"] is None
    assert "[" not in report.as_text(result)
    assert Page(report.build(result, {})).rows[1][3] == f"{result['overall']['fused']['auc']:.3f}"


def test_figures_are_the_same_every_time():
    clips = made_up_clips()
    assert draw(clips, BRANCHES, "fused") == draw(clips, BRANCHES, "fused")


def test_roc_figure_draws_the_counts():
    figure = plots.roc_curves({"fused": ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])})
    line = figure.axes[0].lines[1]
    assert np.asarray(line.get_xydata()).tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert line.get_label() == "fused  0.750"


def test_distributions_put_every_clip_in_a_bar():
    scores = {tier: np.array([c.scores["fused"] for c in clips]) for tier, clips in tiers_of(made_up_clips()).items()}
    figure = plots.distributions(scores | {"FAKE": np.array([0.0, 1.0])})
    counts = [*(len(values) for values in scores.values()), 2]
    heights = [sum(bar.get_height() for bar in axes.containers[0]) for axes in figure.axes]
    assert heights == counts


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_timeline_covers_the_span(suffix, magic):
    times = np.arange(4) * 1.536 + 1.536
    strip = [(t, np.full((8, 8, 3), int(20 * t), np.uint8)) for t in np.arange(0, 7, 0.25)]
    tracks = {b: plots.Track(times, np.linspace(0, 1, 4)) for b in BRANCHES}
    grid = np.zeros((14, 14))
    seen = plots.Seen(
        strip=[(t, frame, grid + t) for t, frame in strip],
        scores=tracks,
        w_audio=plots.Track(times, times / 10),
        discrepancy=plots.Track(times, times),
        sound=(np.zeros((128, 240)), np.linspace(0, 7.68, 241)),
        audio_effect=plots.Track(times, -times),
    )
    figure = plots.timeline("a $file$_.mp4", seen, span=(0, 7.68), threshold=0.5)
    film, heated, discrepancy, sound, effect, scores, weight = figure.axes
    shown = [int(np.asarray(image.get_array())[0, 0, 0]) for image in film.images]
    assert shown == sorted(shown)
    assert len(set(shown)) == 10
    heat = [float(np.asarray(image.get_array())[0, 0]) for image in heated.images[1::2]]
    assert heat == sorted(heat)
    assert {axes.get_xlim() for axes in (film, heated, discrepancy, sound, effect, scores, weight)} == {(0, 7.68)}
    assert [line.get_label() for line in scores.lines[1:]] == list(BRANCHES)[::-1]
    heard = plots.timeline("a", plots.Seen([], {"audio": tracks["audio"]}), span=(0, 7.68), threshold=0.5)
    assert len(heard.axes) == 1
    assert plots.encode(figure, suffix).startswith(magic)


def test_over_time_means_where_windows_overlap():
    step = 3.072 / 4
    values = np.array([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    track = plots.over_time(np.array([0, 2 * step]), values)
    assert track.times == pytest.approx((np.arange(6) + 0.5) * step)
    assert track.values == pytest.approx([0, 1, 3, 4, 6, 7])


def test_csv_keeps_every_digit():
    clips = made_up_clips()
    lines = as_csv(clips, BRANCHES).splitlines()
    assert lines[0] == "clip,tier,label,identity,windows,audio,visual,fused,weight_audio,discrepancy"
    row = lines[1].split(",")
    assert row[:5] == ["RVRA/id0/0.mp4", "RVRA", "0", "id0", "2"]
    assert [float(v) for v in row[5:8]] == [clips[0].scores[b] for b in BRANCHES]
