"""What the scripts share around their visible loops: devices, seeds, resumable state, scoring."""

import contextlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from avdfd import checkpoint, config
from avdfd.config import AudioModelConfig, PretrainConfig, RunConfig, TrainConfig
from avdfd.datasets.loaders import Batch, ElementSet, Inputs, collate, loader
from avdfd.datasets.samplers import Sequential
from avdfd.datasets.transforms import FRAME_CHOICE, normalise
from avdfd.elements import Element
from avdfd.errors import UserError
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.detector import Detector
from avdfd.released import fill
from avdfd.tracking import BEST, LAST, RunFolder, summary

BRANCHES = ("audio", "visual", "fused")


def pick_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one. Raises UserError if a GPU is asked for and none is usable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda': no usable GPU found; use --device=auto or cpu, or check the driver")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch. Augmentation has seeds of its own (avdfd/datasets/samplers.py)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast on a GPU if asked for; nothing on a CPU."""
    if device.type == "cuda" and precision == "bf16":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


@dataclass
class Progress:
    """Where a run is: the next epoch, the best validation value and how long ago it was."""

    epoch: int = 0
    best: float = -1.0
    stale: int = 0

    def update(self, value: float) -> bool:
        """Counts an epoch with this validation value; True if it is the new best."""
        self.epoch += 1
        improved = value > self.best
        self.best = max(value, self.best)
        self.stale = 0 if improved else self.stale + 1
        return improved


def model_state(cfg: RunConfig, model: nn.Module, audio_model: AudioModelConfig) -> dict[str, Any]:
    """What it takes to use the model again: weights, config, and the sizes of the stage-1 encoder in it."""
    return {"config": cfg.model_dump(), "audio_model": audio_model.model_dump(), "model": model.state_dict()}


