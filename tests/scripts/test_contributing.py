"""CONTRIBUTING.md: each of its additions is made once in a copy of the package, touching the files that it lists."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.runs import data_section, make_store
from tests.helpers.videos import make_video
from tests.paths import ROOT

MODEL = '''"""A toy network: the mean of the mel over time, then one linear layer."""

from torch import Tensor, nn


class Toy(nn.Module):
    def __init__(self, *, bins: int) -> None:
        super().__init__()
        self.linear = nn.Linear(bins, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Mel (B, bins, T) -> logit (B,)."""
        return self.linear(mel.mean(dim=2)).squeeze(1)
'''
SYSTEM = '''"""A toy system on the mel alone."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from avdfd.core.errors import UserError
from avdfd.datasets.loaders import Inputs
from avdfd.datasets.samplers import Shuffled
from avdfd.features.early import of_audio
from avdfd.models.toy import Toy

STAGES = ("train",)
SCORED = ("train",)
LABELLED = ("train",)


class Outputs(NamedTuple):
    logit: Tensor
    label: Tensor


def branches(cfg):
    return ("fused",)


def inputs(cfg, stage, *, train):
    return Inputs(None)


def stages(cfg):
    return STAGES


def needs_whole_batch(cfg):
    return False


def batches(cfg, stage, metas):
    return Shuffled(len(metas), cfg.train.batch_size, cfg.seed)


def build(cfg, stage, former):
    return rebuild(cfg, stage)


def rebuild(cfg, stage):
    return Toy(bins=cfg.bins)


def published(file):
    raise UserError(f"{file}: toy has no published checkpoint")


def frozen(model, cfg, stage, device):
    return None


def groups(model, cfg, stage):
    return [(model.parameters(), 1.0)]


def outputs(net, batch, cfg, stage, chance):
    return Outputs(net(batch.mel), batch.label)


def losses(model, out, cfg, stage):
    return {"loss": F.binary_cross_entropy_with_logits(out.logit, out.label)}


def early(model, batch, cfg):
    return {"audio": of_audio(batch.mel)}


def preview(batch):
    return batch.mel, torch.zeros(len(batch.mel), 3, 16, 32, 32, dtype=torch.uint8)


def scores(model, batch, cfg):
    return {"fused": model(batch.mel)}
'''
CONFIG = '''class ToyConfig(RunConfig):
    """A toy system."""

    kind: Literal["toy"] = "toy"
    bins: Positive = 128
    """Mel bins."""
    train: RecipeConfig = RecipeConfig()
    """The only stage."""


BaselineConfig = ToyConfig | '''
ADAPTER = '''

def toy(files: Files) -> Iterator[Entry]:
    """Toy: `takes/<identity>-<real or fake>.mp4`."""
    for source in files.below("takes"):
        identity, _, kind = PurePosixPath(source).stem.partition("-")
        yield make_entry(files.root, source, RVRA if kind == "real" else FAKE, identities=(identity,), method=kind)
'''
PERTURBATION = '''

def quieter(waveform: np.ndarray, gain: float, rng: Generator) -> np.ndarray:
    """Multiply by `gain`."""
    return waveform * np.float32(gain)
'''


@pytest.fixture
def copy(tmp_path):
    """A copy of the code that can be changed."""
    copy = tmp_path / "copy"
    for folder in ("avdfd", "OpenAVFF", "data/corpus", "data/preprocessing"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for script in (*ROOT.glob("*.py"), *ROOT.glob("data/*.py")):
        shutil.copy(script, copy / script.relative_to(ROOT))
    (copy / "config").mkdir()
    return copy


def change(copy: Path, path: str, text: str, before: str | None = None) -> None:
    """Append to a file, or put the text before a passage that it has once; make the file if there is none."""
    file = copy / path
    old = file.read_text() if file.exists() else ""
    if before is not None:
        assert old.count(before) == 1, f"{path} has no single '{before}'"
        file.write_text(old.replace(before, text + before))
    else:
        file.write_text(old + text)


def touched(copy: Path) -> set[str]:
    """Files of the copy that are new or differ."""
    files = (path.relative_to(copy) for path in copy.rglob("*") if path.is_file() and path.suffix in (".py", ".json"))
    return {str(path) for path in files if not same(copy / path, ROOT / path)}


def same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def listed(title: str) -> list[str]:
    """For each numbered step under a title of CONTRIBUTING.md, the files that it names first, joined by 'or'."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    steps = re.split(r"^\d+\. ", section, flags=re.M)[1:]
    return [" ".join(re.findall(r"`((?:avdfd|config)/[^`]*)`", step)) for step in steps]


def check_listed(title: str, files: set[str], name: str = "NAME") -> None:
    steps = listed(title)
    assert 0 < len(steps) <= 5
    named = [step.replace("NAME", name).split() for step in steps]
    assert files <= {file for step in named for file in step}
    assert all(files & {*step} for step in named), "a step whose files nothing touches"


