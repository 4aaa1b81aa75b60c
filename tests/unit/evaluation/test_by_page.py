"""Judging page by page: what the numbers are, and that shortcuts are found under the same protocol."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from avdfd.evaluation import by_page
from avdfd.evaluation.by_page import Judged
from tests.unit.elements import meta


def clips(page, real, fake, method="m"):
    """Real clips with these scores, and of each the fake with that score."""
    found = [Judged(f"{page}/{n}", f"{page}/{n}", page, "real", 0, score) for n, score in enumerate(real)]
    return found + [Judged(f"{page}/{n}_{method}", f"{page}/{n}", page, method, 1, s) for n, s in enumerate(fake)]


def test_pages_are_judged_by_themselves_and_averaged():
    one, two = clips("one", [0.1, 0.6], [0.2, 0.5]), clips("two", [5.0, 6.0], [7.0, 6.0])
    judged = by_page.judge([*one, *two, *clips("real only", [0.9], [])])
    assert list(judged["pages"]) == ["one", "two"]
    assert judged["pages"]["one"]["auc"] == pytest.approx(roc_auc_score([0, 0, 1, 1], [0.1, 0.6, 0.2, 0.5]))
    assert judged["pages"]["one"]["pair_accuracy"] == 0.5  # above 0.1, below 0.6
    assert judged["pages"]["two"]["pair_accuracy"] == 0.75  # above 5, level with 6
    assert judged["mean"]["auc"]["value"] == pytest.approx((0.5 + 0.875) / 2)
    assert judged["mean"]["auc"]["interval"] == pytest.approx([0.5, 0.875])  # one page twice, or the other
    assert judged["mean"]["pair_accuracy"]["pages"] == 2
    assert judged["methods"] == {"m": {"fakes": 4, "auc": pytest.approx((0.5 + 0.875) / 2)}}


def test_fakes_without_an_original_have_no_pair():
    fake = Judged("p/x", "p/x", "p", "tts", 1, 0.9)
    judged = by_page.judge([*clips("p", [0.1], []), fake])
    assert judged["pages"]["p"]["pairs"] == 0
    assert judged["pages"]["p"]["pair_accuracy"] is None
    assert judged["mean"]["pair_accuracy"] == {"value": None, "interval": None, "pages": 0}
    assert "AUC 1.000" in by_page.as_text(judged)


def test_windows_of_a_clip_are_averaged():
    metas = [meta("a", "RVRA", window=0, page="p"), meta("a", "RVFA", page="p"), meta("a", "RVRA", window=1, page="p")]
    found = by_page.clips_of(metas, [0.2, 0.7, 0.4])
    assert [(clip.label, clip.page, clip.score) for clip in found] == [(0, "p", pytest.approx(0.3)), (1, "p", 0.7)]


@pytest.fixture
def folds():
    """Two folds of three pages of 24 people each, with a real clip and a fake of everybody."""
    names = [f"page{n}" for n in range(6)]
    metas = {
        page: [
            meta(f"{page}-{i}", tier, page=page, base=f"{page}/{i}/RVRA", source=f"{page}/{i}/{tier}")
            for i in range(24)
            for tier in ("RVRA", "RVFA-SVC")
        ]
        for page in names
    }
    halves = [[m for page in part for m in metas[page]] for part in (names[:3], names[3:])]
    return [(halves[0], halves[1]), (halves[1], halves[0])]


def cues_of(folds, louder):
    """Loudness of every clip, without meaning but where `louder` says that a page's fakes have more of it."""
    rng = np.random.default_rng(0)
    metas = folds[0][0] + folds[0][1]
    return {
        m.source: {
            "loudness": float(rng.standard_normal() + 4 * (m.label and m.page in louder)),
            "duration": float(rng.standard_normal()),
        }
        for m in metas
    }


def test_a_cue_of_all_pages_is_caught_on_pages_not_seen(folds):
    found = by_page.probe(cues_of(folds, {f"page{n}" for n in range(6)}), folds)
    assert found["loudness"]["mean"]["auc"]["value"] > 0.9
    assert found[by_page.ALL]["mean"]["auc"]["value"] > 0.9
    assert abs(found["duration"]["mean"]["auc"]["value"] - 0.5) < 0.1
    assert found["loudness"]["mean"]["pair_accuracy"]["value"] > 0.9


def test_a_cue_planted_on_one_page_is_caught_there(folds):
    found = by_page.probe(cues_of(folds, {"page2"}), folds)
    within = found["loudness"]["within"]
    assert max(within, key=lambda page: within[page]) == "page2"
    assert within["page2"] > 0.9
    assert max(auc for page, auc in within.items() if page != "page2") < 0.75
    line = next(
        x for x in by_page.as_text(by_page.judge([*clips("p", [0], [1])]), found).splitlines() if "loudness" in x
    )
    assert line.endswith("(page2)")


def test_no_cue_is_chance(folds):
    found = by_page.probe(cues_of(folds, set()), folds)
    for name in ("loudness", "duration", by_page.ALL):
        low, high = found[name]["mean"]["auc"]["interval"]
        assert low < 0.55
        assert high > 0.45
