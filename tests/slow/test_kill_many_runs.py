"""Outputs of compare.py, search.py and ablate.py are identical after ten kills at random moments.

Every other kill is to the script alone, whose child processes then have to end by themselves. The scripts that
search.py and ablate.py start are replaced by small ones, which resume like them.
"""

import itertools
import json
import multiprocessing
import os
import random
import sys
import time

import pytest

import ablate
import compare
import search
from avdfd.core.leftovers import SUFFIX
from avdfd.search import queue
from benchmarks.kills import kill_marked
from tests.scripts.test_compare import evaluated

KILLS = 10
FORK = multiprocessing.get_context("fork")

# Trains for three epochs, of which it resumes at the first that is missing.
TRAIN = """
import json, os, pathlib, signal, sys, time
keys = dict(a[2:].split("=", 1) for a in sys.argv[1:] if "=" in a)
run = pathlib.Path(keys["runs"]) / keys["name"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
if "audio" in keys:
    assert (pathlib.Path(keys["audio"]) / "best.safetensors").exists()
def write(name, text):
    (run / "half").write_text(text)
    os.replace(run / "half", run / name)
path = run / "metrics.jsonl"
lines = path.read_text().splitlines() if path.exists() else []
for epoch in range(len(lines) + 1, 4):
    time.sleep(0.02)
    auc = float(keys.get("optim.lr", 0.5)) / epoch + int(keys["seed"]) / 100
    lines.append(json.dumps({"epoch": epoch, "val_auc": auc, "seconds": 1}))
    write("best.safetensors", run.name)
    write("metrics.jsonl", "".join(f"{line}\\n" for line in lines))
"""
EVALUATE = """
import argparse, hashlib, json, os, pathlib, time
cli = argparse.ArgumentParser()
for name in ("--run", "--against", "--split", "--bootstrap"):
    cli.add_argument(name)
args = cli.parse_args()
time.sleep(0.05)
def run(name):
    return {"checkpoint_sha256": hashlib.sha256((pathlib.Path(name) / "best.safetensors").read_bytes()).hexdigest()}
value = {"fused": {"auc": 0.75, "auc_interval": [0.5, 1.0]}}
pair = {"difference": -0.125, "interval": [-0.25, 0.0], "p": 0.04}
other = [pathlib.Path(args.against).name] if args.against else []
report = {
    "runs": [run(args.run)], "against": {name: {"runs": [run(args.against)]} for name in other}, "main": "fused",
    "branches": ["fused"],
    "overall": value, "tiers": {"RVFA": value}, "paired": {name: {"overall": pair, "RVFA": pair} for name in other},
}
folder = pathlib.Path(args.run) / "eval" / args.split
folder.mkdir(parents=True, exist_ok=True)
(folder / "half").write_text(json.dumps(report))
os.replace(folder / "half", folder / "report.json")
"""
DATA = {"elements": "e", "splits": "s", "fake_tiers": ["RVFA"]}


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Replacements of the training scripts and evaluate.py, and configs of both stages."""
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    for kind in ("pretrain", "train"):
        monkeypatch.setitem(queue.SCRIPTS, kind, str(tmp_path / "train.py"))
        values = {"kind": kind, "name": "x", "data": DATA, **({"audio": "none"} if kind == "train" else {})}
        (tmp_path / f"{kind}.json").write_text(json.dumps(values))
    monkeypatch.setattr(ablate, "ROOT", tmp_path)
    return tmp_path


def run(main, arguments, mark):
    """Run a script in this process, and end it with its exit code."""
    os.environ["KILLED_BY"] = mark  # of its children
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os._exit(main(arguments) or 0)


def start(main, arguments, mark=""):
    process = FORK.Process(target=run, args=(main, arguments, mark))
    process.start()
    return process


def finished(main, arguments):
    process = start(main, arguments)
    process.join(60)
    assert process.exitcode == 0


def contents(root):
    """Return the content of each file under a folder, without the path of the folder."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes().replace(str(root).encode(), b"root") for path in paths}


def check_kills(main, arguments_of, results, root):
    """Kill a script, finish it, and compare what it leaves; one that ends before a kill makes a new output."""
    started = time.monotonic()
    finished(main, arguments_of(root / "whole"))
    seconds = time.monotonic() - started
    expected = contents(root / "whole")
    assert results <= expected.keys()
    rng, kills = random.Random(0), 0
    for number in itertools.count():
        output = root / f"killed-{number}"
        while kills < KILLS:
            mark = f"{os.getpid()}-{main.__module__}-{kills}"
            process = start(main, arguments_of(output), mark)
            process.join(rng.uniform(0, seconds))
            ended = process.exitcode is not None
            process.kill()
            process.join()
            if ended:
                break
            if kills % 2:
                kill_marked(mark)
            kills += 1
        finished(main, arguments_of(output))
        found = contents(output)
        assert not [name for name in found if name.endswith(SUFFIX)], "leftovers of kills"
        assert {name for name in results if found.get(name) != expected[name]} == set()
        if kills == KILLS:
            return


def test_compare(tmp_path):
    systems = [str(evaluated(tmp_path, name, seed=seed)) for seed, name in enumerate(("ours", "theirs"))]

    def arguments_of(output):
        return [*systems, "--bootstrap", "100", "--out", str(output)]

    check_kills(
        compare.main, arguments_of, {f"compare.{kind}" for kind in ("html", "tex", "md", "csv", "json")}, tmp_path
    )


def test_search(scripts):
    values = {"kind": "search", "config": str(scripts / "pretrain.json"), "name": "s", "seeds": [0]}
    (scripts / "s.json").write_text(json.dumps({**values, "grid": {"optim.lr": [0.5, 0.75]}}))

    def arguments_of(output):
        return ["--config", str(scripts / "s.json"), "--gpus", "none", "--jobs", "2", f"--runs={output}"]

    runs = {f"s/lr{lr}-seed0/{name}" for lr in (0.5, 0.75) for name in MADE}
    check_kills(search.main, arguments_of, {*runs, "s/results.csv", "s/results.md", "s/results.png"}, scripts)


MADE = ("metrics.jsonl", "best.safetensors", "search.json")


def test_ablate(scripts):
    stages = {kind: str(scripts / f"{kind}.json") for kind in ("pretrain", "train")}
    rows = {"full": {}, "V2A": {"train": {"direction": "v2a"}}}
    values = {"kind": "ablation", "name": "a", "seeds": [0], "rows": rows, **stages}
    (scripts / "a.json").write_text(json.dumps(values))

    def arguments_of(output):
        return ["--config", str(scripts / "a.json"), "--gpus", "none", f"--runs={output}"]

    runs = {f"a/{run}/{name}" for run in ("stage1-seed0", "full-seed0", "v2a-seed0") for name in MADE}
    reports = {f"a/{run}/eval/test/report.json" for run in ("full-seed0", "v2a-seed0")}
    check_kills(ablate.main, arguments_of, {*runs, *reports, "a/results.csv", "a/results.md"}, scripts)
