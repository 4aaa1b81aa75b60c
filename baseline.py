"""Train a published system on the same elements and splits as the method, or set one up that is not trained.

    CONFIG=config/baseline_avff.json bash baseline.sh                      all stages of the system, in order
    python baseline.py --config config/baseline_avff.json --stage pretrain
    python baseline.py --config config/baseline_mrdf.json --folds data/splits/mrdf_5fold
    python baseline.py --config config/baseline_syncnet.json               without training: from published weights
    python baseline.py --config config/released/mrdf.json --published mrdf_ce.ckpt       a run of a published checkpoint
    python baseline.py --config config/released/mrdf.json --published MRDF_CE_train_2.ckpt --fold-file train_2.txt
    python baseline.py --config config/released/aasist.json --published AASIST.pth --test-all
    python baseline.py --config config/released/aasist.json --published AASIST.pth --folds data/splits/draw0

The config's `kind` names the system; the systems' own code is in avdfd/baselines, one module each. Every stage before
the last has its own run folder, `<name>-<stage>`. Give runs with other seeds or settings another `--name`. With
`--fold-file`, a published checkpoint is also tested, on the clips that its authors' list does not train on; with
`--test-all`, on all clips of `data.elements`; with `--folds`, as a system that is trained on every fold would be.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from avdfd.baselines import SYSTEMS, TRAINED, System, Trained
from avdfd.baselines.open_store import open_store
from avdfd.baselines.stages import adopt, former_weights, install, stage_config
from avdfd.config import BASELINES, RecipeConfig, RunConfig, load
from avdfd.core.arguments import Parser
from avdfd.core.errors import UserError, run_script
from avdfd.core.files import BEST
from avdfd.core.signals import Stop
from avdfd.datasets.batches import open_batches
from avdfd.datasets.loaders import ElementSet
from avdfd.datasets.samplers import Sequential, Share, Shared
from avdfd.datasets.split_elements import training_elements
from avdfd.evaluation.folds import evaluate_folds, summarise, summarise_pages
from avdfd.evaluation.published import evaluate_all_clips, evaluate_fold
from avdfd.metrics import roc
from avdfd.report import files
from avdfd.report.card import write_card
from avdfd.splits import folds
from avdfd.training import distributed, loop
from avdfd.training.attention import Attention
from avdfd.training.cached_batches import open_cached
from avdfd.training.distributed import Chance, World, gather, gather_fields
from avdfd.training.flops import training_flops
from avdfd.training.memory_format import ChannelsLast
from avdfd.training.meter import Meter
from avdfd.training.optim import recipe_optimizer, set_recipe_lr
from avdfd.training.precision import autocast
from avdfd.training.run_folder import RunFolder
from avdfd.training.state import Training


def main(argv: list[str]) -> None:
    cli = Parser(description="Train a baseline.")
    cli.add_argument("--config", default="config/baseline_avff.json")
    cli.add_argument("--stage", default="all", help="a stage of the system, or all")
    cli.add_argument(
        "--folds", type=Path, help="folder of fold_*.csv: train and test once per fold; with --published, test alone"
    )
    cli.add_argument(
        "--published", type=Path, metavar="FILE", help="make a run of the authors' checkpoint, without training"
    )
    cli.add_argument(
        "--fold-file", type=Path, metavar="FILE", help="with --published: test it on the fold of its authors' list"
    )
    cli.add_argument("--test-all", action="store_true", help="with --published: test it on all clips of data.elements")
    cli.add_argument("--resume", action="store_true", help="resume the run, or start it")
    args, overrides = cli.parse_known_args(argv)
    cfg = load(args.config, *BASELINES, overrides=overrides)
    system = SYSTEMS[cfg.kind]
    if args.stage not in ("all", *system.STAGES):
        raise UserError(f"--stage {args.stage}: {cfg.kind} has the stages {', '.join(system.STAGES)}, or all")
    if args.fold_file and not args.published:
        raise UserError(
            "--fold-file tests a published checkpoint: name it with --published; to train on the authors' folds, make "
            "lists with make_splits.py mrdf_5fold --lists, and name them with --folds"
        )
    if args.test_all and (args.fold_file or args.folds or not args.published):
        raise UserError(
            "--test-all tests a published checkpoint on clips of any origin: name it with --published alone"
        )
    if args.fold_file and args.folds:
        raise UserError("--fold-file and --folds each say which clips a published checkpoint is tested on: name one")
    stages = system.stages(cfg) if args.stage == "all" else (args.stage,)
    with distributed.join(cfg.device) as world:
        if args.published:
            if world.first:
                last = system.STAGES[-1] if args.stage == "all" else args.stage
                for one in folds.fold_configs(cfg, args.folds) if args.folds else [cfg]:
                    use_published(one, system, last, args.published, args.fold_file, all_clips=args.test_all)
            if args.folds:
                evaluate_all_folds(cfg, args.folds, world)
            return
        trained = TRAINED[cfg.kind] if system.stages(cfg) else None  # published weights replace all stages
        if trained and world.size > 1 and trained.needs_whole_batch(cfg):
            raise UserError(
                f"{args.config}: {cfg.kind} as released mixes the samples of a batch, so one process needs the whole "
                "batch: set PROCESSES=1, or faithful to false"
            )
        with Stop() as stop:
            for one in folds.fold_configs(cfg, args.folds) if args.folds else [cfg]:
                if trained is None:
                    if world.first:
                        write_card(install(one, system, print))
                    continue
                for stage in stages:
                    train(one, trained, stage, world, stop, resume=args.resume)
        if args.folds:
            evaluate_all_folds(cfg, args.folds, world)


def train(cfg: RunConfig, system: Trained, stage: str, world: World, stop: Stop, *, resume: bool) -> None:
    """Train one stage of a system, starting from the best epoch of the stage before."""
    recipe: RecipeConfig = getattr(cfg, stage)

    # ---- data
    device = world.device
    loop.seed_everything(cfg.seed)
    former = former_weights(cfg, system, stage)
    cfg = stage_config(cfg, system, stage)
    store = open_store(cfg.data.elements, cfg)
    labelled = stage in system.LABELLED
    train_metas, val_metas, absent = training_elements(cfg, store, None if labelled else ())
    order = Shared(system.batches(cfg, stage, train_metas), rank=world.rank, size=world.size, limit=recipe.micro_batch)
    train_set = ElementSet(store, train_metas, system.inputs(cfg, stage, train=True))
    val_set = ElementSet(store, val_metas, system.inputs(cfg, stage, train=False))
    # Without labels, validation is the training loss on other identities, with batches drawn as in training.
    val_batches = Sequential(len(val_set), recipe.batch_size) if labelled else system.batches(cfg, stage, val_metas)
    val_order = Shared(val_batches, rank=world.rank, size=world.size)
    sets = (train_set, order), (val_set, val_order)

    # ---- model
    model = system.build(cfg, stage, former).to(device)
    optimizer = recipe_optimizer(system.groups(model, cfg, stage), recipe)
    run = RunFolder(cfg, resume=resume, first=world.first, console=print)
    part = system.frozen(model, cfg, stage, device)
    train_data, val_data = (
        open_batches(cfg.data, device, *sets) if part is None else open_cached(cfg.data, world, run, stop, part, *sets)
    )
    training = Training(cfg, world, run, model, optimizer, stop, stage=stage)
    training.restore(ignore={other for other in system.STAGES if other != stage})
    progress = training.progress
    loop.speed_up(model, cfg.speed, device, recipe.precision)
    layout = ChannelsLast(cfg.speed.channels_last, model, device, recipe.precision, run.log)
    net = loop.graphed(distributed.parallel(model, world), cfg.speed, world, micro_batch=recipe.micro_batch)
    title = f"{cfg.kind} {stage}"
    run.log(f"training elements: {train_data}; validation elements: {val_data}")
    if absent:
        run.announce(absent)
    run.announce(f"{title}: {len(train_set)} training and {len(val_set)} validation elements, {world}, {run.path}")

    def counted(net: nn.Module, batch: Any) -> Any:
        """Run the model's part of a step on tensors of any device, the meta device too."""
        chance = Chance(World(batch.label.device), len(batch.label), 0)
        return system.outputs(net, batch, cfg, stage, chance)

    # ---- epochs
    metric = cfg.select.metric if labelled else "loss"
    attention = Attention(cfg.speed.attention, device, recipe.precision, run.log)
    flops = 0.0  # per clip, counted once
    bar = loop.epochs(progress, recipe.epochs, title, world)
    for epoch in bar:
        if progress.stale >= cfg.select.patience:
            break
        meter = Meter(world, recipe.precision)
        lr = set_recipe_lr(optimizer, progress.losses, recipe)
        order.start(epoch, progress.step)

        model.train()
        sums: dict[str, Tensor] = {}
        for share, batch in loop.steps(meter.watch(train_data), len(order), progress, world):
            run.show(*system.preview(batch), (train_set.metas[draw.position] for draw in share.draws))
            chance = Chance(world, share.total, cfg.seed, epoch, progress.step)
            flops = flops or training_flops(model, batch, call=counted)
            layout(model, batch, call=counted)
            with distributed.accumulating(net, share.last):
                backends = attention(model, batch, call=counted)
                with autocast(device, recipe.precision), distributed.dividing(world, share.total), backends:
                    out = system.outputs(net, batch, cfg, stage, chance)
                losses = system.losses(model, gather_fields(world, share.total, out), cfg, stage)
                (share.weight * losses["loss"]).backward()
            sums = {name: sums.get(name, 0) + share.weight * value.detach() for name, value in losses.items()}
            meter.count(share.total, flops)
            if share.last:
                norm = clip_grad_norm_(model.parameters(), recipe.clip_norm or math.inf)
                training.step(sums, norm, share.batch, train_set)
                sums = {}

        values = {"lr": lr, **meter.values()}
        values |= validate(model, system, cfg, stage, val_data, world)
        values = training.end_epoch(values, metric, train_set)
        bar.set_postfix({"loss": f"{values['loss']:.3f}", f"val_{metric}": f"{values[f'val_{metric}']:.3f}"})

    run.close()
    if world.first:
        write_card(run.path)
    run.announce(f"{title} done: best validation {metric} {abs(progress.best):.4f}, {run.path / BEST}")


