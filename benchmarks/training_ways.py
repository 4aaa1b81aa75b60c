"""Training of both stages as released and as ours, which `training_speed.py` compares."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

import pretrain
import train
from avdfd.config import PretrainConfig, SpeedConfig, TrainConfig, parse
from avdfd.features.frames import normalise
from avdfd.models.audio_encoder import AudioNet
from avdfd.training import loop
from avdfd.training.build import build_audio_net, build_detector
from avdfd.training.optim import adamw
from benchmarks.baselines import explicit_attention
from benchmarks.training_data import made_up
from OpenAVFF.visual_encoder import VisualEncoder

Sizes = dict[str, dict[str, Any]]
PUBLISHED: Sizes = {"audio": {}, "visual": {}, "predictor": {}}
SMALL: Sizes = {
    "audio": {"dim": 128, "mlp_dim": 256},
    "visual": {"dim": 192, "depth": 4, "heads": 3},
    "predictor": {"depth": 2, "heads": 1},
}
COMMON = {"name": "speed", "data": {"splits": "", "fake_tiers": ["RVFA"]}}


class Way(NamedTuple):
    """A way of training. `clips` converts a batch to the model's inputs, `loss` the model's output to the loss."""

    name: str
    model: nn.Module
    clips: Callable[[Any], tuple[Tensor, ...]]
    loss: Callable[[Any, Any], Tensor]
    video: bool
    released: bool = False


class ReleasedBackbone(VisualEncoder):
    """Backbone with one pass for the tokens and another for the global vector, attention in three steps in both."""

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        with explicit_attention():
            return super().forward(video)[0], super().forward(video)[1]


def stage2(wanted: Sizes, *, frozen: bool, compiled: bool = False) -> list[Way]:
    """Return the released way, ours, and ours with checkpointing or compilation."""
    settings = {**COMMON, "audio": "", "visual": wanted["visual"], "predictor": wanted["predictor"]}
    cfg = parse(settings, TrainConfig, "benchmark")
    audio = parse({**COMMON, "model": wanted["audio"]}, PretrainConfig, "benchmark").model

    def build(*, released: bool = False, speed: SpeedConfig | None = None) -> nn.Module:
        torch.manual_seed(0)
        model = build_detector(cfg.model_copy(update={"faithful": released}), audio)
        if released:
            sizes = {name: getattr(cfg.visual, name) for name in ("image_size", "dim", "depth", "heads")}
            backbone = ReleasedBackbone(**sizes)
            backbone.load_state_dict(model.visual_encoder.backbone.state_dict())
            model.visual_encoder.backbone = backbone
        if frozen:
            model.visual_encoder.backbone.requires_grad_(False)
        loop.speed_up(model, speed or SpeedConfig(), torch.device("cpu"), cfg.optim.precision)
        return model

    def loss(out: Any, batch: Any) -> Tensor:
        return train.stage2_loss(cfg, out, batch.label, batch.fake_modalities)

    def ours(name: str, **speed: bool) -> Way:
        model = build(speed=SpeedConfig(**speed))
        return Way(name, model, lambda batch: (batch.mel, batch.video), loss, video=True)

    title = "stage 2, frozen" if frozen else "stage 2, full"
    released = Way(
        f"{title}: released", build(released=True), lambda b: (b.mel, b.video), loss, video=True, released=True
    )
    ways = [released, ours(f"{title}: ours")]
    if not frozen:
        ways.append(ours(f"{title}: checkpointing", checkpointing=True))
    if compiled:
        ways.append(ours(f"{title}: compiled", compile=True))
    return ways


def stage1(sizes: Sizes) -> list[Way]:
    cfg = parse({**COMMON, "model": sizes["audio"]}, PretrainConfig, "benchmark")

    def build() -> AudioNet:
        torch.manual_seed(0)
        return build_audio_net(cfg.model)

    def way(name: str, released: bool) -> Way:
        model = build()

        def loss(out: Any, batch: Any) -> Tensor:
            return pretrain.stage1_loss(cfg, out.z, out.logit, batch.label, batch.audio_class, model.prototype)

        return Way(name, model, lambda batch: (batch.mel,), loss, video=False, released=released)

    return [way("stage 1: released", True), way("stage 1: ours", False)]


def take(way: Way, device: torch.device) -> Callable[[Any], None]:
    """Return a training step of a way, to be called with a batch on the device."""
    model, half = way.model.to(device).train(), way.released and device.type == "cuda"
    cfg = parse({**COMMON}, PretrainConfig, "benchmark").optim
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = adamw([(trained, 1.0)], cfg)
    if way.released:
        optimizer = torch.optim.AdamW(trained, lr=cfg.lr, weight_decay=cfg.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=half)

    def step(batch: Any) -> None:
        autocast = torch.autocast("cuda", torch.float16) if half else loop.autocast(device, "bf16")
        with autocast if half or not way.released else torch.autocast(device.type, enabled=False):
            out = model(*way.clips(batch))
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
        assert batch.video is not None, "generated with video"
        floats = batch._replace(video=normalise(batch.video)) if way.released else batch
        with torch.no_grad():
            losses.append(way.loss(way.model.eval()(*way.clips(floats)), batch).item())
    assert abs(losses[0] / losses[1] - 1) < 1e-4, f"{released.name}: {losses[0]}, {ours.name}: {losses[1]}"
