"""Train stage 2: score the voice, the relation of audio and mouth, and the face, and fuse them by confidence.

    bash train.sh --stage consistency                 stage 2a, the predictor of the mouth, on real clips alone
    bash train.sh                                     stage 2, the published sizes
    python train.py --config config/demo/train.json --optim.lr=1e-4

The audio encoder and its head come from stage 1, the predictor of the mouth from stage 2a; both stay frozen, or are
trained on (`audio_lr_scale`, `consistency.lr_scale`). Loss: BCE of the fused probability and of every branch, real
clips against the same clips with their audio moved, and fusion weights supervised by the manipulated modality.

Without `consistency` in the config, the detector is the released one (avdfd/models/two_branch.py).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from avdfd.config import ConsistencyStageConfig, TrainConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import BEST
from avdfd.core.signals import Stop
from avdfd.datasets.loaders import Batch, ElementSet
from avdfd.datasets.samplers import Sequential, Share, Shared, Shuffled
from avdfd.datasets.split_elements import training_elements
from avdfd.elements import ElementStore, coded
from avdfd.metrics import roc
from avdfd.models.detector import Detector, DetectorOutput
from avdfd.models.losses import confidence, mean_bce
from avdfd.models.two_branch import TwoBranchOutput
from avdfd.training import cached_batches, distributed, loop
from avdfd.training.attention import Attention
from avdfd.training.build import (
    AnyDetector,
    attach_representation,
    build_detector,
    detector_inputs,
    load_audio_net,
    load_consistency,
)
from avdfd.training.consistency_stage import train_consistency
from avdfd.training.distributed import World, gather, gather_fields
from avdfd.training.flops import training_flops
from avdfd.training.memory_format import ChannelsLast
from avdfd.training.meter import Meter
from avdfd.training.optim import adamw, set_epoch_lr
from avdfd.training.precision import autocast
from avdfd.training.run_folder import RunFolder
from avdfd.training.state import Training
from avdfd.training.two_branch import two_branch_loss
from avdfd.training.visual_weights import load_visual_encoder

DEFAULTS = {"consistency": "config/consistency.json", "detector": "config/train.json"}
"""Config of each stage."""


def main(argv: list[str]) -> None:
    cli = Parser(description="Train stage 2, the audio-visual detector.")
    cli.add_argument("--stage", choices=DEFAULTS, default="detector", help="consistency: stage 2a, on real clips alone")
    cli.add_argument("--config", help="default: " + ", ".join(DEFAULTS.values()))
    cli.add_argument("--resume", action="store_true", help="resume the run, or start it")
    args, overrides = cli.parse_known_args(argv)
    path = args.config or DEFAULTS[args.stage]

    if args.stage == "consistency":
        stage2a = load(path, ConsistencyStageConfig, overrides=overrides)
        with distributed.join(stage2a.device) as world, Stop() as stop:
            train_consistency(stage2a, world, stop, resume=args.resume, console=print)
            if world.first:
                describe(Path(stage2a.runs) / stage2a.name)
        return
    cfg = load(path, TrainConfig, overrides=overrides)
    with distributed.join(cfg.device) as world, Stop() as stop:
        fit(cfg, world, stop, resume=args.resume)


def fit(cfg: TrainConfig, world: World, stop: Stop, *, resume: bool) -> None:
    """Train on all processes of `world`."""
    # ---- model
    device = world.device
    loop.seed_everything(cfg.seed)
    model, sizes = build(cfg)
    model = model.to(device)
    encoders = [
        ([*model.visual_encoder.backbone.parameters()], cfg.backbone_lr_scale),
        ([*model.audio_encoder.parameters(), *model.audio_head.parameters()], cfg.audio_lr_scale),
    ]
    if isinstance(model, Detector) and cfg.consistency is not None:
        encoders.append(([*model.consistency.parameters()], cfg.consistency.lr_scale))
    in_encoders = {id(p) for parameters, _ in encoders for p in parameters}
    groups = [*encoders, ([p for p in model.parameters() if id(p) not in in_encoders], 1.0)]
    optimizer = adamw(groups, cfg.optim)

    # ---- data
    store = ElementStore(cfg.data.elements)
    train_metas, val_metas, absent = training_elements(cfg, store)
    inputs = detector_inputs(cfg, sizes["audio_model"], sizes.get("consistency_model"))
    train_set = ElementSet(
        store, train_metas, inputs._replace(augment=cfg.augment, per_frame=cfg.faithful, synchrony=cfg.synchrony)
    )
    val_set = ElementSet(store, val_metas, inputs)
    tiers = coded(train_metas, "tier") if cfg.data.balance_tiers else None
    shuffled = Shuffled(len(train_metas), cfg.optim.batch_size, cfg.seed, tiers=tiers)
    order = Shared(shuffled, rank=world.rank, size=world.size, limit=cfg.micro_batch)
    val_order = Shared(Sequential(len(val_set), cfg.optim.batch_size), rank=world.rank, size=world.size)

    # ---- run
    run = RunFolder(cfg, resume=resume, first=world.first, console=print)
    training = Training(cfg, world, run, model, optimizer, stop, **sizes)
    training.restore()
    progress = training.progress
    train_data, val_data = cached_batches.open_stage2(
        cfg, world, run, stop, model, (train_set, order), (val_set, val_order)
    )
    loop.speed_up(model, cfg.speed, device, cfg.optim.precision)
    layout = ChannelsLast(cfg.speed.channels_last, model, device, cfg.optim.precision, run.log)
    net = loop.graphed(distributed.parallel(model, world), cfg.speed, world, micro_batch=cfg.micro_batch)
    run.log(f"training elements: {train_data}; validation elements: {val_data}")
    if absent:
        run.announce(absent)
    run.announce(f"stage 2: {len(train_set)} training and {len(val_set)} validation elements, {world}, {run.path}")

    # ---- epochs
    attention = Attention(cfg.speed.attention, device, cfg.optim.precision, run.log)
    flops = 0.0  # per clip, counted once
    bar = loop.epochs(progress, cfg.optim.epochs, "stage 2", world)
    for epoch in bar:
        if progress.stale >= cfg.select.patience:
            break
        meter = Meter(world, cfg.optim.precision)
        lr = set_epoch_lr(optimizer, epoch, cfg.optim)
        order.start(epoch, progress.step)

        model.train()
        step_loss = torch.zeros((), device=device)
        for share, batch in loop.steps(meter.watch(train_data), len(order), progress, world):
            run.show(batch.mel, batch.video, (train_set.metas[draw.position] for draw in share.draws))
            flops = flops or training_flops(model, *batch.model_inputs)
            layout(model, *batch.model_inputs)
            with distributed.accumulating(net, share.last):
                with autocast(device, cfg.optim.precision), attention(model, *batch.model_inputs):
                    out = net(*batch.model_inputs)
                labels = gather(world, share.total, batch.label, batch.fake_modalities)
                loss = share.weight * stage2_loss(cfg, gather_fields(world, share.total, out), *labels)
                loss.backward()
            step_loss = step_loss + loss.detach()
            meter.count(share.total, flops)
            if share.last:
                norm = clip_grad_norm_(model.parameters(), cfg.optim.clip_norm)
                training.step({"loss": step_loss}, norm, share.batch, train_set)
                step_loss = torch.zeros((), device=device)

        values = {"lr": lr, **meter.values()}
        values |= validate(model, cfg, val_data, world)
        values = training.end_epoch(values, cfg.select.metric, train_set)
        bar.set_postfix(loss=f"{values['loss']:.3f}", val_auc=f"{values['val_auc']:.3f}", best=f"{progress.best:.3f}")

    run.close()
    if world.first:
        describe(run.path)
    run.announce(f"stage 2 done: best validation {cfg.select.metric} {progress.best:.4f}, {run.path / BEST}")


def describe(run: Path) -> None:
    """Write the model card of a run."""
    from avdfd.report.card import write_card  # a report takes a second to import

    write_card(run)


def build(cfg: TrainConfig) -> tuple[AnyDetector, dict[str, Any]]:
    """Build the detector with stage 1's audio branch, stage 2a's predictor and the visual weights that the config asks
    for. Return it with the sizes to save with its weights."""
    stage1, audio_model = load_audio_net(cfg.audio, headless=cfg.faithful or cfg.audio_lr_scale > 0)
    if audio_model.input == "waveform" and cfg.augment.of_mels:
        raise UserError(f"{cfg.audio} takes the waveform and has no mel: set {', '.join(cfg.augment.of_mels)} to 0")
    sizes: dict[str, Any] = {"audio_model": audio_model}
    if cfg.consistency is not None:
        stage2a, sizes["consistency_model"] = load_consistency(cfg.consistency.init)
    model = build_detector(cfg, audio_model, sizes.get("consistency_model"))
    if isinstance(model, Detector):
        model.load_audio(stage1)
        model.consistency.load_state_dict(stage2a.state_dict())
        attach_representation(model, sizes["consistency_model"])
    else:
        model.load_audio(stage1, with_head=not cfg.faithful)
    if cfg.visual.init == "random":
        model.visual_encoder.backbone.init_from_scratch()
    else:
        load_visual_encoder(model.visual_encoder.backbone, cfg.visual)
    if cfg.backbone_lr_scale == 0:
        model.visual_encoder.backbone.requires_grad_(False)
    return model, sizes


def stage2_loss(
    cfg: TrainConfig, out: DetectorOutput | TwoBranchOutput, label: Tensor, fake_modalities: Tensor
) -> Tensor:
    """Weighted sum of the losses of a batch, in float32: label (B,), and fake_modalities (B, 2) as in `Batch`."""
    if isinstance(out, TwoBranchOutput):
        return two_branch_loss(cfg, out, label, fake_modalities)
    assert cfg.consistency is not None, "three branches come with it"
    assert out.logit_moved is not None, "in training"
    fake_audio, fake_video = fake_modalities.unbind(dim=1)
    loss = F.binary_cross_entropy_with_logits(out.logit_final.float(), label)
    if cfg.loss.audio:
        loss = loss + cfg.loss.audio * F.binary_cross_entropy_with_logits(out.logit_audio.float(), fake_audio)
    if cfg.loss.picture:
        loss = loss + cfg.loss.picture * F.binary_cross_entropy_with_logits(out.logit_picture.float(), fake_video)
    if cfg.loss.consistency:
        # Fake audio on real video may be in sync with it or not: such clips teach nothing about consistency.
        known = 1 - fake_audio * (1 - fake_video)
        loss = loss + cfg.loss.consistency * mean_bce(out.logit_consistency, fake_video, known)
    if cfg.consistency.moved:
        own, *others = out.logit_moved.unbind(dim=1)
        of_others = sum((mean_bce(other, torch.ones_like(label), 1 - label) for other in others), torch.zeros(()))
        both = mean_bce(own, torch.zeros_like(label), 1 - label) + of_others / len(others)
        loss = loss + cfg.consistency.moved * both / 2
    if cfg.loss.confidence and cfg.fusion == "learned":
        audio, *video = out.log_weights.unbind(dim=1)
        # Either branch of the video may take its weight.
        grouped = torch.stack([audio, torch.stack(video, dim=1).logsumexp(dim=1)], dim=1)
        loss = loss + cfg.loss.confidence * confidence(grouped, fake_modalities)
    return loss


@torch.inference_mode()
def validate(
    model: AnyDetector, cfg: TrainConfig, batches: Iterable[tuple[Share, Batch]], world: World
) -> dict[str, float]:
    """Compute AUC and AP over the validation elements, each counted once, of the fusion and of every branch."""
    model.eval()
    gathered: list[tuple[Tensor, ...]] = []
    for share, batch in batches:
        with autocast(world.device, cfg.optim.precision):
            out = model(*batch.model_inputs)
        logits = (out.logit_final.float(), *out.logits.float().unbind(dim=1))
        gathered.append(gather(world, share.total, batch.label, *logits))
    label, *scores = (torch.cat(values).cpu().numpy() for values in zip(*gathered, strict=True))
    values = {}
    for name, score in zip(("", *(f"_{branch}" for branch in model.branches)), scores, strict=True):
        values[f"val{name}_auc"] = roc.auc(label, score)
        values[f"val{name}_ap"] = roc.average_precision(label, score)
    return values


if __name__ == "__main__":
    run_script(main)