def use_published(
    cfg: RunConfig, system: System, stage: str, file: Path, fold_file: Path | None, *, all_clips: bool
) -> None:
    """Make a run folder of a published checkpoint of a stage; test that of the last stage on a fold or on all clips."""
    if fold_file is None and not all_clips:
        write_card(adopt(cfg, system, stage, file, print))
        return
    if fold_file is not None:
        done = evaluate_fold(cfg, system, file, fold_file, print)
    else:
        done = evaluate_all_clips(cfg, system, file, print)
    print(files.write(done))
    if all_clips and (pages := summarise_pages([done])):
        print(files.write_pages(Path(cfg.runs) / cfg.name, summarise([done])["pooled"], pages))


def evaluate_all_folds(cfg: RunConfig, folder: Path, world: World) -> None:
    """Evaluate the run of every fold on its test split, and write the mean over folds to `<name>-folds.json`."""
    tested = evaluate_folds(folds.fold_configs(cfg, folder), world, lambda done: print(files.write(done)))
    if world.first:
        print(files.write_folds(Path(cfg.runs) / cfg.name, summarise(tested), summarise_pages(tested)))


@torch.inference_mode()
def validate(
    model: nn.Module, system: Trained, cfg: RunConfig, stage: str, batches: Iterable[tuple[Share, Any]], world: World
) -> dict[str, float]:
    """Return validation metrics.

    For a stage with labels: AUC and AP of every branch over the validation elements, each counted once, and the BCE of
    the main branch. For other stages: the mean training loss, with the same random draws in every epoch.
    """
    model.eval()
    recipe: RecipeConfig = getattr(cfg, stage)
    branches = system.branches(cfg)
    columns: list[tuple[Tensor, ...]] = []
    losses: list[Tensor] = []
    for number, (share, batch) in enumerate(batches):
        with autocast(world.device, recipe.precision):
            if stage in system.LABELLED:
                scores = system.scores(model, batch, cfg)
                logits = torch.stack([scores[branch] for branch in branches], dim=1).float()
                columns.append(gather(world, share.total, batch.label, logits))
                continue
            out = system.outputs(model, batch, cfg, stage, Chance(world, share.total, number))
        losses.append(system.losses(model, gather_fields(world, share.total, out), cfg, stage)["loss"])
    if losses:
        return {"val_loss": torch.stack(losses).mean().item()}
    label, logits = (torch.cat(column) for column in zip(*columns, strict=True))
    values = {"val_loss": F.binary_cross_entropy_with_logits(logits[:, -1], label).item()}
    for branch, logit in zip(branches, logits.cpu().numpy().T, strict=True):
        name = "val" if branch == branches[-1] else f"val_{branch}"
        values[f"{name}_auc"] = roc.auc(label.cpu().numpy(), logit)
        values[f"{name}_ap"] = roc.average_precision(label.cpu().numpy(), logit)
    return values


if __name__ == "__main__":
    run_script(main)
