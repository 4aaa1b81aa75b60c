"""Stage 2a: mouth movement predicted from audio, on real clips alone, for the consistency branch of stage 2.

What is predicted is the mouth shape, or the features of another frozen representation, which are computed once.

Least squares in closed form is the whole training, or the start of one by InfoNCE or regression. Audio that a recording
has early or late is moved by the offset that least squares found for it.

N clips   T frames   D features   K tokens
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from avdfd.config import ConsistencyStageConfig
from avdfd.core.errors import UserError
from avdfd.core.files import BEST
from avdfd.core.revision import git_revision
from avdfd.core.seeding import generator_of
from avdfd.core.signals import Stop
from avdfd.datasets.batches import Batches, open_batches
from avdfd.datasets.loaders import Batch, ElementSet, Inputs
from avdfd.datasets.samplers import Sequential, Shared, Shuffled
from avdfd.datasets.split_elements import training_elements
from avdfd.elements import ElementMeta, ElementStore
from avdfd.elements.layout import media_of
from avdfd.metrics import roc
from avdfd.models.consistency import Consistency, correlation, info_nce
from avdfd.training import distributed, loop, weights
from avdfd.training.build import build_consistency
from avdfd.training.consistency import IDENTITIES, Talk, clip_offset, clips_of, fit
from avdfd.training.distributed import World, gather
from avdfd.training.flops import training_flops
from avdfd.training.meter import Meter
from avdfd.training.optim import adamw, set_epoch_lr
from avdfd.training.precision import autocast
from avdfd.training.representation_cache import CachedFeatures, open_features
from avdfd.training.representations import width_of
from avdfd.training.run_folder import RunFolder, summary
from avdfd.training.state import Training, refuse_other_config
from avdfd.training.weights import RunFacts

_PER_FRAME = 10  # frames of the mel per video frame
_STRANGERS = 6
_SHIFTS = {"80ms": 2, "200ms": 5, "400ms": 10}
_CHUNK = 256  # clips compared at once


class Real(Iterable[Talk]):
    """Real elements as talks, read in the order of the store, a few at a time."""

    def __init__(self, elements: ElementSet, workers: int) -> None:
        self.elements, self.workers = elements, workers
        self.features: CachedFeatures | None = None
        """Features in place of the mouth shape."""
        self.identities = identities_of(elements.metas)

    def __iter__(self) -> Iterator[Talk]:
        order = Shared(Sequential(len(self.elements), 16))
        for share, batch in Batches(self.elements, order, torch.device("cpu"), workers=self.workers):
            shapes = mouths(batch, [draw.position for draw in share.draws], self.features).cpu()
            for draw, mel, shape in zip(share.draws, batch.mel, shapes, strict=True):
                meta = self.elements.metas[draw.position]
                yield Talk(mel, shape, self.identities[draw.position], meta.source)


def mouths(batch: Batch, positions: Sequence[int], features: CachedFeatures | None) -> Tensor:
    """Return the mouth (B, T, D) of the elements at these positions: the shape in their batch, or cached features."""
    if features is not None:
        return features.of(positions)
    assert batch.shape is not None, "without features, the mouth shape is read"
    return batch.shape


class Pairs(nn.Module):
    """The model's predictions and targets as a forward pass."""

    def __init__(self, model: Consistency) -> None:
        super().__init__()
        self.model = model

    def forward(self, mel: Tensor, shape: Tensor) -> list[tuple[Tensor, Tensor]]:
        """mel (B, 128, M), mouth (B, T, D) -> predicted and actual movement (B, T, K) of each direction."""
        move = self.model.movement
        return [(move(predicted), move(actual.detach())) for predicted, actual in self.model.pairs(mel, shape)]


