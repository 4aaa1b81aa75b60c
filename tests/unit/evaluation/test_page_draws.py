"""Pages over several draws of the codecs: means, intervals that include the draws, and what is refused."""

import json

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.evaluation.grouped_metrics import FALSE_ALARMS, MISSES
from avdfd.evaluation.page_draws import Draw, pool_draws, read_draws
from avdfd.report.pages import draws_text


def draw(*aucs, pairs=0.5, **pooled):
    pages = {
        f"p{n}": {"clips": 10, "fakes": 5, "auc": auc, "eer": 1 - auc, "pair_accuracy": pairs if n else None}
        for n, auc in enumerate(aucs)
    }
    return Draw(pages, pooled)


def write(tmp_path, name, one):
    content = {"pages": one.pages, "mean": {}, "methods": {}} | ({"pooled": one.pooled} if one.pooled else {})
    (tmp_path / f"{name}-pages.json").write_text(json.dumps(content))
    return str(tmp_path / name)


def test_means_over_draws_and_pages(tmp_path):
    stems = [write(tmp_path, "a", draw(0.5, 0.9)), write(tmp_path, "b", draw(0.7, 0.7))]
    found = pool_draws(read_draws(",".join(stems)), replicates=200, seed=0)
    assert found["draws"] == 2
    assert found["pages"]["p0"]["auc"] == pytest.approx(0.6)
    assert found["pages"]["p0"]["auc_draws"] == [0.5, 0.7]
    assert found["pages"]["p0"]["pair_accuracy"] is None
    assert found["mean"]["auc"]["value"] == pytest.approx(0.7)
    assert found["mean"]["auc"]["draws"] == pytest.approx([0.7, 0.7])
    assert found["mean"]["pair_accuracy"]["value"] == 0.5
    assert found["mean"]["pair_accuracy"]["pages"] == 1
    assert found["worst"] == "p0"


def test_pooled_figures_come_before_those_within_pages(tmp_path):
    """And only where all draws have them: files of earlier versions have none, or no EER."""
    pooled = [{"auc": auc, FALSE_ALARMS: 0.3, MISSES: 0.2, "auc_interval": None, "clips": 20} for auc in (0.6, 0.7)]
    stems = [write(tmp_path, str(n), draw(0.5, 0.9, **one)) for n, one in enumerate(pooled)]
    found = pool_draws(read_draws(",".join(stems)), replicates=0, seed=0)
    assert found["pooled"] == {
        "auc": {"value": pytest.approx(0.65), "draws": [0.6, 0.7]},
        FALSE_ALARMS: {"value": pytest.approx(0.3), "draws": [0.3, 0.3]},
        MISSES: {"value": pytest.approx(0.2), "draws": [0.2, 0.2]},
    }
    head, row, *_ = draws_text({"ours": found}).splitlines()
    assert head.startswith("all clips pooled (each draw)  AUC ")
    assert row.startswith("ours                          0.650 (0.600, 0.700)  -    0.300 (0.300, 0.300)")
    pooled = [{**one, "eer": eer} for one, eer in zip(pooled, (0.4, 0.3), strict=True)]
    found = pool_draws([draw(0.5, 0.9, **one) for one in pooled], replicates=0, seed=0)
    assert found["pooled"]["eer"] == {"value": pytest.approx(0.35), "draws": [0.4, 0.3]}
    assert "0.650 (0.600, 0.700)  0.350 (0.400, 0.300)  0.300" in draws_text({"ours": found})
    former = write(tmp_path, "former", draw(0.5, 0.9))
    found = pool_draws(read_draws(f"{stems[0]},{former}"), replicates=0, seed=0)
    assert found["pooled"] == {}
    assert draws_text({"ours": found}).startswith("mean over pages and draws")


def test_intervals_include_the_draws():
    """Pages that are all equal leave the draws as the only source of variance, and the other way round."""
    same = [draw(*[value] * 9) for value in (0.5, 0.6, 0.7)]
    low, high = pool_draws(same, replicates=4000, seed=0)["mean"]["auc"]["interval"]
    # Means of two draws of three with replacement: the extremes are the lowest and the highest draw.
    assert (low, high) == pytest.approx((0.5, 0.7))
    of_pages = pool_draws([draw(*np.linspace(0.4, 0.8, 9))] * 3, replicates=4000, seed=0)["mean"]["auc"]
    assert of_pages["deviation"] == 0
    spread = np.linspace(0.4, 0.8, 9).std() / 3
    assert np.subtract(*of_pages["interval"][::-1]) == pytest.approx(2 * 1.96 * spread, rel=0.1)
    [single] = [pool_draws(same[:1], replicates=100, seed=0)["mean"]["auc"]]
    assert single["deviation"] is None
    assert single["interval"] == pytest.approx([0.5, 0.5])
    assert pool_draws(same, replicates=0, seed=0)["mean"]["auc"]["interval"] is None


def test_wrong_draws(tmp_path):
    good = write(tmp_path, "good", draw(0.5, 0.9))
    with pytest.raises(
        UserError,
        match=r"none-pages\.json: no such file; --folds of pretrain\.py or baseline\.py writes it, with --name=none",
    ):
        read_draws(f"{good},{tmp_path / 'none'}")
    other = write(tmp_path, "other", draw(0.5))
    with pytest.raises(UserError, match="page p1 has None clips, in the first draw 10"):
        read_draws(f"{good},{other}")
    for damage in (
        "[]",
        "{",
        '{"pages": {"p0": {}}}',
        '{"pages": 1}',
        '{"pages": {"p0": 1}}',
        '{"pages": {}, "pooled": 1}',
    ):
        (tmp_path / "bad-pages.json").write_text(damage)
        with pytest.raises(UserError, match=r"bad-pages\.json: damaged"):
            read_draws(str(tmp_path / "bad"))
