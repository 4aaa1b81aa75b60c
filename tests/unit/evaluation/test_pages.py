"""Metrics by page: AUC within each page, pairs of a fake and its original, and their means over pages."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from avdfd.evaluation.grouped_metrics import grouped_metrics
from avdfd.evaluation.pages import page_metrics, pair_wins
from avdfd.evaluation.pooling import pool
from avdfd.inference.scoring import Scores
from avdfd.report.pages import branches_text, pages_html, pages_text
from tests.unit.elements import meta

DRAWN = {"replicates": 1000, "seed": 0}


def make_page(page, real, fake, method="m"):
    """Metadata and score of real clips with these scores and of a fake of each with that score."""
    sources = [f"{page}/{n}" for n in range(max(len(real), len(fake)))]
    facts = {"page": page, "method": method}
    reals = [(meta(s, "RVRA", source=s, base=s, **facts), x) for s, x in zip(sources, real, strict=False)]
    fakes = [(meta(s, "RVFA", source=f"{s}_{method}", base=s, **facts), x) for s, x in zip(sources, fake, strict=False)]
    return reals + fakes


def clips_of_pages(*pages):
    rows = [row for page in pages for row in page]
    metas = [meta for meta, _ in rows]
    return pool(metas, Scores([meta.key for meta in metas], {"audio": np.array([score for _, score in rows])}))


def test_every_page_is_compared_with_itself_and_pages_are_averaged():
    one, two = make_page("one", [0.1, 0.6], [0.2, 0.5]), make_page("two", [5.0, 6.0], [7.0, 6.0])
    metrics = page_metrics(clips_of_pages(one, two, make_page("real only", [0.9], [])), "audio", **DRAWN)
    assert list(metrics["pages"]) == ["one", "two"]
    assert (metrics["pages"]["one"]["clips"], metrics["pages"]["one"]["fakes"]) == (4, 2)
    assert metrics["pages"]["one"]["auc"] == pytest.approx(roc_auc_score([0, 0, 1, 1], [0.1, 0.6, 0.2, 0.5]))
    assert metrics["pages"]["one"]["pair_accuracy"] == 0.5  # above 0.1, below 0.6
    assert metrics["pages"]["two"]["pair_accuracy"] == 0.75  # above 5, equal to 6
    assert metrics["mean"]["auc"]["value"] == pytest.approx((0.5 + 0.875) / 2)
    assert metrics["mean"]["auc"]["interval"] == pytest.approx([0.5, 0.875])  # one page twice, or the other
    assert metrics["mean"]["pair_accuracy"]["pages"] == 2
    assert metrics["methods"] == {"m": {"fakes": 4, "auc": pytest.approx((0.5 + 0.875) / 2)}}


def test_fakes_without_an_original_have_no_pair():
    alone = (meta("x", "RVFA", source="p/x", base="p/x", page="p", method="tts"), 0.9)
    metrics = page_metrics(clips_of_pages([*make_page("p", [0.1], []), alone]), "audio", **DRAWN)
    assert metrics["pages"]["p"]["pairs"] == 0
    assert metrics["pages"]["p"]["pair_accuracy"] is None
    assert metrics["mean"]["pair_accuracy"] == {"value": None, "interval": None, "pages": 0}
    assert "AUC 1.000" in pages_text(metrics)


def test_windows_of_a_clip_are_averaged():
    metas = [meta("a", "RVRA", window=0, page="p"), meta("a", "RVFA", page="p"), meta("a", "RVRA", window=1, page="p")]
    clips = pool(metas, Scores([m.key for m in metas], {"audio": np.array([0.2, 0.7, 0.4])}))
    assert list(zip(clips.label, clips.facts["page"], clips.scores["audio"][0], strict=True)) == [
        (0, "p", pytest.approx(0.3)),
        (1, "p", 0.7),
    ]


def test_several_runs_have_the_mean_over_runs():
    metas = [meta for meta, _ in make_page("p", [0, 0], [0, 0])]
    scores = np.array([[0.1, 0.6, 0.2, 0.5], [0.1, 0.2, 0.3, 0.4]])
    clips = pool(metas, Scores([m.key for m in metas], {"audio": scores}))
    assert pair_wins(clips, "audio").tolist() == [1.0, 0.5]
    metrics = page_metrics(clips, "audio", **DRAWN)
    assert metrics["pages"]["p"]["auc"] == pytest.approx((0.5 + 1) / 2)
    assert metrics["pages"]["p"]["pair_accuracy"] == 0.75
    assert page_metrics(clips, "audio", replicates=0, seed=0)["mean"]["auc"]["interval"] is None


def test_every_system_of_a_report_has_its_pages():
    """A planted page, on which one system is wrong about everything, is shown as such."""
    rows = [*make_page("one", [0.1, 0.3], [0.6, 0.8]), *make_page("two", [0.1, 0.3], [0.6, 0.8])]
    metas, scores = [meta for meta, _ in rows], np.array([score for _, score in rows])
    wrong = np.where([meta.page == "two" for meta in metas], 1 - scores, scores)
    clips = pool(metas, Scores([m.key for m in metas], {"audio": scores, "other": wrong}))
    fitted = {"audio": {"eer_threshold": [0.5], "temperature": [None]}}
    result = grouped_metrics(clips, "audio", ["audio"], fitted, **DRAWN)
    pages = result["pages"]
    assert [pages["other"]["pages"][name]["auc"] for name in ("one", "two")] == [1.0, 0.0]
    assert pages["other"]["mean"]["pair_accuracy"]["value"] == 0.5
    assert pages["audio"]["mean"]["auc"]["value"] == result["overall"]["audio"]["auc"] == 1.0
    assert result["overall"]["audio"]["balanced_accuracy_at_validation_eer"] == 1.0, "pooled, beside the pages"
    assert branches_text(pages).splitlines()[2].split()[:2] == ["other", "0.500"]
    assert "<th scope=row>two</th>" in pages_html(result)


def test_without_a_known_page_there_is_no_section():
    clips = clips_of_pages(make_page("unknown", [0.1], [0.9]))
    result = grouped_metrics(clips, "audio", ["audio"], {}, replicates=0, seed=0)
    assert result["pages"] is None
    assert pages_html(result) == ""
