"""ablate.py: rows of two stages, shared and repeated runs, evaluation, and one real ablation."""

import csv
import json
import threading

import pytest

import ablate
from avdfd.config import AblationConfig, load
from avdfd.core.errors import UserError
from avdfd.core.files import locked
from avdfd.search import queue
from avdfd.search.results import LOCK
from tests.helpers.runs import AUDIO, VISUAL, data_section, make_store

# Replaces both training scripts: records its calls. A learning rate of 7 is a failure.
TRAIN = """
import json, pathlib, sys
keys = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
assert "--resume" in sys.argv
run = pathlib.Path(keys["runs"]) / keys["name"]
with open(run.parent / "calls", "a") as calls:
    calls.write(f"{run.name}\\n")
if keys.get("optim.lr") == "7":
    sys.exit("error: the loss exploded")
if "audio" in keys:
    assert (pathlib.Path(keys["audio"]) / "best.safetensors").exists()
(run / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "val_auc": 0.5, "seconds": 1}) + "\\n")
(run / "best.safetensors").write_text(run.name)
"""
# Replaces evaluate.py: records what it evaluates; every system but the first one is worse by 0.125.
EVALUATE = """
import argparse, hashlib, json, pathlib
cli = argparse.ArgumentParser()
for name in ("--run", "--against", "--split", "--bootstrap"):
    cli.add_argument(name)
cli.add_argument("--counterfactuals", action="store_true")
args = cli.parse_args()
folders = [pathlib.Path(name) for name in args.run.split(",")]
others = [pathlib.Path(name) for name in args.against.split(",")] if args.against else []
with open(folders[0].parent / "judged", "a") as judged:
    judged.write(f"{folders[0].name}\\n")
def runs(folders):
    return [{"checkpoint_sha256": hashlib.sha256((f / "best.safetensors").read_bytes()).hexdigest()} for f in folders]
value = {"auc": 0.75 if others else 0.875, "auc_interval": [0.5, 1.0]}
value |= {"auc_deviation": 0.25} if len(folders) > 1 else {}
pair = {"difference": -0.125, "interval": [-0.25, 0.0], "p": 0.04}
report = {
    "runs": runs(folders), "against": {others[0].name: {"runs": runs(others)}} if others else {},
    "main": "fused", "branches": ["fused"],
    "overall": {"fused": value}, "tiers": {"RVFA": {"fused": value}},
    "paired": {others[0].name: {"overall": pair, "RVFA": pair}} if others else {},
}
if args.counterfactuals:
    tested = {"clips": 2, "branches": {"fused": value}}
    report["counterfactuals"] = {
        "branch": "fused", "stranger": tested, "shifts": [{"ms": 400, "both": tested}], "replaced": {},
        "verdicts": {"fused": {"uses": True}},
    }
folder = folders[0] / "eval" / (args.split + (f"-{len(folders)}-seeds" if len(folders) > 1 else ""))
folder.mkdir(parents=True, exist_ok=True)
(folder / "report.json").write_text(json.dumps(report))
"""
DATA = {"elements": "e", "splits": "s", "fake_tiers": ["RVFA"]}
ROWS = {
    "full": {},
    "audio only": {"train": None},
    "V2A instead": {"train": {"direction": "v2a"}},
    "without ordinal loss": {"pretrain": {"loss": {"ordinal": 0}}},
}
STAGE1 = ["stage1-seed0", "stage1-seed1", "stage1-ordinal0-seed0", "stage1-ordinal0-seed1"]
STAGE2 = [f"{row}-seed{seed}" for row in ("full", "v2a-instead", "without-ordinal-loss") for seed in (0, 1)]


@pytest.fixture
def make(tmp_path):
    """Return a function that writes an ablation and the configs of its stages, and returns arguments for main."""

    def make(stage1=(), stage2=(), **values):
        base = {"name": "x", "runs": "other", "data": DATA}
        (tmp_path / "1.json").write_text(json.dumps({"kind": "pretrain", **base, **dict(stage1)}))
        (tmp_path / "2.json").write_text(json.dumps({"kind": "train", "audio": "none", **base, **dict(stage2)}))
        stages = {"pretrain": str(tmp_path / "1.json"), "train": str(tmp_path / "2.json")}
        values = {"rows": ROWS, "seeds": [0, 1], **values}
        config = tmp_path / "a.json"
        config.write_text(json.dumps({"kind": "ablation", "name": "a", "runs": str(tmp_path), **stages, **values}))
        return ["--config", str(config), "--gpus", "none"]

    return make


