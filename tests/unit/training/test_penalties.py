"""The choice of penalties of a fitted score: inner folds, the better penalty, and what a run says of it."""

import json
from pathlib import Path

import numpy as np
import pytest

import pretrain
from avdfd.config import PretrainConfig, parse
from avdfd.core.errors import UserError
from avdfd.metrics import roc
from avdfd.splits.families import Families
from avdfd.training.fitted import Clips, centred_regression
from avdfd.training.penalties import FILE, inner_folds, penalties_of, rank
from tests.helpers.runs import SPECTRA
from tests.unit.elements import meta


def drawn(values, pages=6, per_class=8, method=lambda page: f"method {page}"):
    """Return clips of pages, as many real as fake ones, that have no identity or utterance in common."""
    metas = []
    for page in range(pages):
        for label in (0, 1):
            for number in range(per_class):
                source = f"{page}/{label}-{number}"
                facts = {"page": f"page {page}", "source": source, "base": source, "sha256": source}
                made = {"method": method(page)} if label else {}
                metas.append(meta(source, "RVFA-SVC" if label else "RVRA", identities=(source,), **facts, **made))
    labels = np.array([one.label for one in metas])
    groups = np.array([one.page for one in metas])
    return Clips(metas, values(np.random.default_rng(0), labels, groups), labels, groups)


def weak_in_many(rng, labels, groups):
    """Fakes differ by little in each of 60 values, which a strong penalty finds best."""
    return rng.normal(size=(len(labels), 60)) + 0.25 * labels[:, None]


def hidden(rng, labels, groups):
    """Fakes differ in value 0, which real clips of a page share with two values in which they vary most."""
    nuisance = 5 * rng.normal(size=len(labels))
    return np.stack([nuisance + labels, nuisance, nuisance + rng.normal(size=len(labels))], axis=1)


def config(tmp_path, **keys):
    data = {"elements": "none", "splits": str(tmp_path / "fold.csv"), "fake_tiers": ["RVFA-SVC"]}
    model = {**SPECTRA, "score": "fitted"}
    families = Path("data/splits/families.csv").resolve()
    values = {"kind": "pretrain", "name": "one", "data": data, "model": model, "fit_families": str(families), **keys}
    return parse(values, PretrainConfig, source="a config")


class Run:
    """The folder of a run, of which the lines are kept."""

    def __init__(self, path):
        self.path, self.first, self.lines = path, True, []
        self.announce = self.lines.append


def test_no_family_crosses_inner_folds():
    """Pages 0 and 1 have versions of a method, 2 and 3 a vocoder by the table."""
    names = ["DiffWave", "DiffWave-128", "one", "other", "fifth", "sixth"]
    clips = drawn(weak_in_many, method=lambda page: names[page])
    row = {"page": "", "vocoder": "HiFi-GAN", "converter": "", "year": "2020", "source": "paper"}
    table = Families([{**row, "method": "one"}, {**row, "method": "other"}])
    fakes = {
        page: {clips.metas[at].method for at in rest if clips.labels[at]}
        for page, (_, rest) in inner_folds(clips, table).items()
    }
    assert fakes == {
        "page 0": {"one", "other", "fifth", "sixth"},
        "page 1": {"one", "other", "fifth", "sixth"},
        "page 2": {"DiffWave", "DiffWave-128", "fifth", "sixth"},
        "page 3": {"DiffWave", "DiffWave-128", "fifth", "sixth"},
        "page 4": set(names) - {"fifth"},
        "page 5": set(names) - {"sixth"},
    }


def test_a_page_is_left_out_whole_and_once():
    clips = drawn(weak_in_many)
    held = inner_folds(clips, Families())
    assert sorted(at for page, _ in held.values() for at in page) == list(range(len(clips.metas)))
    for page, (positions, rest) in held.items():
        assert {clips.metas[at].page for at in positions} == {page}
        assert page not in {clips.metas[at].page for at in rest}