def train_consistency(
    cfg: ConsistencyStageConfig, world: World, stop: Stop, *, resume: bool, console: Callable[[str], object]
) -> None:
    """Train stage 2a on all processes of `world`. `console` is called with every announced line."""
    loop.seed_everything(cfg.seed)
    store = ElementStore(cfg.data.elements)
    elements = training_elements(cfg, store)
    inputs = Inputs(None, shape=cfg.model.representation.encoder is None)
    real, judged = (Real(ElementSet(store, metas, inputs), cfg.data.workers) for metas in elements[:2])
    for split, some, least in (("train", real, IDENTITIES), ("validation", judged, 2)):
        if len({*some.identities}) < least:
            raise UserError(f"{cfg.data.splits}: real clips of {least} identities or more are needed in {split}")
    if cfg.method == "least-squares" and not _is_to_do(cfg, resume=resume):
        console(f"stage 2a done before: {Path(cfg.runs) / cfg.name / BEST}")
        return
    run = RunFolder(cfg, resume=resume, first=world.first, console=console)
    if elements.absent:
        run.announce(elements.absent)
    run.announce(f"stage 2a: {len(elements.train)} training and {len(elements.validation)} validation elements of real "
                 f"clips, {world}, {run.path}")  # fmt: skip
    if cfg.model.representation.encoder is not None:
        real.features, judged.features = open_features(cfg, world, run, stop, real.elements, judged.elements)
    linear = fit(
        real,
        features=width_of(cfg.model.representation),
        components=cfg.model.components,
        identities=real.identities,
        ridge=cfg.ridge,
        rounds=cfg.rounds,
        seed=cfg.seed,
        tokens=cfg.model.tokens,
        direction=cfg.model.direction,
    )
    if cfg.method == "least-squares":
        values = _finish(cfg, run, linear, judge(linear, judged, cfg.seed))
    else:
        values = _descend(cfg, world, run, stop, linear, real, judged, store)
    run.close()
    run.announce(f"stage 2a done: {summary(values)}, {run.path / BEST}")


def judge(model: Consistency, clips: Real, seed: int) -> dict[str, float]:
    """Compute the AUC of real clips against the same clips with another identity's audio, and with their own audio
    moved by 80, 200 and 400 ms; also the AP of the first."""
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        tokens = [model.tokens(talk.mel[None].to(device), talk.shape[None].to(device)) for talk in clips]
        said, shown = (torch.cat(side) for side in zip(*tokens, strict=True))
        rng, names = generator_of(f"strangers {seed}"), np.array(clips.identities)
        drawn = [rng.choice(np.flatnonzero(names != name), _STRANGERS) for name in names]
        own = _ratios(model, said, shown)
        strangers = [_ratios(model, said[torch.from_numpy(some)], shown) for some in np.stack(drawn).T]
        found = dict(zip(("val_auc", "val_ap"), _auc_and_ap([own], strangers), strict=True))
        for name, frames in _SHIFTS.items():
            early, late = slice(None, -frames), slice(frames, None)
            same = [_ratios(model, said[:, part], shown[:, part]) for part in (early, late)]
            moved = [_ratios(model, said[:, a], shown[:, b]) for a, b in ((early, late), (late, early))]
            found[f"val_shift_{name}_auc"] = _auc_and_ap(same, moved)[0]
    return found


def identities_of(metas: Sequence[ElementMeta]) -> list[str]:
    """Return a name for the identities of each element."""
    return ["+".join(meta.identities) for meta in metas]


def _ratios(model: Consistency, said: Tensor, shown: Tensor) -> Tensor:
    pairs = zip(said.split(_CHUNK), shown.split(_CHUNK), strict=True)
    return torch.cat([model.compare(*pair).log_ratio for pair in pairs])


def _auc_and_ap(same: Sequence[Tensor], other: Sequence[Tensor]) -> tuple[float, float]:
    """Return AUC and AP of a low log-ratio for those that do not belong together."""
    scores = torch.cat([*same, *other]).neg().cpu().numpy()
    labels = np.repeat([0, 1], [sum(map(len, same)), sum(map(len, other))])
    return roc.auc(labels, scores), roc.average_precision(labels, scores)


def _is_to_do(cfg: ConsistencyStageConfig, *, resume: bool) -> bool:
    """Return False if a run holds the result already. Raises UserError for one with another config."""
    folder = Path(cfg.runs) / cfg.name
    if not (folder / BEST).exists():
        return True
    if not resume:
        raise UserError(f"{folder}: holds a run already; add --resume to continue it, or change 'name'")
    refuse_other_config(folder, weights.facts_of(folder / BEST, cfg.kind).config, cfg)
    return False


def _finish(
    cfg: ConsistencyStageConfig, run: RunFolder, model: Consistency, values: dict[str, float]
) -> dict[str, float]:
    """Write config, values and weights of a fit in closed form, which counts as one epoch."""
    if run.first:
        metric = f"val_{cfg.select.metric}"
        run.write_config(cfg)
        run.forget_after(0)
        run.epoch(1, values)
        facts = RunFacts(
            config=cfg,
            consistency_model=cfg.model,
            epoch=1,
            metric=metric,
            value=values[metric],
            git=git_revision(),
            media=media_of(cfg.data.elements),
        )
        weights.save(run.path / BEST, model.state_dict(), facts)
    return values


