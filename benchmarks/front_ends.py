"""Training steps of stage 1 on a pretrained audio encoder: frozen, cached, partly and wholly trained.

    python benchmarks/front_ends.py --store data/demo/elements [--arch xls-r-300m] [--clips 4] [--batch 2] [--rounds 2]

Drawn weights, which take the same time. Each way is a process of its own, so that its peak memory is its own; the ways
take turns in every round, and the medians of the rounds are compared with the first way. On a CPU the time is that of
the process on all its threads, on a GPU that of the clock. The cache is filled once, and deleted at the end.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import PretrainConfig
from avdfd.datasets.batches import Batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore
from avdfd.models.speech_encoder import Hidden, SpeechEncoder
from avdfd.training import backbone_cache, loop
from avdfd.training.array_store import ArrayStore
from avdfd.training.build import build_audio_net
from avdfd.training.cached_batches import CachedBatches
from avdfd.training.distributed import pick_device
from avdfd.training.front_cache import FrozenFront
from avdfd.training.front_ends import ARCHS, build_front
from avdfd.training.optim import adamw
from avdfd.training.precision import autocast
from pretrain import parameter_groups, stage1_loss

WAYS = ("frozen", "cached", "top 3 layers trained", "all trained", "all trained, checkpointing")


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--store", default="data/demo/elements")
    cli.add_argument("--arch", default="xls-r-300m", choices=ARCHS["ssl"])
    cli.add_argument("--clips", type=int, default=4)
    cli.add_argument("--batch", type=int, default=2)
    cli.add_argument("--rounds", type=int, default=2)
    cli.add_argument("--device", default="auto")
    cli.add_argument("--way", choices=("fill", *WAYS), help="measure this way alone, in this process")
    args = cli.parse_args()
    if args.way:
        print(json.dumps(measure(args, args.way)))
        return
    filled = in_a_process(args, "fill")
    try:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):
            for way in WAYS:
                found[way].append(in_a_process(args, way))
    finally:
        shutil.rmtree(filled["root"])
    print(f"{args.arch}, {args.clips} clips, batch {args.batch}, {args.rounds} rounds, {pick_device(args.device)}, "
          f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; cache: {filled['mb']:.2f} MB a clip, "
          f"filled at {filled['rate']:.2f} clips/s\n")  # fmt: skip
    rates = {way: statistics.median(one["rate"] for one in found[way]) for way in WAYS}
    for way in WAYS:
        memory = statistics.median(one["gb"] for one in found[way])
        print(f"{way:28s}{rates[way]:9.3f} clips/s{rates[way] / rates['frozen']:9.2f} x{memory:8.2f} GB")


def in_a_process(args: argparse.Namespace, way: str) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    words = [f"--{name}={getattr(args, name)}" for name in ("store", "arch", "clips", "batch", "device")]
    command = [sys.executable, __file__, *words, f"--way={way}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def config(args: argparse.Namespace, way: str) -> PretrainConfig:
    first = {"top 3 layers trained": ARCHS["ssl"][args.arch].sizes.depth - 2, "all trained": 0}
    trained = first.get(way.removesuffix(", checkpointing"))
    front = {"kind": "ssl", "arch": args.arch, "file": "drawn", "sha256": "0" * 64, "train_from": trained}
    return PretrainConfig.model_validate(
        {
            "name": "front-ends",
            "data": {"elements": args.store, "splits": "none", "fake_tiers": ["RVFA"]},
            "model": {"input": "waveform", "front": {**front, "lr_scale": None if trained is None else 0.1}},
            "speed": {"checkpointing": way.endswith("checkpointing")},
        }
    )


def measure(args: argparse.Namespace, way: str) -> dict[str, Any]:
    """Return clips per second and peak memory in GB of an epoch of training steps, or of filling the cache."""
    cfg, device = config(args, way), pick_device(args.device)
    loop.seed_everything(0)
    model = build_audio_net(cfg.model)
    encoder = model.encoder
    assert isinstance(encoder, SpeechEncoder), "the config has a front end"
    if cfg.model.front is not None and not cfg.model.front.carried:
        encoder.attach(build_front(cfg.model.front).eval())
    model.to(device)
    loop.speed_up(model, cfg.speed, device, cfg.optim.precision)
    store = ElementStore(args.store)
    metas = store.metas[:: max(1, len(store) // args.clips)][: args.clips]
    order = Shared(Shuffled(len(metas), args.batch, 0))
    inputs = Inputs(None, audio="waveform")
    if way == "fill":
        cache = opened(store, encoder, inputs, cfg, device)
        backbone_cache.fill(cache, metas.rows, store, FrozenFront(encoder, inputs, cfg.optim.precision, device))
        rate = cache.about()["computed"]["clips_per_second"]
        return {"root": str(cache.root), "mb": cache.row_bytes / 1e6, "rate": rate}
    batches: Batches | CachedBatches = Batches(ElementSet(store, metas, inputs), order, device)
    if way == "cached":
        cache = opened(store, encoder, inputs, cfg, device)
        batches = CachedBatches(cache, metas, order, device, Hidden, place="disk")
    seconds = seconds_of(cfg, model, batches, device)
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"rate": len(metas) / seconds, "gb": peak / 1e9}


def opened(
    store: ElementStore, encoder: SpeechEncoder, inputs: Inputs, cfg: PretrainConfig, device: torch.device
) -> ArrayStore:
    return backbone_cache.open_cache(store, FrozenFront(encoder, inputs, cfg.optim.precision, device))


def seconds_of(cfg: PretrainConfig, model: Any, batches: Iterable[Any], device: torch.device) -> float:
    """Return the seconds of an epoch of training steps: on a GPU those of the second."""
    now = time.perf_counter if device.type == "cuda" else time.process_time
    optimizer = adamw(parameter_groups(cfg, model), cfg.optim)
    for _ in range(2 if device.type == "cuda" else 1):
        model.train()
        started = now()
        for _, batch in batches:
            with autocast(device, cfg.optim.precision):
                out = model(*batch.model_inputs)
            loss = stage1_loss(cfg, out.z, out.logit, batch.label, batch.audio_class, model.prototype)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()
    return now() - started


if __name__ == "__main__":
    main()