def run(copy: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_baseline(copy, tmp_path):
    store = make_store(tmp_path / "store")
    recipe = {"lr": 1e-2, "epochs": 2, "batch_size": 4}
    values = {"kind": "toy", "name": "toy", "device": "cpu", "data": data_section(store, "RVFA"), "train": recipe}
    change(copy, "avdfd/models/toy.py", MODEL)
    change(copy, "avdfd/baselines/toy.py", SYSTEM)
    config = copy / "avdfd/config/baselines.py"
    text = config.read_text()
    assert text.count("\nBaselineConfig = ") == 1
    config.write_text(text.replace("\nBaselineConfig = ", f"\n{CONFIG}"))
    systems = copy / "avdfd/baselines/__init__.py"
    text = systems.read_text()
    assert text.count('    "avff": avff,\n') == 1
    text = text.replace('    "avff": avff,\n', '    "toy": toy,\n    "avff": avff,\n')
    systems.write_text(text.replace("from avdfd.baselines import avff,", "from avdfd.baselines import toy, avff,"))
    change(copy, "config/baseline_toy.json", json.dumps(values))
    check_listed("Add a baseline", touched(copy), "toy")

    code = (
        "import baseline, evaluate; baseline.main(['--config', 'config/baseline_toy.json'])\n"
        "evaluate.main(['--run', 'runs/toy', '--bootstrap', '20'])"
    )
    run(copy, "-c", code)
    report = json.loads((copy / "runs/toy/eval/test/report.json").read_text())
    assert list(report["systems"]) if "systems" in report else report
    assert (copy / "runs/toy/eval/test/scores.csv").read_text().count("\n") > 1


def test_a_data_set(copy, tmp_path):
    root = tmp_path / "toy"
    for name in ("a-real", "a-fake", "b-real"):
        path = root / "takes" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    change(copy, "avdfd/corpora/adapters.py", ADAPTER)
    layouts = "avdfd/corpora/layouts.py"
    change(copy, layouts, '    "toy": toy,\n', before='    "plain": plain,\n')
    change(
        copy, layouts, '    if (root / "takes").is_dir():\n        return "toy"\n', before="    if is_speech(root):\n"
    )
    change(copy, layouts, "from avdfd.corpora.adapters import toy\n", before="from avdfd.corpora.adapters import ")
    check_listed("Add a data set", touched(copy))

    code = (
        "import sys; from pathlib import Path; from avdfd.corpora.layouts import list_entries\n"
        "for entry in list_entries(Path(sys.argv[1])):\n"
        "    print(entry.clip.source, entry.clip.tier, *entry.clip.identities)"
    )
    assert run(copy, "-c", code, str(root)).splitlines() == [
        "takes/a-fake.mp4 FAKE a",
        "takes/a-real.mp4 RVRA a",
        "takes/b-real.mp4 RVRA b",
    ]


def test_a_perturbation(copy, tmp_path):
    store = make_store(tmp_path / "store")
    change(copy, "avdfd/evaluation/robustness/audio.py", PERTURBATION)
    entry = '    "quieter": Perturbation("Quieter", "gain", (0.8, 0.6, 0.4, 0.2, 0.1), audio.quieter),\n'
    change(copy, "avdfd/evaluation/robustness/__init__.py", entry, before='    "h264": ')
    check_listed("Add a perturbation", touched(copy))

    code = (
        "import sys, numpy as np; from avdfd.elements import ElementStore\n"
        "from avdfd.evaluation.robustness import choose\n"
        "from avdfd.evaluation.robustness.store import PerturbedStore\n"
        "store = ElementStore(sys.argv[1]); key = store.metas[0].key; (name,) = choose(['quieter'])\n"
        "one, other = (s.read(key, waveform=True).waveform for s in (store, PerturbedStore(store, name, 3)))\n"
        "print(np.abs(other - 0.4 * one).max() < 1e-3)"
    )
    assert run(copy, "-c", code, str(store / "elements")) == "True\n"


def test_a_probe(copy, tmp_path):
    for tier in ("RealVideo-RealAudio", "RealVideo-FakeAudio"):
        for identity in ("id00001", "id00002", "id00003"):
            path = tmp_path / "videos" / tier / "African" / "men" / identity / "00000.mp4"
            path.parent.mkdir(parents=True)
            make_video(path, seconds=0.4)
    files = "avdfd/evaluation/audit/files.py"
    change(copy, files, ' "fakeness",', before=' "tags")')
    change(copy, files, '        "fakeness": float("FakeAudio" in str(path)),\n', before='        "tags": tags,\n')
    check_listed("Add a probe", touched(copy))

    said = run(copy, "data/preprocessing/probe_shortcuts.py", "--root", str(tmp_path / "videos"))
    head, row = (line.split() for line in said.splitlines()[-2:])
    assert row[head.index("fakeness")] == "1.000"
