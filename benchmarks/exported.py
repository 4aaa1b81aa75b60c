"""CPU time of a window in torch and in its exported graph in onnxruntime, on one thread.

    python benchmarks/exported.py [--only stage1] [--turns 9]
    TMPDIR=/scratch python benchmarks/exported.py --only xls-r        3 GB of disk

Networks of the published sizes with drawn weights, exported by avdfd/inference/export.py; both are given the waveform
and compute the mel. The two take turns, and the median counts. Wall time says nothing on a busy machine: it is the CPU
time of the process. The peak of memory is that of the process so far: name one network with --only to have its own.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnxruntime

from avdfd.baselines import SYSTEMS
from avdfd.config import ConsistencyModelConfig, CountermeasureConfig, FrontConfig, PretrainConfig, TrainConfig, load
from avdfd.core.files import BEST, sha256_of
from avdfd.inference.export import difference, example, export, run_torch
from avdfd.inference.runs import load_run
from avdfd.training import weights
from avdfd.training.build import build_audio_net, build_detector
from avdfd.training.front_ends import build_front
from avdfd.training.weights import RunFacts

ROOT = Path(__file__).resolve().parents[1]
CLIPS = 2


def stage1(folder: Path) -> None:
    cfg = load(ROOT / "config" / "pretrain.json", PretrainConfig, overrides=[])
    facts = RunFacts(config=cfg, audio_model=cfg.model, git="unknown")
    weights.save(folder / BEST, build_audio_net(cfg.model).state_dict(), facts)


def detector(folder: Path) -> None:
    overrides = ["--visual.init=random", "--visual.weights=null"]
    cfg = load(ROOT / "config" / "train.json", TrainConfig, overrides=overrides)
    audio = load(ROOT / "config" / "pretrain.json", PretrainConfig, overrides=[]).model
    consistency = ConsistencyModelConfig()
    model = build_detector(cfg, audio, consistency)
    facts = RunFacts(config=cfg, audio_model=audio, consistency_model=consistency, git="unknown")
    weights.save(folder / BEST, model.state_dict(), facts)


def countermeasure(folder: Path) -> None:
    cfg = load(ROOT / "config" / "baseline_aasist.json", CountermeasureConfig, overrides=[])
    facts = RunFacts(config=cfg, stage="train", git="unknown")
    weights.save(folder / BEST, SYSTEMS[cfg.kind].rebuild(cfg, "train").state_dict(), facts)


def on_xls_r(folder: Path) -> None:
    front = {"kind": "ssl", "arch": "xls-r-300m", "file": str(folder / "xls-r.pt"), "sha256": "0" * 64}
    drawn = build_front(FrontConfig.model_validate(front)).state_dict()
    torch.save({key.removeprefix("model."): value for key, value in drawn.items()}, front["file"])
    front["sha256"] = sha256_of(Path(front["file"]))
    overrides = ["--model.input=waveform", f"--model.front={json.dumps(front)}"]
    cfg = load(ROOT / "config" / "pretrain.json", PretrainConfig, overrides=overrides)
    facts = RunFacts(config=cfg, audio_model=cfg.model, git="unknown")
    weights.save(folder / BEST, build_audio_net(cfg.model).state_dict(), facts)


RUNS: dict[str, Callable[[Path], None]] = {
    "stage1": stage1,
    "aasist": countermeasure,
    "detector": detector,
    "xls-r": on_xls_r,
}


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    cli.add_argument("--only", choices=RUNS, nargs="+", default=["stage1", "aasist", "detector"])
    cli.add_argument("--turns", type=int, default=9)
    args = cli.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder), args.turns)


def measure(name: str, folder: Path, turns: int) -> None:
    """Export a network, and print the size of the file, its difference from torch and the CPU time of both."""
    RUNS[name](folder)
    run, path = load_run(folder, "cpu"), folder / "graph.onnx"
    started = time.process_time()
    form = export(run, path)
    exported = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    apart = difference(form, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = example(form, CLIPS)
    ways: dict[str, Callable[[], object]] = {
        "torch": lambda: run_torch(form, inputs),
        "onnxruntime": lambda: session.run(list(form.outputs), inputs),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(1 + turns):
        for way, compute in ways.items():
            started = time.process_time()
            compute()
            if turn:  # the first one warms up
                seconds[way].append((time.process_time() - started) / CLIPS)
    medians = ", ".join(f"{way} {1000 * statistics.median(values):.1f} ms" for way, values in seconds.items())
    print(
        f"{name}: {path.stat().st_size / 1e6:.1f} MB, exported in {exported:.0f} s of CPU, {peak:.1f} GB; differs by "
        f"{apart:.1g}; a window: {medians}"
    )


if __name__ == "__main__":
    main()
