"""Effect of the whitening patch projection on a small ViT trained from scratch (VisualEncoder.init_from_scratch).

    .venv/bin/python benchmarks/visual_init.py            after demo.sh has written the elements of the built-in corpus

Trains the demo's visual encoder with a linear head on RVRA against FVRA, once with the usual initialisation and once
with the whitening one, all else equal, and prints the AUC on windows of unseen identities.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avdfd.config import AugmentConfig, TrainConfig, load
from avdfd.datasets.batches import Batches
from avdfd.datasets.loaders import ElementSet, Inputs
from avdfd.datasets.samplers import Sequential, Shared, Shuffled
from avdfd.datasets.split_elements import split_metas
from avdfd.elements import ElementStore
from avdfd.metrics import roc
from avdfd.models.visual_encoder import VisualBranch
from avdfd.training import loop


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--epochs", type=int, default=8)
    cli.add_argument("--seeds", type=int, default=3)
    args, overrides = cli.parse_known_args()
    cfg = load("config/demo/train.json", TrainConfig, overrides=overrides)
    print(f"test AUC, RVRA against FVRA, {args.epochs} epochs of batches of 8, {os.cpu_count()} cores")
    table = {}
    for name, whiten in (("usual", False), ("whitening", True)):
        table[name] = [run(cfg, whiten, args.epochs, seed) for seed in range(args.seeds)]
        print(f"{name:10s} mean {np.mean(table[name]):.3f}  seeds {' '.join(f'{auc:.3f}' for auc in table[name])}")
    print(f"difference {np.mean(table['whitening']) - np.mean(table['usual']):+.3f}")


def run(cfg: TrainConfig, whiten: bool, epochs: int, seed: int) -> float:
    """Train on the training identities; return the AUC over the windows of the test identities after the last epoch."""
    loop.seed_everything(seed)
    store = ElementStore(cfg.data.elements)
    train, test = (split_metas(cfg, store, split, ["FVRA"]) for split in ("train", "test"))
    size, cpu = cfg.visual.image_size, torch.device("cpu")
    order, plain = Shared(Shuffled(len(train), 8, seed)), Shared(Sequential(len(test), 16))
    batches = Batches(ElementSet(store, train, Inputs(size, AugmentConfig(flip=0.5, shift=2))), order, cpu, workers=1)
    tests = Batches(ElementSet(store, test, Inputs(size)), plain, cpu, workers=1)
    branch = VisualBranch(64, **cfg.visual.model_dump(exclude={"init", "weights", "sha256"}))
    if whiten:
        branch.backbone.init_from_scratch()
    head = nn.Linear(128, 1)

    def logits(video: Tensor) -> Tensor:
        tokens, pooled = branch.backbone(branch.normalise(video))
        return head(torch.cat([tokens.amax(1), pooled], dim=-1)).squeeze(-1)

    optimizer = torch.optim.AdamW([*branch.parameters(), *head.parameters()], lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(order))
    for epoch in range(epochs):
        order.start(epoch, 0)
        for _, batch in batches:
            loss = F.binary_cross_entropy_with_logits(logits(batch.video), batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.inference_mode():
        scores = [logits(batch.video) for _, batch in tests]
    return roc.auc(np.array([m.label for m in test]), torch.cat(scores).numpy())


if __name__ == "__main__":
    main()
