"""Wrong requests to every script: exit code 2, one line that names the fault, and nothing written."""

import importlib
import json
import re

import pytest

from avdfd.core.errors import run_script
from avdfd.elements import ElementWriter
from tests.helpers.runs import AUDIO, VISUAL, data_section, make_both_stages
from tests.paths import ROOT

CONFIGURED = {
    "pretrain": "{pretrain}",
    "train": "{train}",
    "baseline": "{mrdf}",
    "search": "{search}",
    "ablate": "{ablation}",
    "data.preprocess": "config/preprocess.json",
    "data.preprocessing.clone_voices": "config/clone_voices.json",
    "data.preprocessing.codec_parity": "config/codec_parity.json",
    "data.preprocessing.resynthesise": "config/speech/resynthesise.json",
}
"""Scripts that take a config, and one each."""
ARGUED = {
    "detect": "--run {run} {text}",
    "evaluate": "--run {run}",
    "export": "--run {run} --out {out}.onnx",
    "compare": "{run} {stage1} --out {out}",
    "data.demo_corpus": "--out {out} --identities 3",
    "data.preprocessing.check_fakeavceleb": "{empty}",
    "data.preprocessing.down_vox2": "--all --out {out} --base-url http://127.0.0.1:9",
    "data.preprocessing.make_manifest": "--root {root} --out {out}/m.parquet",
    "data.preprocessing.make_splits": "avdfd_7_3 --elements {store} --out {out}",
    "data.preprocessing.probe_shortcuts": "--root {root}",
    "data.preprocessing.verify_store": "{store}",
}
"""The other scripts, and the arguments that come before those of a case."""
PREPROCESS = "data.preprocess"
PARITY, CLONE, RESYNTHESISE = (
    f"data.preprocessing.{name}" for name in ("codec_parity", "clone_voices", "resynthesise")
)
CHECK, VOX, MANIFEST, SPLITS, PROBE, VERIFY = (
    f"data.preprocessing.{name}"
    for name in ("check_fakeavceleb", "down_vox2", "make_manifest", "make_splits", "probe_shortcuts", "verify_store")
)
SMALL_MRDF = {"encoder_layers": 1, "dim": 32, "heads": 2, "ffn_dim": 16, "width": 1, "max_steps": 8}

