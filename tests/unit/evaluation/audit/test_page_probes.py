"""Shortcut probes by page: cues planted on all pages or on one are found, and nothing else."""

import numpy as np
import pytest

from avdfd.evaluation.audit import page_probes
from avdfd.evaluation.pages import page_metrics
from avdfd.report.pages import pages_text
from tests.unit.elements import meta
from tests.unit.evaluation.test_pages import clips_of_pages, make_page


@pytest.fixture
def folds():
    """Two folds of three pages of 24 identities each, with a real clip and a fake of every identity."""
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
    """Random cues of every clip; the fakes of the pages in `louder` are louder."""
    rng = np.random.default_rng(0)
    metas = folds[0][0] + folds[0][1]
    return {
        m.source: {
            "loudness": float(rng.standard_normal() + 4 * (m.label and m.page in louder)),
            "duration": float(rng.standard_normal()),
        }
        for m in metas
    }


def test_a_cue_of_all_pages_is_found_on_new_pages(folds):
    found = page_probes.probe_pages(cues_of(folds, {f"page{n}" for n in range(6)}), folds)
    assert found["loudness"]["mean"]["auc"]["value"] > 0.9
    assert found[page_probes.ALL]["mean"]["auc"]["value"] > 0.9
    assert abs(found["duration"]["mean"]["auc"]["value"] - 0.5) < 0.1
    assert found["loudness"]["mean"]["pair_accuracy"]["value"] > 0.9


def test_a_cue_planted_on_one_page_is_found_there(folds):
    found = page_probes.probe_pages(cues_of(folds, {"page2"}), folds)
    within = found["loudness"]["within"]
    assert max(within, key=lambda page: within[page]) == "page2"
    assert within["page2"] > 0.9
    assert max(auc for page, auc in within.items() if page != "page2") < 0.75
    metrics = page_metrics(clips_of_pages(make_page("p", [0], [1])), "audio", replicates=20, seed=0)
    line = next(line for line in pages_text(metrics, found).splitlines() if "loudness" in line)
    assert line.endswith("(page2)")


def test_no_cue_is_chance(folds):
    found = page_probes.probe_pages(cues_of(folds, set()), folds)
    for name in ("loudness", "duration", page_probes.ALL):
        low, high = found[name]["mean"]["auc"]["interval"]
        assert low < 0.55
        assert high > 0.45
