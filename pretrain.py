"""Stage 1: learns an audio representation in which voices are ordered by how far from real they are.

    bash pretrain.sh                                     the published sizes
    python pretrain.py --config config/demo/pretrain.json --optim.lr=1e-4

Batches pair a fake with a real clip of the same identity. Loss: supervised contrastive over the four classes,
real/fake BCE, and an ordinal ring around a learned prototype of real speech.
"""

import argparse
import time
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from avdfd import engine, metrics
from avdfd.config import PretrainConfig, load
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, loader, split_metas, to_device
from avdfd.datasets.samplers import Paired, Sequential
from avdfd.datasets.tiers import AUDIO_CLASS
from avdfd.elements import ElementStore
from avdfd.errors import UserError, run_script
from avdfd.losses import ordinal_ring, supcon
from avdfd.models.audio_encoder import AudioNet, AudioOutput
from avdfd.optim import adamw, set_epoch_lr
from avdfd.tracking import BEST, RunFolder


def main(argv: list[str]) -> None:
    cli = argparse.ArgumentParser(description="Stage 1: the audio branch.", allow_abbrev=False)
    cli.add_argument("--config", default="config/pretrain.json")
    cli.add_argument("--resume", action="store_true", help="go on with the run, or start it")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, PretrainConfig, overrides=overrides)
    unordered = sorted(set(cfg.data.fake_tiers) - set(AUDIO_CLASS))
    if unordered:
        raise UserError(
            f"{args.config}: data.fake_tiers: stage 1 has no class for {unordered[0]}; "
            "it orders RVFA-SVC, RVFA-VC and RVFA"
        )

    # ---- data
    device = engine.pick_device(cfg.device)
    engine.seed_everything(cfg.seed)
    store = ElementStore(cfg.data.elements)
    train_metas = split_metas(cfg, store, "train")
    val_metas = split_metas(cfg, store, "validation")
    pairs = Paired(
        train_metas,
        cfg.optim.batch_size,
        cfg.seed,
        source=cfg.data.splits,
        first_real=cfg.faithful,
        balance=cfg.data.balance_tiers,
    )
    train_set = ElementSet(store, train_metas, Inputs(image_size=None, augment=cfg.augment, audio=cfg.model.input))
    val_set = ElementSet(store, val_metas, Inputs(image_size=None, audio=cfg.model.input))
    train_loader = loader(train_set, pairs, cfg.data.workers, device)
    val_loader = loader(val_set, Sequential(len(val_set), 4 * cfg.optim.batch_size), cfg.data.workers, device)

    # ---- model
    model = AudioNet(cfg.model).to(device)
    optimizer = adamw([(model.parameters(), 1.0)], cfg.optim)
    run = RunFolder(cfg, resume=args.resume)
    progress = engine.restore(run, cfg, model, optimizer)
    print(run.log(f"stage 1: {len(train_set)} training and {len(val_set)} validation elements, {device}, {run.path}"))

    # ---- epochs
    bar = tqdm(range(progress.epoch, cfg.optim.epochs), desc="stage 1", unit="epoch")
    for epoch in bar:
        if progress.stale >= cfg.select.patience:
            break
        started = time.monotonic()
        lr = set_epoch_lr(optimizer, epoch, cfg.optim)
        pairs.epoch = epoch

        model.train()
        losses = []
        for batch in tqdm(train_loader, desc="train", leave=False):
            batch = to_device(batch, device)
            with engine.autocast(device, cfg.optim.precision):
                out = model(batch.mel)
            loss = stage1_loss(cfg, out, batch, model.prototype)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_grad_norm_(model.parameters(), cfg.optim.clip_norm)
            optimizer.step()
            losses.append(loss.detach())

        values = {"loss": torch.stack(losses).mean().item(), **validate(model, cfg, val_loader, device)}
        values |= {"lr": lr, "seconds": time.monotonic() - started}
        state = engine.model_state(cfg, model, audio_model=cfg.model.model_dump())
        engine.keep_epoch(run, state, optimizer, progress, values, cfg.select.metric)
        bar.set_postfix(loss=f"{values['loss']:.3f}", val_auc=f"{values['val_auc']:.3f}", best=f"{progress.best:.3f}")

    run.close()
    print(run.log(f"stage 1 done: best validation {cfg.select.metric} {progress.best:.4f}, {run.path / BEST}"))


def stage1_loss(cfg: PretrainConfig, out: AudioOutput, batch: Batch, prototype: Tensor) -> Tensor:
    """Weighted sum of the three losses, in float32."""
    return (
        cfg.loss.supcon * supcon(out.z, batch.audio_class, cfg.loss.temperature)
        + cfg.loss.auxiliary * F.binary_cross_entropy_with_logits(out.logit.float(), batch.label)
        + cfg.loss.ordinal * ordinal_ring(out.z, batch.audio_class, prototype, cfg.loss.margin)
    )


@torch.inference_mode()
def validate(model: AudioNet, cfg: PretrainConfig, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """AUC and AP of the auxiliary head over the validation elements, each counted once."""
    model.eval()
    labels, logits = [], []
    for batch in batches:
        batch = to_device(batch, device)
        with engine.autocast(device, cfg.optim.precision):
            logits.append(model(batch.mel).logit.float())
        labels.append(batch.label)
    label, logit = torch.cat(labels).cpu().numpy(), torch.cat(logits).cpu().numpy()
    return {"val_auc": metrics.auc(label, logit), "val_ap": metrics.average_precision(label, logit)}


if __name__ == "__main__":
    run_script(main)