@pytest.fixture
def ablation(make, tmp_path, monkeypatch):
    """Return arguments for main and the folder of an ablation over stubs of all scripts."""
    (tmp_path / "stub.py").write_text(TRAIN)
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    for kind in ("pretrain", "train"):
        monkeypatch.setitem(queue.SCRIPTS, kind, str(tmp_path / "stub.py"))
    monkeypatch.setattr(ablate, "ROOT", tmp_path)
    return make(), tmp_path / "a"


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_rows_are_trained_and_evaluated_once(ablation, capsys):
    arguments, folder = ablation
    assert ablate.main(arguments) == 0
    assert lines(folder / "calls") == [*STAGE1, *STAGE2], "stage 1 is shared by the rows that do not change it"
    assert lines(folder / "judged") == [
        "full-seed0",
        "stage1-seed0",
        "v2a-instead-seed0",
        "without-ordinal-loss-seed0",
    ]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines(folder / "results.md") if "|" in line]
    assert table[0] == ["AUC", "seeds", "overall", "std", "minus full", "RVFA"]
    assert table[2] == ["full", "2 of 2", "0.875 [0.500, 1.000]", "0.250", "", "0.875 [0.500, 1.000]"]
    assert table[4][:5] == [
        "V2A instead",
        "2 of 2",
        "0.750 [0.500, 1.000]",
        "0.250",
        "-0.125 [-0.250, +0.000] p 0.040",
    ]
    assert [row[0] for row in table[2:]] == list(ROWS)
    first, *_, last = csv.DictReader(lines(folder / "results.csv"))
    assert (first["row"], first["tier"], first["difference"]) == ("full", "overall", "")
    assert last["runs"] == f"{folder}/without-ordinal-loss-seed0,{folder}/without-ordinal-loss-seed1"
    assert (last["tier"], last["auc"], last["difference_low"], last["p"]) == ("RVFA", "0.75", "-0.25", "0.04")

    # A second call does nothing until weights change.
    capsys.readouterr()
    assert ablate.main(arguments) == 0
    assert len(lines(folder / "calls")) == 10
    assert len(lines(folder / "judged")) == 4
    (folder / "v2a-instead-seed1" / "best.safetensors").write_text("others")
    assert ablate.main([*arguments, "--report"]) == 1
    assert "not evaluated yet" in capsys.readouterr().out
    assert ablate.main(arguments) == 0
    assert lines(folder / "judged")[4:] == ["v2a-instead-seed0"]


def test_counterfactuals_of_rows_with_both_streams(ablation, capsys):
    arguments, folder = ablation
    arguments += ["--seeds=[0]"]
    assert ablate.main(arguments) == 0
    assert "uses the relation" not in (folder / "results.md").read_text()
    # Rows that were evaluated without them are evaluated again, but for the audio branch alone, which has none.
    for _ in range(2):
        assert ablate.main([*arguments, "--counterfactuals"]) == 0
    assert len(lines(folder / "judged")) == 4 + 3
    text = (folder / "results.md").read_text()
    assert text.count("| yes") == 3
    assert "real clips, audio moved by 400 ms" in text
    assert "real clips, audio moved by 400 ms" in capsys.readouterr().out


def test_row_whose_stage_1_fails_is_skipped_and_tried_again(ablation, capsys):
    arguments, folder = ablation
    arguments += ["--seeds=[0]"]
    broken = ["--rows.without ordinal loss.pretrain.optim.lr=7"]
    assert ablate.main([*arguments, *broken]) == 1
    assert "without-ordinal-loss-seed0" not in lines(folder / "calls")
    assert len(lines(folder / "judged")) == 3
    output = capsys.readouterr().out
    assert "stage1-ordinal0-lr7-seed0: failed: the loss exploded" in output
    assert "| without ordinal loss | 0 of 1 | not trained yet" in output
    done = len(lines(folder / "calls"))
    assert ablate.main(arguments) == 0
    assert lines(folder / "calls")[done:] == ["stage1-ordinal0-seed0", "without-ordinal-loss-seed0"]
    assert lines(folder / "judged")[3:] == ["without-ordinal-loss-seed0"]


def test_only_selects_rows(ablation):
    arguments, folder = ablation
    assert ablate.main([*arguments, "--only", "V2A instead", "--seeds=[3]"]) == 0
    assert lines(folder / "calls") == ["stage1-seed3", "full-seed3", "v2a-instead-seed3"]
    assert "audio only" not in (folder / "results.md").read_text()


def test_array_tasks_train_and_a_further_call_evaluates(ablation, capsys):
    arguments, folder = ablation
    assert ablate.main([*arguments, "--list"]) == 0
    assert "10 runs; one task for each row and seed: sbatch --array=0-7 ablate.sh" in capsys.readouterr().out
    assert not folder.exists()
    for task in range(3):
        assert ablate.main([*arguments, "--shard", f"{task}/3"]) == 0
    assert sorted(lines(folder / "calls")) == sorted([*STAGE1, *STAGE2])
    assert not (folder / "judged").exists()
    assert ablate.main(arguments) == 0
    assert len(lines(folder / "calls")) == 10
    assert len(lines(folder / "judged")) == 4


