"""Stage 2: predicts vision from audio, takes the discrepancy as evidence, and fuses both branches by confidence.

    bash train.sh                                     the published sizes
    python train.py --config config/demo/train.json --optim.lr=1e-4

The audio encoder and its head come from stage 1 and stay frozen. Loss: BCE of the fused probability and
align/repel on the mismatch of predicted and actual visual tokens.
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
from avdfd.config import AudioModelConfig, TrainConfig, load
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, loader, split_metas, to_device
from avdfd.datasets.samplers import Sequential, Shuffled
from avdfd.datasets.transforms import normalise
from avdfd.elements import ElementStore, coded
from avdfd.errors import run_script
from avdfd.losses import align_repel
from avdfd.models.detector import Detector, DetectorOutput
from avdfd.optim import adamw, set_epoch_lr
from avdfd.released import load_visual_encoder
from avdfd.tracking import BEST, RunFolder


def main(argv: list[str]) -> None:
    cli = argparse.ArgumentParser(description="Stage 2: the audio-visual detector.", allow_abbrev=False)
    cli.add_argument("--config", default="config/train.json")
    cli.add_argument("--resume", action="store_true", help="go on with the run, or start it")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, TrainConfig, overrides=overrides)

    # ---- model
    device = engine.pick_device(cfg.device)
    engine.seed_everything(cfg.seed)
    model, audio_model = build(cfg)
    model = model.to(device)
    backbone = list(model.visual_encoder.backbone.parameters())
    in_backbone = {id(p) for p in backbone}
    rest = [p for p in model.parameters() if id(p) not in in_backbone]
    optimizer = adamw([(backbone, cfg.backbone_lr_scale), (rest, 1.0)], cfg.optim)

    # ---- data
    store = ElementStore(cfg.data.elements)
    train_metas = split_metas(cfg, store, "train")
    val_metas = split_metas(cfg, store, "validation")
    tiers = coded(train_metas, "tier") if cfg.data.balance_tiers else None
    shuffled = Shuffled(len(train_metas), cfg.optim.batch_size, cfg.seed, tiers=tiers)
    inputs = Inputs(cfg.visual.image_size, audio=audio_model.input)
    train_set = ElementSet(store, train_metas, inputs._replace(augment=cfg.augment, per_frame=cfg.faithful))
    val_set = ElementSet(store, val_metas, inputs)
    train_loader = loader(train_set, shuffled, cfg.data.workers, device)
    val_loader = loader(val_set, Sequential(len(val_set), cfg.optim.batch_size), cfg.data.workers, device)

    # ---- run
    run = RunFolder(cfg, resume=args.resume)
    progress = engine.restore(run, cfg, model, optimizer)
    print(run.log(f"stage 2: {len(train_set)} training and {len(val_set)} validation elements, {device}, {run.path}"))

    # ---- epochs
    bar = tqdm(range(progress.epoch, cfg.optim.epochs), desc="stage 2", unit="epoch")
    for epoch in bar:
        if progress.stale >= cfg.select.patience:
            break
        started = time.monotonic()
        lr = set_epoch_lr(optimizer, epoch, cfg.optim)
        shuffled.epoch = epoch

        model.train()
        losses = []
        for batch in tqdm(train_loader, desc="train", leave=False):
            batch = to_device(batch, device)
            with engine.autocast(device, cfg.optim.precision):
                out = model(batch.mel, normalise(batch.video))
            loss = stage2_loss(cfg, out, batch.label)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_grad_norm_(model.parameters(), cfg.optim.clip_norm)
            optimizer.step()
            losses.append(loss.detach())

        values = {"loss": torch.stack(losses).mean().item(), **validate(model, cfg, val_loader, device)}
        values |= {"lr": lr, "seconds": time.monotonic() - started}
        state = engine.model_state(cfg, model, audio_model=audio_model.model_dump())
        engine.keep_epoch(run, state, optimizer, progress, values, cfg.select.metric)
        bar.set_postfix(loss=f"{values['loss']:.3f}", val_auc=f"{values['val_auc']:.3f}", best=f"{progress.best:.3f}")

    run.close()
    print(run.log(f"stage 2 done: best validation {cfg.select.metric} {progress.best:.4f}, {run.path / BEST}"))


def build(cfg: TrainConfig) -> tuple[Detector, AudioModelConfig]:
    """The detector with stage 1's audio branch and the visual weights that the config asks for."""
    stage1, audio_model = engine.load_audio_net(cfg.audio)
    model = engine.build_detector(cfg, audio_model)
    model.load_audio(stage1, with_head=not cfg.faithful)
    if cfg.visual.init == "random":
        model.visual_encoder.backbone.init_from_scratch()
    else:
        load_visual_encoder(model.visual_encoder.backbone, cfg.visual)
    if cfg.backbone_lr_scale == 0:
        model.visual_encoder.backbone.requires_grad_(False)
    return model, audio_model


def stage2_loss(cfg: TrainConfig, out: DetectorOutput, label: Tensor) -> Tensor:
    """Weighted sum of the losses, in float32."""
    loss = F.binary_cross_entropy_with_logits(out.logit_final.float(), label)
    loss = loss + cfg.loss.align * align_repel(out.mismatch_mse, label, cfg.loss.margin)
    if cfg.loss.consistency:
        loss = loss + cfg.loss.consistency * F.binary_cross_entropy_with_logits(out.logit_a2v.float(), label)
    return loss


@torch.inference_mode()
def validate(model: Detector, cfg: TrainConfig, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """AUC and AP over the validation elements, each counted once, of the fusion and of either branch."""
    model.eval()
    columns: dict[str, list[Tensor]] = {"label": [], "": [], "_audio": [], "_visual": []}
    for batch in batches:
        batch = to_device(batch, device)
        assert batch.video is not None, "stage 2's inputs have video"
        with engine.autocast(device, cfg.optim.precision):
            out = model(batch.mel, normalise(batch.video))
        for name, value in zip(columns, (batch.label, out.logit_final, out.logit_audio, out.logit_a2v), strict=True):
            columns[name].append(value.float())
    label, *scores = (torch.cat(c).cpu().numpy() for c in columns.values())
    values = {}
    for name, score in zip(list(columns)[1:], scores, strict=True):
        values[f"val{name}_auc"] = metrics.auc(label, score)
        values[f"val{name}_ap"] = metrics.average_precision(label, score)
    return values


if __name__ == "__main__":
    run_script(main)