CASES = [
    *((script, "--config {gone}", "no such config file") for script in CONFIGURED),
    *(
        (script, "--nonsense", "'--nonsense' is not an override|unrecognized arguments")
        for script in [*CONFIGURED, *ARGUED]
    ),
    ("train", "--config {folder}", "cannot be read .Is a directory"),
    ("train", "--config {broken}", "cannot be read as JSON"),
    ("pretrain", "--config {deep}", "nested more than 64 deep"),
    ("pretrain", "--config {digits}", "Exceeds the limit"),
    ("pretrain", "--config {twice}", "'kind' is there twice"),
    ("baseline", "--config {binary}", "not a text file"),
    ("search", "--config {list}", "a config is one JSON object"),
    ("ablate", "--config {strange}", r'kind is \["train"\], this script takes'),
    ("train", "--config {pretrain}", 'kind is "pretrain", this script takes a config with kind "train"'),
    (PREPROCESS, "--config {train}", 'kind is "train"'),
    ("train", "--config", "argument --config: expected one argument"),
    ("pretrain", "--optim.lr=Infinity", "'optim.lr' is Infinity: input should be a finite number"),
    ("pretrain", "--optim.lr=NaN", "'optim.lr' is NaN"),
    ("pretrain", "--optim.lr={deep_text}", "'optim.lr' is .*valid number"),
    ("pretrain", "--seed=99999999999", "'seed' is 99999999999"),
    ("pretrain", "--runs=", "'runs' is"),
    ("pretrain", "--name=../x", "name: '../x' is no name of a folder"),
    ("pretrain", "--optim.rate=1", "unknown key 'optim.rate'"),
    ("pretrain", "--optim=3", "'optim' is 3"),
    ("pretrain", "--optim.lr.x=3", "lr is a value, not a section"),
    ("pretrain", "--data.elements={gone}", "no such element store"),
    ("pretrain", "--data.elements={text}", "{text}: is not an element store"),
    ("pretrain", "--data.elements={empty_store}", "{empty_store}"),
    ("pretrain", "--data.splits={gone}", "{gone}"),
    ("pretrain", "--data.splits={text}", "{text}"),
    ("pretrain", '--data.fake_tiers=["FVRA"]', "no class for FVRA"),
    ("pretrain", "--folds {empty}", "no fold_"),
    ("pretrain", "--probes {empty}", "name the folds with --folds"),
    ("train", "--audio={run}", "a model of 'train', expected one of 'pretrain'"),
    ("train", "--audio={gone}", "no such weights"),
    ("train", "--audio={empty}", "no such weights"),
    ("train", "--predictor.heads=7", "predictor.heads 7 must divide the width"),
    ("train", "--visual.dim=15", "dim 15 must be a multiple of heads"),
    ("train", '--data.fake_tiers=["x"]', "unknown tier 'x'"),
    ("baseline", "--stage x", "--stage x: mrdf has the stages"),
    ("baseline", "--published {gone}", "{gone}"),
    ("baseline", "--published {text}", "{text}"),
    ("baseline", "--fold-file {text}", "name it with --published"),
    ("search", "--jobs 0", "must be at least 1"),
    ("search", "--gpus x", "--gpus x: write numbers"),
    ("search", "--shard 2/1", "--shard 2/1: write i/n"),
    ("search", '--grid={{"nope":[1]}}', "unknown key 'nope'"),
    ("search", "--config_=1", "unknown key 'config_'"),
    ("ablate", "--only nobody", "has no row 'nobody'"),
    ("ablate", "--train={pretrain}", 'kind is "pretrain"'),
    ("detect", "{gone}", "no such file or folder"),
    ("detect", "{empty}", "no media file in this folder"),
    ("detect", "--threshold nan", "--threshold takes a probability"),
    ("detect", "--hop 0", "'hop' is 0"),
    ("detect", "--hop inf", "'hop' is Infinity"),
    ("detect", "--plot {out}.gif", "cannot write this file type"),
    ("detect", "--plot {text}/x.png", "cannot be written"),
    ("detect", "--csv {text}", "not a table of detect.py, and not replaced by one"),
    ("detect", "--root {root}", "go with --csv"),
    ("detect", "--submission csv {out}.csv", "go with --csv"),
    ("detect", "--missing 0.5", "--missing takes a probability from 0 to 1, for --submission"),
    ("detect", "--run {gone}", "{gone}"),
    ("detect", "--run {store}", "{store}"),
    ("detect", "--video-stream -1", "index of a stream, 0 or more"),
    ("evaluate", "--run {gone}", "{gone}"),
    ("evaluate", "--against {gone}", "{gone}"),
    ("evaluate", "--split some", "invalid choice: 'some'"),
    ("evaluate", "--elements {empty_store} --split all", "{empty_store}"),
    ("evaluate", "--windows top9999999", "mean, max or top and a number"),
    ("evaluate", "--bootstrap 99999999999", "must be at most 100000"),
    ("evaluate", "--robustness x", "x"),
    ("evaluate", "--probes {gone}", "{gone}"),
    ("evaluate", "--csv {gone}", "{gone}"),
    ("evaluate", "--scores {text} --run {out}", "name the clips by --elements"),
    ("evaluate", "--scores {gone} --run {out} --elements {store} --split all", "gone: cannot be read"),
    ("evaluate", "--scores {text} --run {out} --elements {store} --split all", "no column of a known name"),
    ("evaluate", "--score-column x", "--score-column goes with --scores"),
    ("export", "--run {gone}", "{gone}: no such run folder"),
    ("export", "--out {out}.pt", "--out names a file that ends with .onnx"),
    ("compare", "--split validation", "not evaluated on validation; run bash evaluate.sh"),
    ("compare", "--name ../x", "'../x' is no name of a folder"),
    ("compare", "--bootstrap -1", "must be 0 or more"),
    (PREPROCESS, "--input={gone} --output={out}", "no such folder"),
    (PREPROCESS, "--input={text} --output={out}", "no such folder"),
    (PREPROCESS, "--input={empty} --output={out}", "empty folder"),
    (PREPROCESS, "--input={root} --output={root}/inside", "{root}"),
    (PREPROCESS, "--input= --output={out}", "'input' is"),
    (PREPROCESS, "--input={root} --output={out} --media.hop=0", "'media.hop' is 0"),
    (PREPROCESS, "--input={root} --output={out} --shard 2/2", "--shard 2/2"),
    (PREPROCESS, "--input={root} --output={out} --shard 0/999999", "n up to 100000"),
    (PREPROCESS, "--input={root} --output={out} --manifest={gone}", "no such manifest"),
    (PARITY, "--input={root} --output={root}/inside", "{root}"),
    (PARITY, "--input={root} --output={out} --tiers=[]", "'tiers' is"),
    (PARITY, "--input={gone} --output={out}", "no such folder"),
    (CLONE, "--input={gone} --output={out}", "{gone}"),
    (CLONE, '--input={root} --output={out} --backend={{"kind":"x"}}', "backend"),
    (RESYNTHESISE, "--input={root} --output={root}", "{root}"),
    (RESYNTHESISE, '--input={root} --output={out} --ways=["x"]', "ways"),
    ("data.demo_corpus", "--identities 2", "at least 3 are needed"),
    ("data.demo_corpus", "--identities 999999999", "at most 100000"),
    ("data.demo_corpus", "--out {text}", "{text}"),
    (CHECK, "--workers -1", "--workers takes a whole number"),
    (CHECK, "--json {text}/x", "{text}"),
    (VOX, "--identities {gone}", "not allowed with argument --all"),
    (VOX, "--max-bytes x", "'x' is not a size"),
    (VOX, "--out {text}", "is a file"),
    (VOX, "--repo ../..", "not of the form owner/name"),
    (VOX, "--repo x", "not of the form owner/name"),
    (VOX, "--base-url file:///etc", "is not an address"),
    (MANIFEST, "--root {gone}", "no such folder"),
    (MANIFEST, "--layout dfdc", "{root}: no metadata.json with labels"),
    (MANIFEST, "--out {empty}", "is a folder"),
    (MANIFEST, "--time-limit nan", "--time-limit seconds above 0"),
    (SPLITS, "--manifest {text}", "name the clips by one of"),
    (SPLITS, "--train {gone}", "no such list of identities"),
    (SPLITS, "--duplicates {gone}", "{gone}"),
    (SPLITS, "--seed -1", "--seed takes a whole number"),
    (PROBE, "--root {gone}", "no such folder"),
    (PROBE, "--workers 0", "need readable real clips and fakes; there are RVRA"),
    (PROBE, "--max nan", "--max an AUC from 0.5 to 1"),
    (VERIFY, "{text}", "unrecognized arguments"),
]