def test_figures_are_those_of_fits_to_all_values():
    """In the coordinates of the training clips, scores are the same."""
    clips = drawn(weak_in_many, pages=3, per_class=6)
    folds = [*inner_folds(clips, Families()).values()]
    [found] = rank(clips, folds, [0.1], [2.0])
    scores = np.empty(len(clips.labels))
    for held, rest in folds:
        centre, direction = centred_regression(*(part[rest] for part in clips[1:]), 0.1, 2.0)
        scores[held] = (clips.values[held] - centre) @ direction
    assert found.pooled == pytest.approx(roc.auc(clips.labels, scores))
    assert found.within == pytest.approx(roc.auc_within(clips.labels, scores, clips.groups))
    assert found.criterion == pytest.approx((found.within + found.pooled) / 2)


@pytest.mark.parametrize(
    ("values", "cs", "whitens", "best"),
    [(weak_in_many, [1e-4, 1e3], [0.0], (1e-4, 0.0)), (hidden, [0.1], [0.0, 10.0], (0.1, 10.0))],
)
def test_the_better_penalty_is_chosen(values, cs, whitens, best):
    clips = drawn(values)
    ranked = rank(clips, [*inner_folds(clips, Families()).values()], cs, whitens)
    assert (ranked[0].c, ranked[0].whiten) == best
    assert ranked[0].criterion > ranked[-1].criterion + 0.05


def test_of_equal_pairs_the_stronger_penalty_is_chosen():
    clips = drawn(lambda rng, labels, groups: labels[:, None] * 100.0 + rng.normal(size=(len(labels), 1)))
    ranked = rank(clips, [*inner_folds(clips, Families()).values()], [1.0, 0.1], [0.0, 1.0])
    assert [(pair.c, pair.whiten) for pair in ranked] == [(0.1, 1.0), (0.1, 0.0), (1.0, 1.0), (1.0, 0.0)]


def test_single_numbers_and_lists_of_one_are_taken_as_they_are(tmp_path):
    clips, run = drawn(weak_in_many, pages=1), Run(tmp_path)
    assert penalties_of(config(tmp_path, fit_c=0.1, fit_whiten=2.0), clips, run) == (0.1, 2.0)
    assert penalties_of(config(tmp_path, fit_c=[0.1], fit_whiten=[2.0]), clips, run) == (0.1, 2.0)
    assert not run.lines
    assert not (tmp_path / FILE).exists()


def test_too_few_pages_are_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"fold\.csv: 0 of the training pages .*give single numbers$"):
        penalties_of(config(tmp_path, fit_c=[0.1, 1.0]), drawn(weak_in_many, pages=1), Run(tmp_path))


def test_the_choice_is_logged_and_written(tmp_path):
    run = Run(tmp_path)
    chosen = penalties_of(config(tmp_path, fit_c=[1e-4, 1e3], fit_whiten=[0.0, 1.0]), drawn(weak_in_many), run)
    [line] = run.lines
    assert line.startswith(f"fit_c {chosen[0]:g} and fit_whiten {chosen[1]:g} chosen of 4 pairs by 6 training pages")
    written = json.loads((tmp_path / FILE).read_text())
    assert written["pages"] == [f"page {number}" for number in range(6)]
    assert [pair["criterion"] for pair in written["pairs"]] == sorted(
        (pair["criterion"] for pair in written["pairs"]), reverse=True
    )
    assert (written["pairs"][0]["c"], written["pairs"][0]["whiten"]) == chosen


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"fit_c": []}, "fit_c"),
        ({"fit_c": [0.1, 0.0]}, "fit_c"),
        ({"fit_whiten": [0.1, -1.0]}, "fit_whiten"),
        ({"fit_c": ["0.1"]}, "fit_c"),
        ({"fit_c": "auto"}, "fit_c"),
        ({"fit_whiten": [0.1, 0.1]}, "fit_whiten has a candidate twice"),
    ],
)
def test_candidates_are_validated(tmp_path, keys, reason):
    with pytest.raises(UserError, match=reason):
        config(tmp_path, **keys)


def test_stage_1_reports_too_few_pages(stage1, capsys):
    """The elements of the tests state no pages."""
    with pytest.raises(UserError, match="0 of the training pages can be left out"):
        pretrain.main([*stage1(model={**SPECTRA, "score": "fitted"}, augment={}), "--fit_whiten=[0.0, 1.0]"])