# ---- methods with epochs


def _descend(
    cfg: ConsistencyStageConfig,
    world: World,
    run: RunFolder,
    stop: Stop,
    linear: Consistency,
    real: Real,
    judged: Real,
    store: ElementStore,
) -> dict[str, float]:
    """Train the model from its linear part; return the values of the last epoch."""
    # ---- model
    device = world.device
    model = build_consistency(cfg.model)
    model.load_state_dict(linear.state_dict(), strict=False)  # the network has nothing to start from
    model = model.to(device)
    optimizer = adamw([(model.parameters(), 1.0)], cfg.optim)

    # ---- data
    late = [(clip_offset(linear, clip)[0], len(clip)) for clip in clips_of(real)]
    offsets = torch.tensor([frames for frames, talks in late for _ in range(talks)])
    names = sorted({*real.identities})
    numbers = torch.tensor([names.index(name) for name in real.identities])
    assert isinstance(real.elements.inputs, Inputs), "stage 2a has these inputs"
    train_set = ElementSet(store, real.elements.metas, real.elements.inputs._replace(augment=cfg.augment))
    order = Shared(Shuffled(len(train_set), cfg.optim.batch_size, cfg.seed), rank=world.rank, size=world.size)
    (train_data,) = open_batches(cfg.data, device, (train_set, order))

    # ---- run
    training = Training(cfg, world, run, model, optimizer, stop, consistency_model=cfg.model)
    training.restore()
    progress = training.progress
    net = distributed.parallel(Pairs(model), world)

    # ---- epochs
    flops = 0.0  # per clip, counted once
    values: dict[str, float] = {}
    bar = loop.epochs(progress, cfg.optim.epochs, "stage 2a", world)
    for epoch in bar:
        if progress.stale >= cfg.select.patience:
            break
        meter = Meter(world, cfg.optim.precision)
        lr = set_epoch_lr(optimizer, epoch, cfg.optim)
        order.start(epoch, progress.step)

        model.train()
        for share, batch in loop.steps(meter.watch(train_data), len(order), progress, world):
            mel, positions = batch.mel, [draw.position for draw in share.draws]
            run.show(mel, None, (train_set.metas[position] for position in positions))
            mel = moved_audio(mel, offsets[positions].to(device))
            mouth = mouths(batch, positions, real.features).to(device)
            flops = flops or training_flops(Pairs(model), mel, mouth)
            with autocast(device, cfg.optim.precision):
                pairs = net(mel, mouth)
            (identity,) = gather(world, share.total, numbers[positions].to(device))
            loss = torch.zeros((), device=device)
            for pair in pairs:
                predicted, actual = gather(world, share.total, *pair)
                loss = loss + stage2a_loss(cfg, predicted, actual, identity, model.sharpness)
            loss.backward()
            norm = clip_grad_norm_(model.parameters(), cfg.optim.clip_norm)
            training.step({"loss": loss.detach()}, norm, share.batch, train_set)
            meter.count(share.total, flops)

        values = training.end_epoch(
            {"lr": lr, **meter.values(), **judge(model, judged, cfg.seed)}, cfg.select.metric, train_set
        )
        bar.set_postfix(loss=f"{values['loss']:.3f}", val_auc=f"{values['val_auc']:.3f}", best=f"{progress.best:.3f}")
    return values or {f"val_{cfg.select.metric}": progress.best}


def stage2a_loss(
    cfg: ConsistencyStageConfig, predicted: Tensor, actual: Tensor, identity: Tensor, sharpness: float
) -> Tensor:
    """Loss of movements (N, T, K) of a whole batch, in which no gradient reaches the actual one; identity (N,)."""
    if cfg.method == "info-nce":
        return info_nce(predicted, actual, identity, sharpness)
    actual = actual.detach()
    sums = ((x * y).sum(dim=(1, 2)) for x, y in ((predicted, actual), (predicted, predicted), (actual, actual)))
    return (1 - correlation(*sums)).mean()  # half the squared distance of the two, each of unit length


def moved_audio(mel: Tensor, late: Tensor) -> Tensor:
    """Return mels (B, 128, M) whose audio comes `late` (B,) frames of video earlier; edges are repeated."""
    places = torch.arange(mel.shape[2], device=mel.device) + _PER_FRAME * late[:, None]
    return mel.gather(2, places.clamp(0, mel.shape[2] - 1)[:, None].expand_as(mel))