@pytest.fixture(scope="module")
def places(small_store, tmp_path_factory):
    """Paths by the names in CASES."""
    top = tmp_path_factory.mktemp("requests")
    stage1, run = make_both_stages(top / "trained", small_store)
    given = {"runs": str(top / "runs"), "device": "cpu", "data": data_section(small_store, "RVFA")}
    optim = {"lr": 1e-3, "epochs": 1, "warmup_epochs": 0, "batch_size": 4}
    sizes = {"visual": VISUAL, "predictor": {"depth": 1, "heads": 2}}
    texts = {
        "broken": "{",
        "deep": "[" * 1000 + "]" * 1000,
        "digits": f'{{"seed": {"9" * 5000}}}',
        "twice": '{"kind": "pretrain", "kind": "train"}',
        "list": "[]",
        "strange": '{"kind": ["train"]}',
        "text": "hello",
        "pretrain": json.dumps({**given, "kind": "pretrain", "name": "one", "model": AUDIO, "optim": optim}),
        "train": json.dumps({**given, "kind": "train", "name": "two", "audio": str(stage1), **sizes, "optim": optim}),
        "mrdf": json.dumps({**given, "kind": "mrdf", "name": "three", "model": SMALL_MRDF}),
    }
    found = {name: top / name for name in texts} | {"store": small_store / "elements", "run": run, "stage1": stage1}
    grid = {"kind": "search", "name": "four", "config": str(found["pretrain"]), "grid": {"optim.lr": [1e-3]}}
    rows = {"kind": "ablation", "name": "five", "rows": {"full": {}}}
    rows |= {kind: str(found[kind]) for kind in ("pretrain", "train")}
    texts |= {
        kind: json.dumps({**values, "runs": given["runs"]}) for kind, values in (("search", grid), ("ablation", rows))
    }
    for name, text in texts.items():
        (top / name).write_text(text)
    (top / "binary").write_bytes(bytes(range(256)))
    (top / "root" / "real").mkdir(parents=True)
    (top / "root" / "real" / "a.mp4").write_text("not a video")
    (top / "empty").mkdir()
    with ElementWriter(top / "empty_store", {"made": "up"}):
        pass
    names = (*texts, "binary", "root", "empty", "empty_store")
    found |= {name: top / name for name in names}
    return found | {"top": top, "gone": top / "gone", "folder": top / "empty", "deep_text": "[" * 500}


@pytest.mark.parametrize(
    ("script", "given", "said"), CASES, ids=[f"{script} {given}"[:80] for script, given, _ in CASES]
)
def test_one_line_and_nothing_written(script, given, said, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    paths = {**places, "out": tmp_path / "out"}
    arguments = given if given.startswith("--config ") else f"{before_of(script)} {given}"
    words = [word.format(**paths) for word in arguments.split(" ")]
    main = importlib.import_module(script).main
    with pytest.raises(SystemExit) as ended:
        run_script(lambda _: main(words))
    printed = capsys.readouterr().err
    assert (ended.value.code, printed.count("\n")) == (2, 1), printed
    assert re.search(said.format(**paths) if "{" in said else said, printed), printed
    assert [*tmp_path.iterdir()] == []
    assert not (places["top"] / "runs").exists()


def before_of(script):
    return f"--config {CONFIGURED[script]}" if script in CONFIGURED else ARGUED[script]


def test_every_script_has_cases():
    scripts = [*ROOT.glob("*.py"), *ROOT.glob("data/*.py"), *ROOT.glob("data/preprocessing/*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in scripts if path.stem != "__init__"}
    assert names == {script for script, _, _ in CASES}
    assert len(CASES) >= 100
