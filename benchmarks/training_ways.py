"""Training steps of the stages as released and as ours, which `training_speed.py` and `gpu.py` compare."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

import pretrain
import train
from avdfd.config import ConsistencyStageConfig, PretrainConfig, SpeedConfig, TrainConfig, parse
from avdfd.core import fields
from avdfd.datasets.loaders import Batch
from avdfd.features.frames import normalise
from avdfd.models.detector import Detector
from avdfd.models.speech_encoder import SpeechEncoder
from avdfd.training import loop
from avdfd.training.attention import Attention
from avdfd.training.build import AnyDetector, build_audio_net, build_consistency, build_detector
from avdfd.training.consistency_stage import Pairs, stage2a_loss
from avdfd.training.front_ends import build_front
from avdfd.training.optim import adamw
from avdfd.training.precision import autocast
from benchmarks.baselines import explicit_attention
from benchmarks.training_data import made_up
from OpenAVFF.visual_encoder import VisualEncoder

Sizes = dict[str, dict[str, Any]]
PUBLISHED: Sizes = {"audio": {}, "visual": {}, "predictor": {}, "front": {}, "consistency": {"depth": 2}}
SMALL: Sizes = {
    "audio": {"dim": 128, "mlp_dim": 256},
    "visual": {"dim": 192, "depth": 4, "heads": 3},
    "predictor": {"depth": 2, "heads": 1},
    "front": {"depth": 2, "dim": 128, "heads": 4, "mlp_dim": 256, "channels": 64},
    "consistency": {"depth": 2},
}
TOY: Sizes = {
    "audio": {"dim": 32, "depth": 1, "heads": 2, "mlp_dim": 32, "projection_dim": 8},
    "visual": {"image_size": 32, "dim": 24, "depth": 1, "heads": 2},
    "predictor": {"depth": 1, "heads": 2},
    "front": {"depth": 1, "dim": 32, "heads": 4, "mlp_dim": 32, "channels": 16},
    "consistency": {"depth": 1, "width": 16, "heads": 2},
}
COMMON = {"name": "speed", "data": {"splits": "none", "fake_tiers": ["RVFA"]}}


class Way(NamedTuple):
    """A way of training. `clips` converts a batch to the model's inputs, `loss` the model's output to the loss.

    In batches for a pretrained audio encoder the waveform is in the place of the mel.
    """

    name: str
    model: nn.Module
    clips: Callable[[Any], tuple[Any, ...]]
    loss: Callable[[Any, Any], Tensor]
    video: bool
    released: bool = False


class ReleasedBackbone(VisualEncoder):
    """Backbone with one pass for the tokens and another for the global vector, attention in three steps in both."""

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        with explicit_attention():
            return super().forward(video)[0], super().forward(video)[1]


def stage2(
    wanted: Sizes,
    *,
    frozen: bool,
    released: bool = False,
    three: bool = False,
    cached: bool = False,
    keep: float = 1.0,
    whole: bool = False,
    graphs: bool = False,
    speed: SpeedConfig | None = None,
    name: str = "",
) -> Way:
    """Stage 2 in the released design with two branches, or `three`; `cached`, on stored features of a frozen backbone.

    `keep` is the fraction of tokens that the backbone of three branches is given. `speed` compiles layer by layer,
    `whole` the model, and `graphs` does so and launches its kernels as CUDA graphs. `name` says in what it differs from
    the others of its kind.
    """
    settings: dict[str, Any] = {**COMMON, "audio": "none", "visual": wanted["visual"]}
    three_branches = {"consistency": {"init": "none"}, "keep_tokens": keep}
    settings |= three_branches if three else {"predictor": wanted["predictor"]}
    cfg = parse(settings, TrainConfig, "benchmark")
    audio = parse({**COMMON, "model": wanted["audio"]}, PretrainConfig, "benchmark").model
    torch.manual_seed(0)
    model = build_detector(cfg.model_copy(update={"faithful": released}), audio)
    if released:
        sizes = {key: getattr(cfg.visual, key) for key in ("image_size", "dim", "depth", "heads")}
        backbone = ReleasedBackbone(**sizes)
        backbone.load_state_dict(model.visual_encoder.backbone.state_dict())
        model.visual_encoder.backbone = backbone
    if frozen:
        model.visual_encoder.backbone.requires_grad_(False)
    loop.speed_up(model, speed or SpeedConfig(), torch.device("cpu"), cfg.optim.precision)
    if whole:
        model.compile()
    if graphs:
        model.compile(mode="reduce-overhead", dynamic=False)  # as `avdfd.training.loop.graphed` does

    def loss(out: Any, batch: Any) -> Tensor:
        return train.stage2_loss(cfg, out, batch.label, batch.fake_modalities)

    def clips(batch: Any) -> tuple[Any, ...]:
        if cached:
            return (batch.cached,)
        return (batch.mel, batch.video, batch.shape) if three else (batch.mel, batch.video)

    title = f"stage 2, {'frozen' if frozen else 'full'}: {name or ('released' if released else 'ours')}"
    return Way(title, model, clips, loss, video=True, released=released)


def with_features(model: AnyDetector, batch: Batch) -> Batch:
    """Add features of a frozen backbone to a batch: those of its first clip for all."""
    first = fields.map_tensors(batch, lambda x: x[:1])
    first = first if isinstance(model, Detector) else first._replace(shape=None)
    with torch.no_grad():
        encoded = model.eval().encode(*first.model_inputs)
    model.train()
    count = len(batch.label)
    return batch._replace(cached=fields.map_tensors(encoded, lambda x: x.expand(count, *x.shape[1:]).contiguous()))


def stage2a(sizes: Sizes) -> Way:
    """Stage 2a by InfoNCE, with layers of local attention: its default is in closed form and has no steps."""
    settings = {**COMMON, "data": {"splits": "none"}, "method": "info-nce", "model": sizes["consistency"]}
    cfg = parse(settings, ConsistencyStageConfig, "benchmark")
    torch.manual_seed(0)
    model = build_consistency(cfg.model)
    model.shape_basis.normal_()

    def loss(out: Any, batch: Any) -> Tensor:
        identity = torch.arange(len(batch.label), device=batch.label.device)
        losses = [stage2a_loss(cfg, predicted, actual, identity, model.sharpness) for predicted, actual in out]
        return torch.stack(losses).sum()

    return Way("stage 2a: ours", Pairs(model), lambda batch: (batch.mel, batch.shape), loss, video=True)


def stage1(sizes: Sizes, *, released: bool = False, speed: SpeedConfig | None = None) -> Way:
    """Stage 1 on the mel."""
    name = f"stage 1: {'released' if released else 'ours'}"
    return _stage1({"model": sizes["audio"]}, name, released=released, speed=speed)


def front_end(sizes: Sizes, *, trained: bool, speed: SpeedConfig | None = None) -> Way:
    """Stage 1 on all layers of XLS-R 300M with drawn weights, frozen or trained with the rest."""
    front: dict[str, Any] = {"kind": "ssl", "arch": "xls-r-300m", "file": "none", "sha256": "0" * 64}
    front |= {"layers": "learned", "sizes": sizes["front"]}
    front |= {"train_from": 0, "lr_scale": 0.1} if trained else {}
    model = {**sizes["audio"], "input": "waveform", "front": front}
    return _stage1({"model": model}, f"XLS-R 300M, {'trained' if trained else 'frozen'}: ours", speed=speed)


def _stage1(settings: dict[str, Any], name: str, *, released: bool = False, speed: SpeedConfig | None = None) -> Way:
    cfg = parse({**COMMON, **settings}, PretrainConfig, "benchmark")
    torch.manual_seed(0)
    model = build_audio_net(cfg.model)
    if isinstance(model.encoder, SpeechEncoder) and model.encoder.front_end is None:
        assert cfg.model.front is not None, "a speech encoder has one"
        model.encoder.attach(build_front(cfg.model.front))
    loop.speed_up(model, speed or SpeedConfig(), torch.device("cpu"), cfg.optim.precision)

    def loss(out: Any, batch: Any) -> Tensor:
        return pretrain.stage1_loss(cfg, out.z, out.logit, batch.label, batch.audio_class, model.prototype)

    return Way(name, model, lambda batch: (batch.mel,), loss, video=False, released=released)


def take(way: Way, device: torch.device) -> Callable[[Any], None]:
    """Return a training step of a way, to be called with a batch on the device."""
    model, half = way.model.to(device).train(), way.released and device.type == "cuda"
    cfg = parse({**COMMON}, PretrainConfig, "benchmark").optim
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = adamw([(trained, 1.0)], cfg)
    if way.released:
        optimizer = torch.optim.AdamW(trained, lr=cfg.lr, weight_decay=cfg.weight_decay)
    attention = Attention("auto", device, cfg.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=half)

    def step(batch: Any) -> None:
        cast = torch.autocast("cuda", torch.float16) if half else autocast(device, "bf16")
        clips = way.clips(batch)
        backends = nullcontext() if way.released else attention(model, *clips)
        with cast if half or not way.released else torch.autocast(device.type, enabled=False), backends:
            out = model(*clips)
        loss = way.loss(out, batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(trained, cfg.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if way.released:
            loss.item()

    return step


def check(released: Way, ours: Way) -> None:
    """Check that both compute the same loss on the same batch."""
    batch = made_up(2, torch.device("cpu"))
    losses = []
    for way in (released, ours):
        with torch.no_grad():
            losses.append(way.loss(way.model.eval()(*way.clips(as_read(way, batch))), batch).item())
    assert abs(losses[0] / losses[1] - 1) < 1e-4, f"{released.name}: {losses[0]}, {ours.name}: {losses[1]}"


def as_read(way: Way, batch: Batch) -> Batch:
    """Return a batch as a way reads it: the released code reads normalised frames."""
    return batch._replace(video=normalise(batch.video)) if way.released and batch.video is not None else batch
