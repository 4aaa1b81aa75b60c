"""The structure of the package: which folder may import which, and what pure folders avoid."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

FOLDERS = (
    *("core", "config", "metrics", "features", "elements", "models", "splits", "datasets", "training", "media"),
    *("corpora", "baselines", "inference", "evaluation", "report", "search"),
)
"""From the bottom up: a folder imports those before it."""
PUBLIC = {"__init__.py", "losses.py", "released.py"}
"""Modules directly in the package: names that are documented for users."""
IMPURE = {"argparse", "av", "cv2", "decord", "io", "json", "logging", "os", "pathlib", "shutil", "subprocess", "tqdm"}
FILES = sorted((ROOT / "avdfd").rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST, *names: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for node in ast.walk(tree)
    )


def test_the_package_holds_folders_and_public_names_only():
    assert {path.name for path in (ROOT / "avdfd").glob("*.py")} == PUBLIC
    assert {path.parent.name for path in (ROOT / "avdfd").glob("*/__init__.py")} == set(FOLDERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downward(path: Path):
    inside = path.relative_to(ROOT / "avdfd").parts
    tree = ast.parse(path.read_text())
    names = [name.split(".") for name in imported(tree)]
    assert not {name[0] for name in names} & {"data", "tests", "benchmarks", *(p.stem for p in ROOT.glob("*.py"))}
    if len(inside) > 1:
        allowed = FOLDERS[: FOLDERS.index(inside[0]) + 1]
        assert {name[1] for name in names if name[0] == "avdfd"} <= set(allowed)
        if inside != ("core", "arguments.py"):
            assert ["argparse", "ArgumentParser"] not in names
            assert ["argparse"] not in names
        assert not calls(tree, "print"), "a script prints what a user should see"


@pytest.mark.parametrize("folder", ["models", "features", "metrics"])
def test_pure_folders_do_no_io(folder: str):
    for path in (ROOT / "avdfd" / folder).rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert not {name.split(".")[0] for name in imported(tree)} & IMPURE, path
        assert not calls(tree, "print", "open", "input"), path
        assert "config" not in {name.split(".")[1] for name in imported(tree) if name.startswith("avdfd.")}, path


def test_avff_modules_import_torch_alone():
    for path in (ROOT / "OpenAVFF").glob("*.py"):
        roots = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert roots - sys.stdlib_module_names <= {"OpenAVFF", "einops", "timm", "torch", "torchaudio"}, path


@pytest.mark.parametrize("script", sorted(ROOT.glob("*.py")), ids=lambda path: path.name)
def test_a_script_imports_no_other_script(script: Path):
    scripts = {path.stem for path in ROOT.glob("*.py")}
    assert not {name.split(".")[0] for name in imported(ast.parse(script.read_text()))} & scripts


@pytest.mark.parametrize("script", [*(ROOT / "data").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")], ids=str)
def test_a_script_in_a_folder_finds_the_package_before_it_imports_it(script: Path):
    lines = script.read_text().splitlines()
    found = next((number for number, line in enumerate(lines) if line.startswith("sys.path.insert(")), 0)
    early = [line for line in lines[:found] if line.startswith(("from avdfd", "import avdfd", "from data."))]
    assert early == []


def test_only_media_opens_media():
    """`seed_vc_driver.py` runs in another environment, without this package."""
    for path in FILES:
        inside = path.relative_to(ROOT / "avdfd").parts
        if inside[0] != "media" and path.name != "seed_vc_driver.py":
            found = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
            assert not found & {"av", "decord", "soundfile"}, path


LATE = (
    *("matplotlib", "sklearn", "tensorboard", "triton", "onnx", "onnxruntime", "torchvision", "ai_edge_litert"),
    *("torch._dynamo", "torch._inductor", "torch.utils.tensorboard"),
    *("scipy.ndimage", "scipy.optimize", "scipy.signal", "scipy.sparse", "scipy.special"),
)
"""Packages that take long to import, and are needed late or by few runs."""


@pytest.mark.parametrize(
    ("scripts", "absent"),
    [
        (
            "search, ablate, compare, data.demo_corpus, data.preprocess, data.preprocessing.check_fakeavceleb, "
            "data.preprocessing.codec_parity, data.preprocessing.make_manifest, data.preprocessing.probe_shortcuts, "
            "data.preprocessing.verify_store",
            ("torch", "sklearn", "matplotlib", "tensorboard"),
        ),
        ("evaluate, detect, export", ("torch", *LATE)),
        (
            "avdfd.evaluation.evaluate, avdfd.evaluation.judge",
            (
                *LATE,
                *("avdfd.training.loop", "avdfd.training.optim", "avdfd.training.state", "avdfd.training.run_folder"),
                *("avdfd.training.cached_batches", "avdfd.training.consistency_stage"),
            ),
        ),
        ("train, pretrain", (*LATE, "scipy", "avdfd.report", "avdfd.evaluation")),
        ("baseline", LATE),
    ],
)
def test_scripts_start_without_what_they_do_not_need_yet(scripts, absent):
    """The import of torch takes two seconds, and worker processes import the script again (benchmarks/startup.py)."""
    code = f"import sys, {scripts}; found = set({absent!r}) & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
