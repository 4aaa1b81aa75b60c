"""Train stage 2: predict vision from audio, take the discrepancy as evidence, and fuse both branches by confidence.

    bash train.sh                                     the published sizes
    python train.py --config config/demo/train.json --optim.lr=1e-4

The audio encoder and its head come from stage 1 and stay frozen, or are trained on (`audio_lr_scale`). Loss: BCE of the
fused probability, align/repel on the mismatch of predicted and actual visual tokens, and fusion weights supervised by
the manipulated modality.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from avdfd.config import AudioModelConfig, TrainConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import BEST
from avdfd.core.signals import Stop
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, absent_identities, split_metas
from avdfd.datasets.samplers import Sequential, Share, Shared, Shuffled, with_fakes
from avdfd.elements import ElementStore, coded
from avdfd.metrics import roc
from avdfd.models.detector import Detector, DetectorOutput
from avdfd.models.losses import align_repel, confidence, in_sync
from avdfd.training import cached_batches, distributed, loop
from avdfd.training.build import build_detector, load_audio_net
from avdfd.training.distributed import World, gather, gather_fields
from avdfd.training.flops import training_flops
from avdfd.training.meter import Meter
from avdfd.training.optim import adamw, set_epoch_lr
from avdfd.training.run_folder import RunFolder
from avdfd.training.state import Training
from avdfd.training.visual_weights import load_visual_encoder


def main(argv: list[str]) -> None:
    cli = Parser(description="Train stage 2, the audio-visual detector.")
    cli.add_argument("--config", default="config/train.json")
    cli.add_argument("--resume", action="store_true", help="resume the run, or start it")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, TrainConfig, overrides=overrides)

    with distributed.join(cfg.device) as world, Stop() as stop:
        fit(cfg, world, stop, resume=args.resume)


def fit(cfg: TrainConfig, world: World, stop: Stop, *, resume: bool) -> None:
    """Train on all processes of `world`."""
    # ---- model
    device = world.device
    loop.seed_everything(cfg.seed)
    model, audio_model = build(cfg)
    model = model.to(device)
    backbone = list(model.visual_encoder.backbone.parameters())
    audio = [*model.audio_encoder.parameters(), *model.audio_head.parameters()]
    in_encoders = {id(p) for p in (*backbone, *audio)}
    rest = [p for p in model.parameters() if id(p) not in in_encoders]
    groups = [(backbone, cfg.backbone_lr_scale), (audio, cfg.audio_lr_scale), (rest, 1.0)]
    optimizer = adamw(groups, cfg.optim)

    # ---- data
    store = ElementStore(cfg.data.elements)
    train_metas = with_fakes(split_metas(cfg, store, "train"), cfg.data.min_fake, cfg.data.elements)
    val_metas = split_metas(cfg, store, "validation")
    inputs = Inputs(cfg.visual.image_size, audio=audio_model.input)
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
    training = Training(cfg, world, run, model, optimizer, stop, audio_model=audio_model.model_dump())
    training.restore()
    progress = training.progress
    train_data, val_data = cached_batches.open_stage2(
        cfg, world, run, stop, model, (train_set, order), (val_set, val_order)
    )
    loop.speed_up(model, cfg.speed, device, cfg.optim.precision)
    net = distributed.parallel(model, world)
    run.log(f"training elements: {train_data}; validation elements: {val_data}")
    if absent := absent_identities(cfg, store):
        run.announce(absent)
    run.announce(f"stage 2: {len(train_set)} training and {len(val_set)} validation elements, {world}, {run.path}")

    # ---- epochs
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
            with distributed.accumulating(net, share.last):
                with loop.autocast(device, cfg.optim.precision):
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
    run.announce(f"stage 2 done: best validation {cfg.select.metric} {progress.best:.4f}, {run.path / BEST}")


def build(cfg: TrainConfig) -> tuple[Detector, AudioModelConfig]:
    """Build the detector with stage 1's audio branch and the visual weights that the config asks for."""
    stage1, audio_model = load_audio_net(cfg.audio, headless=cfg.faithful or cfg.audio_lr_scale > 0)
    if audio_model.input == "waveform" and cfg.augment.of_mels:
        raise UserError(f"{cfg.audio} takes the waveform and has no mel: set {', '.join(cfg.augment.of_mels)} to 0")
    model = build_detector(cfg, audio_model)
    model.load_audio(stage1, with_head=not cfg.faithful)
    if cfg.visual.init == "random":
        model.visual_encoder.backbone.init_from_scratch()
    else:
        load_visual_encoder(model.visual_encoder.backbone, cfg.visual)
    if cfg.backbone_lr_scale == 0:
        model.visual_encoder.backbone.requires_grad_(False)
    return model, audio_model


def stage2_loss(cfg: TrainConfig, out: DetectorOutput, label: Tensor, fake_modalities: Tensor) -> Tensor:
    """Weighted sum of the losses of a batch, in float32: label (B,), and fake_modalities (B, 2) as in `Batch`."""
    loss = F.binary_cross_entropy_with_logits(out.logit_final.float(), label)
    loss = loss + cfg.loss.align * align_repel(out.mismatch_mse, label, cfg.loss.margin)
    if cfg.loss.consistency:
        loss = loss + cfg.loss.consistency * F.binary_cross_entropy_with_logits(out.logit_a2v.float(), label)
    if cfg.loss.confidence and cfg.fusion == "learned":
        loss = loss + cfg.loss.confidence * confidence(out.log_weights, fake_modalities)
    if cfg.synchrony is not None and out.agreement is not None:
        loss = loss + cfg.synchrony.weight * in_sync(out.agreement, label)
    return loss


@torch.inference_mode()
def validate(
    model: Detector, cfg: TrainConfig, batches: Iterable[tuple[Share, Batch]], world: World
) -> dict[str, float]:
    """Compute AUC and AP over the validation elements, each counted once, of the fusion and of either branch."""
    model.eval()
    gathered: list[tuple[Tensor, ...]] = []
    for share, batch in batches:
        with loop.autocast(world.device, cfg.optim.precision):
            out = model(*batch.model_inputs)
        logits = (out.logit_final.float(), out.logit_audio.float(), out.logit_a2v.float())
        gathered.append(gather(world, share.total, batch.label, *logits))
    label, *scores = (torch.cat(values).cpu().numpy() for values in zip(*gathered, strict=True))
    values = {}
    for name, score in zip(("", "_audio", "_visual"), scores, strict=True):
        values[f"val{name}_auc"] = roc.auc(label, score)
        values[f"val{name}_ap"] = roc.average_precision(label, score)
    return values


if __name__ == "__main__":
    run_script(main)