def test_stage_1_of_another_task_is_waited_for(ablation):
    arguments, folder = ablation
    (folder / "stage1-seed0").mkdir(parents=True)
    lock = locked(folder / "stage1-seed0" / LOCK, folder)
    lock.__enter__()
    release = threading.Timer(2, lambda: lock.__exit__(None, None, None))
    release.start()
    try:
        assert ablate.main([*arguments, "--seeds=[0]", "--only", "full"]) == 0
    finally:
        release.join()
    assert lines(folder / "calls") == ["stage1-seed0", "full-seed0"], "the other task ended without training it"


def test_invalid_requests_are_rejected(make, tmp_path):
    def message(*more, **values):
        with pytest.raises(UserError) as error:
            ablate.main([*make(**values), *more])
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "--jobs must be at least 1" in message("--jobs", "0")
    assert "has no row 'v2a'; its rows are full, audio only" in message("--only", "v2a")
    assert "key 'rows' is {}" in message(rows={})
    assert "a.json: full: unknown key 'fussion': did you mean 'fusion'?" in message(
        rows={"full": {"train": {"fussion": 1}}}
    )
    assert "key 'direction' is \"av\"" in message(rows={"full": {}, "x": {"train": {"direction": "av"}}})
    assert "unknown tier 'RVFB'" in message(rows={"full": {"pretrain": {"data.fake_tiers": ["RVFB"]}}})
    assert "x: data.splits must be the same for all rows" in message(rows={"x": {"train": {"data": {"splits": "t"}}}})
    assert "rows.x: seed is set by the ablation: leave it out, and use seeds" in message(
        rows={"x": {"train": {"seed": 1}}}
    )
    assert "audio is set by the ablation" in message(overrides={"train": {"audio": "runs/pretrain"}})
    assert "overrides.train is null" in message(overrides={"train": None})
    assert "seeds has one of them twice" in message(seeds=[1, 1])
    assert "rows 'a b' and 'A-B' have the same folder" in message(rows={"a b": {}, "A-B": {}})
    assert "have the same folder" in message(rows={"stage1": {}})
    other = {"data": {**DATA, "splits": "t"}}
    assert "1.json and" in message(stage2=other)
    assert "have other data.elements or data.splits" in message(stage2=other)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["config/ablation.json", "config/demo/ablation.json"])
def test_ablations_of_the_repository(name):
    cfg = load(queue.ROOT / name, AblationConfig)
    rows = ablate.expand(
        cfg.model_copy(update={k: str(queue.ROOT / getattr(cfg, k)) for k in ("pretrain", "train")}), name
    )
    assert len(rows) == 18
    changes = {row.name: row.chains[0].second.config for row in rows if row.chains[0].second}
    assert changes["deaf"].consistency.zeros
    for branch in ("consistency", "picture"):
        assert changes[f"without {branch} branch"].without == branch
    assert changes["V2A instead"].consistency.init == f"{changes['full'].consistency.init}-v2a"
    whole = rows[0].chains[0]
    for row in rows[1:]:
        first, second = row.chains[0]
        changed = first.config != whole.first.config or second is None
        assert changed or second.config.model_dump(exclude={"name"}) != whole.second.config.model_dump(exclude={"name"})


def test_ablation_with_the_real_scripts(make, tmp_path, capsys):
    """Train two rows for one epoch on a store of random clips, and evaluate them."""
    store = make_store(tmp_path / "store")
    data = data_section(store, "RVFA")
    optim = {"epochs": 1, "warmup_epochs": 0, "batch_size": 4}
    common = {"data": data, "optim": optim, "device": "cpu"}
    sizes = {"visual": VISUAL, "predictor": {"depth": 1, "heads": 2}}
    rows = {"full": {}, "V2A": {"train": {"direction": "v2a", "fusion": "fixed"}}}
    arguments = make({**common, "model": AUDIO}, {**common, **sizes}, rows=rows, seeds=[0])
    arguments += ["--bootstrap", "20", "--jobs", "2"]
    assert ablate.main(arguments) == 0
    assert json.loads((tmp_path / "a" / "v2a-seed0" / "config.json").read_text())["direction"] == "v2a"
    report = json.loads((tmp_path / "a" / "v2a-seed0" / "eval" / "test" / "report.json").read_text())
    assert report["overall"]["clips"] == 12
    assert set(report["paired"]) == {"audio", "visual", "full-seed0"}
    difference = report["overall"]["fused"]["auc"] - report["overall"]["full-seed0"]["auc"]
    lines = (tmp_path / "a" / "results.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| V2A ") and "1 of 1" in line)
    assert f"{difference:+.3f} [" in row
    branches = [
        [cell.strip() for cell in line.split("|")[1:4]] for line in lines if line.count("[") and "1 of 1" not in line
    ]
    assert [cells[:2] for cells in branches] == [[name, b] for name in rows for b in ("audio", "visual")]
    assert branches[-1][2].startswith(f"{report['overall']['visual']['auc']:.3f} [")
    capsys.readouterr()
    assert ablate.main(arguments) == 0
    assert "starts" not in capsys.readouterr().out
