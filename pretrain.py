"""Train stage 1: an audio representation in which voices are ordered by their distance from real speech.

    bash pretrain.sh                                     the published sizes
    python pretrain.py --config config/demo/pretrain.json --optim.lr=1e-4
    bash pretrain.sh --folds data/splits/page_disjoint --probes data/speech-parity       one run per fold, then judged

Batches pair a fake with a real clip of the same identity, or page. Loss: supervised contrastive over the four classes,
real/fake BCE, an ordinal ring around a learned prototype of real speech, and the ranking of each pair. A fitted score
(`model.score`) is computed before the first epoch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from avdfd.config import AugmentConfig, PretrainConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import BEST
from avdfd.core.signals import Stop
from avdfd.core.tiers import AUDIO_CLASS
from avdfd.datasets.loaders import Batch, ElementSet, Inputs
from avdfd.datasets.samplers import Paired, Sequential, Share, Shared
from avdfd.datasets.split_elements import training_elements
from avdfd.elements import ElementMeta, ElementStore
from avdfd.media.codecs import round_trip
from avdfd.metrics import roc
from avdfd.models.audio_encoder import AudioEncoder, AudioNet
from avdfd.models.losses import ordinal_ring, ranking, supcon
from avdfd.splits import folds
from avdfd.splits.files import UNKNOWN_METHODS
from avdfd.splits.lists import read_split_json
from avdfd.training import distributed, loop
from avdfd.training.attention import Attention
from avdfd.training.build import build_audio_net, start_front
from avdfd.training.distributed import World, gather
from avdfd.training.fitted import clip_values, fit_score, values_of
from avdfd.training.flops import training_flops
from avdfd.training.front_cache import open_stage1
from avdfd.training.memory_format import ChannelsLast
from avdfd.training.meter import Meter
from avdfd.training.optim import Groups, adamw, set_epoch_lr
from avdfd.training.penalties import penalties_of
from avdfd.training.precision import autocast
from avdfd.training.run_folder import RunFolder
from avdfd.training.state import Training


def main(argv: list[str]) -> None:
    cli = Parser(description="Train stage 1, the audio branch.")
    cli.add_argument("--config", default="config/pretrain.json")
    cli.add_argument("--folds", type=Path, help="folder of fold_*.csv: one run per fold, evaluated by page")
    cli.add_argument("--probes", type=Path, metavar="ROOT", help="with --folds: the clips' files, for shortcut probes")
    cli.add_argument("--resume", action="store_true", help="resume the run, or start it")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, PretrainConfig, overrides=overrides)
    for key in ("fake_tiers", "validation_tiers"):
        unordered = sorted(set(getattr(cfg.data, key) or ()) - set(AUDIO_CLASS))
        if unordered:
            raise UserError(
                f"{args.config}: data.{key}: stage 1 has no class for {unordered[0]}; "
                "it orders RVFA-SVC, RVFA-VC and RVFA"
            )
    if args.probes and not args.folds:
        raise UserError("--probes probes the test of each fold: name the folds with --folds")
    if args.probes:
        check_probed(cfg, args.folds, args.probes)
    with distributed.join(cfg.device) as world:
        with Stop() as stop:
            for one in folds.fold_configs(cfg, args.folds) if args.folds else [cfg]:
                fit(one, world, stop, resume=args.resume)
        if args.folds:
            evaluate_all_folds(cfg, args.folds, args.probes, world)


def fit(cfg: PretrainConfig, world: World, stop: Stop, *, resume: bool) -> None:
    """Train on all processes of `world`."""
    # ---- model
    device = world.device
    loop.seed_everything(cfg.seed)
    model = build_audio_net(cfg.model)
    start_front(model.encoder, cfg.model)
    model = model.to(device)
    optimizer = adamw(parameter_groups(cfg, model), cfg.optim)

    # ---- data
    store = ElementStore(cfg.data.elements)
    train_metas, val_metas, absent = training_elements(cfg, store)
    inputs = Inputs(image_size=None, audio=cfg.model.input)
    changed = inputs._replace(augment=cfg.augment, round_trip=round_trip)
    train_set = ElementSet(store, train_metas, input_form(cfg, model, changed))
    val_set = ElementSet(store, val_metas, input_form(cfg, model, inputs))
    pages = pages_of(cfg, val_metas) if cfg.select.metric == "page_auc" else None
    pairs = Paired(
        train_metas,
        cfg.optim.batch_size,
        cfg.seed,
        source=cfg.data.splits,
        first_real=cfg.faithful,
        balance=cfg.data.balance_tiers,
        by=cfg.pair_by,
    )
    order = Shared(pairs, rank=world.rank, size=world.size)
    val_order = Shared(Sequential(len(val_set), 4 * cfg.optim.batch_size), rank=world.rank, size=world.size)

    # ---- run
    run = RunFolder(cfg, resume=resume, first=world.first, console=print)
    train_data, val_data = open_stage1(cfg, world, run, stop, model, (train_set, order), (val_set, val_order))
    training = Training(cfg, world, run, model, optimizer, stop, audio_model=cfg.model.model_dump())
    training.restore()
    progress = training.progress
    if model.encoder.score is not None and not progress.epoch and not progress.step:
        unchanged = ElementSet(store, train_metas, input_form(cfg, model, inputs))
        clips = clip_values(train_metas, values_of(model.encoder, unchanged, train_data), by=cfg.pair_by)
        fit_score(model.encoder.score, clips, *penalties_of(cfg, clips, run))
    loop.speed_up(model, cfg.speed, device, cfg.optim.precision)
    layout = ChannelsLast(cfg.speed.channels_last, model, device, cfg.optim.precision, run.log)
    net = loop.graphed(distributed.parallel(model, world), cfg.speed, world)
    run.log(f"training elements: {train_data}; validation elements: {val_data}")
    if absent:
        run.announce(absent)
    run.announce(f"stage 1: {len(train_set)} training and {len(val_set)} validation elements, {world}, {run.path}")

    # ---- epochs
    attention = Attention(cfg.speed.attention, device, cfg.optim.precision, run.log)
    flops = 0.0  # per clip, counted once
    bar = loop.epochs(progress, cfg.optim.epochs, "stage 1", world)
    for epoch in bar:
        if progress.stale >= cfg.select.patience:
            break
        meter = Meter(world, cfg.optim.precision)
        lr = set_epoch_lr(optimizer, epoch, cfg.optim)
        order.start(epoch, progress.step)

        model.train()
        for share, batch in loop.steps(meter.watch(train_data), len(order), progress, world):
            run.show(batch.mel, None, (train_set.metas[draw.position] for draw in share.draws))
            flops = flops or training_flops(model, *batch.model_inputs)
            backends = attention(model, *batch.model_inputs)
            layout(model, *batch.model_inputs)
            with distributed.dividing(world, share.total), autocast(device, cfg.optim.precision), backends:
                out = net(*batch.model_inputs)
            z, logit, label, audio_class = gather(world, share.total, out.z, out.logit, batch.label, batch.audio_class)
            loss = stage1_loss(cfg, z, logit, label, audio_class, model.prototype)
            loss.backward()
            norm = clip_grad_norm_(model.parameters(), cfg.optim.clip_norm)
            training.step({"loss": loss.detach()}, norm, share.batch, train_set)
            meter.count(share.total, flops)

        values = {"lr": lr, **meter.values()}
        values |= validate(model, cfg, val_data, pages, world)
        values = training.end_epoch(values, cfg.select.metric, train_set)
        bar.set_postfix(loss=f"{values['loss']:.3f}", val_auc=f"{values['val_auc']:.3f}", best=f"{progress.best:.3f}")

    run.close()
    if world.first:
        from avdfd.report.card import write_card  # a report takes a second to import

        write_card(run.path)
    run.announce(f"stage 1 done: best validation {cfg.select.metric} {progress.best:.4f}, {run.path / BEST}")


def parameter_groups(cfg: PretrainConfig, model: AudioNet) -> Groups:
    """Return the parameters with the scales of their learning rates; trained layers of a pretrained encoder have their
    own."""
    front_end = getattr(model.encoder, "front_end", None)
    pretrained = [] if front_end is None else [*front_end.parameters()]
    theirs = {id(parameter) for parameter in pretrained}
    scale = None if cfg.model.front is None else cfg.model.front.lr_scale
    return [([p for p in model.parameters() if id(p) not in theirs], 1.0), (pretrained, scale or 0.0)]


def pages_of(cfg: PretrainConfig, metas: Sequence[ElementMeta]) -> list[str]:
    """Return the pages of validation elements. Raises UserError if none has both classes."""
    real, fake = ({meta.page for meta in metas if meta.window.label == label} for label in (0, 1))
    if not real & fake:
        raise UserError(
            f"{cfg.data.splits}: no page has real and fake validation elements, which select.metric page_auc compares; "
            "choose auc or ap"
        )
    return [meta.page for meta in metas]


def input_form(cfg: PretrainConfig, model: AudioNet, inputs: Inputs) -> Inputs:
    """Read elements as the patch statistics of their audio, if these are the same in every epoch."""
    if not isinstance(model.encoder, AudioEncoder) or inputs.augment != AugmentConfig():
        return inputs
    return inputs._replace(front=model.encoder.front) if model.encoder.front.statistics else inputs


def stage1_loss(
    cfg: PretrainConfig, z: Tensor, logit: Tensor, label: Tensor, audio_class: Tensor, prototype: Tensor
) -> Tensor:
    """Weighted sum of the losses of a whole batch, in float32: z (B, P), logit, label and class (B,)."""
    return (
        cfg.loss.supcon * supcon(z, audio_class, cfg.loss.temperature, faithful=cfg.faithful)
        + cfg.loss.auxiliary * F.binary_cross_entropy_with_logits(logit.float(), label)
        + cfg.loss.ordinal * ordinal_ring(z, audio_class, prototype, cfg.loss.margin)
        + cfg.loss.ranking * ranking(logit)
    )


@torch.inference_mode()
def validate(
    model: AudioNet,
    cfg: PretrainConfig,
    batches: Iterable[tuple[Share, Batch]],
    pages: Sequence[str] | None,
    world: World,
) -> dict[str, float]:
    """Compute AUC and AP of the auxiliary head over the validation elements, each counted once; also AUC by page."""
    model.eval()
    gathered: list[tuple[Tensor, ...]] = []
    for share, batch in batches:
        with autocast(world.device, cfg.optim.precision):
            logit = model(*batch.model_inputs).logit.float()
        gathered.append(gather(world, share.total, batch.label, logit))
    label, logit = (torch.cat(values).cpu().numpy() for values in zip(*gathered, strict=True))
    values = {"val_auc": roc.auc(label, logit), "val_ap": roc.average_precision(label, logit)}
    return values if pages is None else {**values, "val_page_auc": roc.auc_within(label, logit, pages)}


def check_probed(cfg: PretrainConfig, folder: Path, root: Path) -> None:
    """Raise UserError if the source files of the folds are not under `root`: before training, not after it."""
    from avdfd.evaluation.audit.page_probes import check_sources, fold_elements

    check_sources(fold_elements(folds.fold_configs(cfg, folder), ElementStore(cfg.data.elements)), root)


def evaluate_all_folds(cfg: PretrainConfig, folder: Path, root: Path | None, world: World) -> None:
    """Evaluate the run of every fold on pages it has not seen; write `<name>-folds.json` and `<name>-pages.json`.

    `root` holds the source files, which are probed for shortcuts on the same folds; None for no probes.
    """
    # Imported here, as training does not need them and they take time.
    from avdfd.evaluation.audit.page_probes import fold_elements, probe_folds
    from avdfd.evaluation.folds import evaluate_folds, summarise, summarise_pages
    from avdfd.report import files

    configs = folds.fold_configs(cfg, folder)
    tested = evaluate_folds(configs, world, lambda done: print(files.write(done)), tiers=cfg.data.fake_tiers)
    if world.first:
        pages = summarise_pages(tested)
        unknown = read_split_json(configs[0].data.splits).get(UNKNOWN_METHODS, [])
        probes: dict[str, dict[str, Any]] | None = None
        unreadable: dict[str, str] = {}
        if root and pages:
            probes, unreadable = probe_folds(fold_elements(configs, ElementStore(cfg.data.elements)), root)
        print(files.write_folds(Path(cfg.runs) / cfg.name, summarise(tested), pages, probes, unknown))
        for source, reason in unreadable.items():
            print(f"not probed: {source}: {reason}")


if __name__ == "__main__":
    run_script(main)