def keep_epoch(
    run: RunFolder,
    state: dict[str, Any],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    values: dict[str, float],
    metric: str,
) -> None:
    """Ends an epoch: counts it, records its numbers, and saves the model as `last`, and as `best` if it is.

    `last` holds what it takes to train on as if nothing had happened. It is written at the very end, so whatever
    interrupts an epoch before that, the epoch is done again.
    """
    is_best = progress.update(values[f"val_{metric}"])
    run.epoch(progress.epoch, values)
    run.log(f"epoch {progress.epoch}: {summary(values)}{'  best' if is_best else ''}")
    if is_best:
        checkpoint.save(run.path / BEST, state)
    training = {
        "optimizer": optimizer.state_dict(),
        "progress": vars(progress),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    checkpoint.save(run.path / LAST, state | training)


def restore(
    run: RunFolder, cfg: PretrainConfig | TrainConfig, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Puts model, optimiser and random state back to the end of the run's last epoch; a fresh run stays as it is.

    Raises UserError if the checkpoint is damaged or of another config.
    """
    path = run.path / LAST
    if not path.exists():
        run.forget_after(0)
        return Progress()
    state = checkpoint.load(path, cfg.kind)
    changed = different_keys(state["config"], cfg.model_dump())
    if changed:
        raise UserError(f"{path}: made with another {changed[0]}; restore it, or change 'name' for a new run")
    fill(model, state["model"], source=str(path))
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    if state["cuda_rng"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda_rng"])
    progress = Progress(**state["progress"])
    run.forget_after(progress.epoch)
    return progress


def different_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, with both values. Where and on how many processes a run works may change."""
    free = {"runs", "device", "workers", "patience"}
    changed = []
    for key in sorted((old.keys() | new.keys()) - free):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += different_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"'{prefix}{key}' ({before} -> {after})")
    return changed


@dataclass(frozen=True)
class Run:
    """A trained model with the config it was trained under."""

    folder: Path
    config: PretrainConfig | TrainConfig
    model: AudioNet | Detector
    device: torch.device

    @property
    def kind(self) -> str:
        return self.config.kind

    @property
    def branches(self) -> tuple[str, ...]:
        return BRANCHES if self.kind == "train" else BRANCHES[:1]

    @property
    def inputs(self) -> Inputs:
        """What the model takes, without augmentation."""
        return Inputs(self.config.visual.image_size if isinstance(self.config, TrainConfig) else None)


def load_run(folder: str | Path, device: str = "auto") -> Run:
    """The best model of a run, in eval mode. Raises UserError if there is none or it is damaged."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; train one first, or correct --run")
    path = folder / BEST
    if not path.is_file():
        raise UserError(f"{folder}: has no {BEST}; this is not a run, or it has not finished an epoch")
    content = checkpoint.load(path, *config.RUNS)
    cfg = config.parse(content["config"], config.RUNS[content["config"]["kind"]], source=str(path))
    audio = config.parse(content["audio_model"], AudioModelConfig, source=str(path))
    model = AudioNet(audio) if isinstance(cfg, PretrainConfig) else build_detector(cfg, audio)
    fill(model, content["model"], source=str(path))
    place = pick_device(device)
    return Run(folder, cfg, model.to(place).eval(), place)


def build_detector(cfg: TrainConfig, audio: AudioModelConfig) -> Detector:
    """Stage 2's model with random weights, on top of a stage-1 encoder of the given sizes."""
    return Detector(audio, cfg.visual, cfg.predictor, faithful=cfg.faithful)


def load_audio_net(path: str | Path) -> tuple[AudioNet, AudioModelConfig]:
    """The stage-1 model of a run folder (its best) or checkpoint file. Raises UserError if there is none."""
    path = Path(path)
    path = path / BEST if path.is_dir() else path
    content = checkpoint.load(path, "pretrain")
    audio = config.parse(content["audio_model"], AudioModelConfig, source=str(path))
    model = AudioNet(audio)
    fill(model, content["model"], source=str(path))
    return model, audio


@dataclass
class Scores:
    """P(fake) per element and branch, and what explains it."""

    keys: list[str]
    branch: dict[str, np.ndarray]
    """Branch -> (N,)."""
    w_audio: np.ndarray | None = None
    """(N,) weight of the audio branch."""
    discrepancy: np.ndarray | None = None
    """(N, 8) audio-visual discrepancy per tubelet time step."""


def score(
    run: Run,
    elements: ElementSet,
    *,
    batch_size: int = 16,
    workers: int = 0,
    progress: Callable[[Iterable[Batch]], Iterable[Batch]] = iter,
) -> Scores:
    """Scores every element of a set, in its order. `progress` may wrap the batches in a progress bar."""
    batches = loader(elements, Sequential(len(elements), batch_size), workers, run.device)
    parts = [_score_batch(run, batch) for batch in progress(batches)]
    return _join([meta.key for meta in elements.metas], parts)


def score_windows(run: Run, windows: list[Element]) -> Scores:
    """Scores elements that are in memory with all their frames, as one batch; their keys are their positions."""
    examples = []
    for window in windows:
        assert window.frames is not None, "windows come with frames"
        examples.append(run.inputs.example(replace(window, frames=window.frames[FRAME_CHOICE]), None))
    return _join([str(number) for number in range(len(windows))], [_score_batch(run, collate(examples))])


def _score_batch(run: Run, batch: Batch) -> dict[str, np.ndarray]:
    with torch.inference_mode(), autocast(run.device, run.config.optim.precision):
        batch = batch.to(run.device)
        if not isinstance(run.model, Detector):
            return {"audio": _probability(run.model(batch.mel).logit)}
        assert batch.video is not None, "a detector's inputs have video"
        out = run.model(batch.mel, normalise(batch.video))
    steps = run.model.visual_encoder.backbone.grid[0]
    return {
        "audio": _probability(out.logit_audio),
        "visual": _probability(out.logit_a2v),
        "fused": _probability(out.logit_final),
        "w_audio": out.w_audio.float().cpu().numpy(),
        "discrepancy": out.discrepancy.unflatten(1, (steps, -1)).mean(dim=2).float().cpu().numpy(),
    }


def _probability(logit: torch.Tensor) -> np.ndarray:
    return torch.sigmoid(logit.double()).cpu().numpy()


def _join(keys: list[str], parts: list[dict[str, np.ndarray]]) -> Scores:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    w_audio, discrepancy = columns.pop("w_audio", None), columns.pop("discrepancy", None)
    return Scores(keys, columns, w_audio, discrepancy)
