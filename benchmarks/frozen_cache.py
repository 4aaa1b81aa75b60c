"""Training steps of stage 2 with a frozen backbone: features computed in every step, or read from the cache.

    python benchmarks/frozen_cache.py --store data/demo/elements [--clips 16] [--batch 4] [--device cuda]
    python benchmarks/frozen_cache.py --store data/demo/elements --visual.dim=192 --visual.heads=3     other sizes

The published sizes (ViT-B, 1568 tokens; predictor of 2 layers, width 512); random weights take the same time.
An epoch of whole training steps, data included, of the same clips in random order: from the elements, from the cache in
memory, from the cache on the disk after it was dropped from the kernel's cache, and on a GPU from its memory. The
benchmark deletes its files at the end.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avdfd.config import AudioModelConfig, TrainConfig, load
from avdfd.datasets.batches import Batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.residency import Place
from avdfd.datasets.samplers import Shared, Shuffled
from avdfd.elements import ElementStore
from avdfd.training import backbone_cache
from avdfd.training.build import AnyDetector, build_detector
from avdfd.training.cached_batches import CachedBatches
from avdfd.training.distributed import pick_device
from avdfd.training.optim import adamw
from avdfd.training.precision import autocast
from train import stage2_loss

SIZES = ["--visual.init=random", "--visual.weights=null", "--backbone_lr_scale=0"]


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("--store", default="data/demo/elements")
    cli.add_argument("--clips", type=int, default=16)
    cli.add_argument("--batch", type=int, default=4)
    cli.add_argument("--workers", type=int, default=0)
    cli.add_argument("--device", default="auto")
    args, overrides = cli.parse_known_args()
    cfg = load("config/train.json", TrainConfig, overrides=[*SIZES, *overrides])
    device = pick_device(args.device)
    store = ElementStore(args.store)
    metas = store.metas[:: max(1, len(store) // args.clips)][: args.clips]
    order = Shared(Shuffled(len(metas), args.batch, 0))
    model = build_detector(cfg, AudioModelConfig()).to(device)
    model.visual_encoder.backbone.requires_grad_(False)
    inputs = Inputs(cfg.visual.image_size)

    encoder = backbone_cache.Encoder(model, inputs, cfg.optim.precision, device)
    cache = backbone_cache.open_cache(store, encoder)
    try:
        backbone_cache.fill(cache, metas.rows, store, encoder, workers=args.workers)
        places: list[Place] = ["gpu", "memory", "disk"] if device.type == "cuda" else ["memory", "disk"]
        ways: dict[str, Any] = {
            "computed in every step": Batches(ElementSet(store, metas, inputs), order, device, workers=args.workers),
            **{
                f"cache, {place}": CachedBatches(cache, metas, order, device, model.encoded, place=place)
                for place in places
            },
        }
        cores = len(os.sched_getaffinity(0))
        print(f"{len(metas)} clips, batch {args.batch}, {device}, {cores} cores, {args.workers} loader processes; load "
              f"{os.getloadavg()[0]:.1f}; {cache.row_bytes / 1e6:.3f} MB per clip; "
              f"filled at {cache.about()['computed']['clips_per_second']:.2f} clips/s\n")  # fmt: skip
        base = 0.0
        for name, batches in ways.items():
            if isinstance(batches, CachedBatches) and batches.place == "disk":
                cache.drop(metas.rows)
            rate = len(metas) / seconds(cfg, model, batches, device)
            base = base or rate
            alone = f"{batches.rate():12.1f}" if isinstance(batches, CachedBatches) else f"{'-':>12s}"
            print(f"{name:24s}{rate:10.3f} clips/s{rate / base:8.2f} x   reading alone {alone} clips/s", flush=True)
    finally:
        cache.close()
        shutil.rmtree(cache.root)


def seconds(cfg: TrainConfig, model: AnyDetector, batches: Iterable[Any], device: torch.device) -> float:
    """Return the seconds of an epoch of training steps: on a CPU process time, on a GPU those of the second epoch."""
    now = time.perf_counter if device.type == "cuda" else time.process_time
    optimizer = adamw([([p for p in model.parameters() if p.requires_grad], 1.0)], cfg.optim)
    for _ in range(2 if device.type == "cuda" else 1):
        model.train()
        started = now()
        for _, batch in batches:
            with autocast(device, cfg.optim.precision):
                out = model(*batch.model_inputs)
            loss = stage2_loss(cfg, out, batch.label, batch.fake_modalities)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()
    return now() - started


if __name__ == "__main__":
    main()
