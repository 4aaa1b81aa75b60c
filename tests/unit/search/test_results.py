"""States, numbers and tables of a search, from synthetic run folders."""

import csv
import json
import math

import pytest

from avdfd.config import SearchConfig, parse
from avdfd.core.files import locked
from avdfd.search import results
from avdfd.search.points import expand
from avdfd.search.results import LOCK, LOG, best_of, ranked, result_of


@pytest.fixture
def runs(tmp_path):
    """Return the runs of three settings with two seeds, by name."""
    base = tmp_path / "base.json"
    base.write_text(json.dumps({"kind": "pretrain", "name": "x", "data": {"splits": "s", "fake_tiers": ["RVFA"]}}))
    values = {"kind": "search", "name": "s", "runs": str(tmp_path), "config": str(base), "seeds": [0, 1]}
    cfg = parse({**values, "grid": {"optim.lr": [1.0, 2.0, 3.0]}}, SearchConfig, "")
    return {run.config.name: run for run in expand(cfg, "")}


def fill(run, *aucs, code=None, reason="", tail=""):
    """Write a run folder with epochs of 10 s each."""
    run.folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"epoch": n, "loss": 1.0, "val_auc": auc, "val_ap": 0.1, "seconds": 10.0})
        for n, auc in enumerate(aucs, 1)
    ]
    (run.folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines) + tail)
    if code is not None:
        results.record(run, code, reason)


def test_states_and_numbers(runs):
    run = runs["lr1-seed0"]
    assert result_of(run) == (run, "not started", "", None, None, 0, 0.0)
    fill(run)
    assert result_of(run).state == "not started"
    (run.folder / LOG).touch()
    assert result_of(run).state == "unfinished"
    fill(run, 0.6, 0.8, 0.8, tail='{"epoch": 4, "val_a')
    assert result_of(run) == (run, "unfinished", "", 0.8, 2, 3, 30.0)
    with locked(run.folder / LOCK, run.folder):
        assert result_of(run)[1:] == ("running", "", 0.8, 2, 3, 30.0)
    results.record(run, 75, "")
    assert result_of(run).state == "unfinished"
    results.record(run, 1, "out of memory")
    assert result_of(run)[1:3] == ("failed", "out of memory")
    results.forget(run)
    assert result_of(run).state == "unfinished"
    results.record(run, 0, "")
    assert result_of(run)[1:] == ("done", "", 0.8, 2, 3, 30.0)


def test_epochs_with_nan_are_ignored(runs):
    fill(runs["lr1-seed0"], math.nan, 0.7, math.nan, code=0)
    assert result_of(runs["lr1-seed0"])[3:5] == (0.7, 2)
    fill(runs["lr1-seed1"], math.nan, code=0)
    assert result_of(runs["lr1-seed1"])[1:3] == ("failed", "no epoch has a finite val_auc")


@pytest.fixture
def rows(runs):
    fill(runs["lr1-seed0"], 0.7, 0.9, 0.8, code=0)
    fill(runs["lr1-seed1"], 0.6, code=0)
    fill(runs["lr2-seed0"], 0.5, 0.80, code=0)
    fill(runs["lr2-seed1"], 0.84, 0.5, code=0)
    fill(runs["lr3-seed0"], 0.99, code=0)
    fill(runs["lr3-seed1"], 0.99, code=1, reason="CUDA out of memory")
    return ranked([result_of(run) for run in runs.values()])


def test_complete_settings_are_ranked_by_mean(rows):
    assert [row.point.name for row in rows] == ["lr2", "lr1", "lr3"]
    assert rows[0].mean == pytest.approx(0.82)
    assert rows[0].std == pytest.approx(0.04 / math.sqrt(2))
    assert rows[1].mean == pytest.approx(0.75)
    assert (rows[2].mean, rows[2].std, rows[2].complete) == (0.99, None, False)
    assert best_of(rows) is rows[0]
    assert best_of(rows[2:]) is None


def test_tables(rows):
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in results.as_table(rows, "auc").splitlines()]
    assert table[0] == ["", "optim.lr", "mean auc", "std", "seeds", "best epoch", "seconds", "state"]
    assert table[2:] == [
        ["1", "2.0", "0.8200", "0.0283", "2 of 2", "2, 1", "40", "done"],
        ["2", "1.0", "0.7500", "0.2121", "2 of 2", "2, 1", "40", "done"],
        ["3", "3.0", "0.9900", "", "1 of 2", "1", "20", "1 failed"],
    ]
    lines = list(csv.DictReader(results.as_csv(rows, "auc").splitlines()))
    assert [line["run"] for line in lines] == [f"lr{n}-seed{seed}" for n in (2, 1, 3) for seed in (0, 1)]
    assert lines[2] == {
        "run": "lr1-seed0", "optim.lr": "1.0", "seed": "0", "state": "done", "val_auc": "0.9", "best_epoch": "2",
        "epochs": "3", "seconds": "30.0", "reason": "",
    }  # fmt: skip
    assert lines[-1]["reason"] == "CUDA out of memory"
    page = results.as_markdown("s<b>", rows, "auc")
    assert page.startswith("# s&lt;b&gt;\n")
    assert results.markdown([["a|<i>"], ["-"]]).splitlines()[0] == "| a\\|&lt;i&gt; |"
    assert "- `lr3-seed1`: CUDA out of memory\n" in page


def test_table_before_any_run(runs):
    rows = ranked([result_of(run) for run in runs.values()])
    assert [row.mean for row in rows] == [None] * 3
    assert best_of(rows) is None
    assert results.as_table(rows, "auc").count("2 not started") == 3
