"""A trained run, ours or a baseline's, and what it says about elements."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from avdfd import checkpoint, config
from avdfd.baselines import SYSTEMS
from avdfd.config import AudioModelConfig, PretrainConfig, RunConfig, TrainConfig
from avdfd.datasets.loaders import Batch, ElementSet, InputForm, Inputs, loader, to_device
from avdfd.datasets.samplers import Sequential
from avdfd.datasets.transforms import normalise
from avdfd.distributed import pick_device
from avdfd.elements import Element
from avdfd.engine import autocast, build_detector
from avdfd.errors import UserError, WorkError
from avdfd.models.audio_encoder import AudioNet
from avdfd.models.detector import Detector
from avdfd.released import fill
from avdfd.tracking import BEST

M = TypeVar("M", bound=nn.Module)
DETECTOR_BRANCHES = ("audio", "visual", "fused")


@dataclass(frozen=True)
class Run:
    """A trained model with the config it was trained under."""

    folder: Path
    config: RunConfig
    model: nn.Module
    device: torch.device
    inputs: InputForm
    """What the model takes, without augmentation."""
    branches: tuple[str, ...]
    """Names of the scores, the main one last."""
    precision: str
    columns: Callable[[Any], dict[str, Tensor]]
    """What the model says about a batch: a logit of being fake (B,) for each branch, and what explains it."""
    sees_fakes: bool = True
    """Whether its training does; its config says which tiers."""


_OF_A_RUN: Any = dict.fromkeys(("name", "runs", "seed", "audio", "device", "save_minutes", "max_bad_steps"), True)
_OF_A_RUN |= {"data": {"workers"}}
"""Keys that differ between runs of one system; `audio` names a stage 1 of another seed."""


def load_system(names: str, device: str = "auto") -> list[Run]:
    """The runs of one system: folders, joined by commas, that differ by their seed.

    Raises UserError as `load_run`, and for runs of several systems or of equal seeds.
    """
    runs = [load_run(name, device) for name in names.split(",")]
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = first.config.model_dump(exclude=_OF_A_RUN), run.config.model_dump(exclude=_OF_A_RUN)
        key = next((key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)), None)
        if key:
            raise UserError(
                f"{run.folder}: not the system of {first.folder}, its '{key}' differs; "
                "join runs by commas that differ by their seed alone"
            )
    seeds = [run.config.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{names}: these runs have the seeds {', '.join(map(str, seeds))}; each has to have its own")
    return runs


def load_run(folder: str | Path, device: str = "auto") -> Run:
    """The best model of a run, in eval mode. Raises UserError if there is none, it is damaged or cannot score."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; train one first, or correct --run")
    path = folder / BEST
    if not path.is_file():
        raise UserError(f"{folder}: has no {BEST}; this is not a run, or it has not finished an epoch")
    content = checkpoint.load(path, *config.RUNS)
    cfg = config.parse(content["config"], config.RUNS[content["config"]["kind"]], source=str(path))
    place = pick_device(device)

    def ready(model: M) -> M:
        fill(model, content["model"], source=str(path))
        return model.to(place).eval()

    if isinstance(cfg, PretrainConfig):
        audio = ready(AudioNet(cfg.model))
        columns = partial(_audio_columns, audio)
        return Run(
            folder, cfg, audio, place, Inputs(None, audio=cfg.model.input), ("audio",), cfg.optim.precision, columns
        )
    if isinstance(cfg, TrainConfig):
        stage1 = config.parse(content["audio_model"], AudioModelConfig, source=str(path))
        detector = ready(build_detector(cfg, stage1))
        columns = partial(_detector_columns, detector)
        frames = Inputs(cfg.visual.image_size, audio=stage1.input)
        return Run(folder, cfg, detector, place, frames, DETECTOR_BRANCHES, cfg.optim.precision, columns)
    system, stage = SYSTEMS[cfg.kind], content["stage"]
    if stage not in system.SCORED:
        raise UserError(
            f"{folder}: the {stage} stage of {cfg.kind} tells no fakes yet; "
            f"name the run of its {system.STAGES[-1]} stage"
        )
    model = ready(system.rebuild(cfg, stage))
    columns = partial(_baseline_columns, system.scores, model, cfg)
    inputs = system.inputs(cfg, stage, train=False)
    recipe, labelled = getattr(cfg, stage), stage in system.LABELLED
    return Run(folder, cfg, model, place, inputs, system.branches(cfg), recipe.precision, columns, labelled)


def trained_under(run: Run) -> list[RunConfig]:
    """The configs that a run's weights come from: its own, and its stage 1's, which is there as long as that run is."""
    if not isinstance(run.config, TrainConfig):
        return [run.config]
    stage1 = Path(run.config.audio)
    path = stage1 / BEST if stage1.is_dir() else stage1
    if not path.is_file():
        return [run.config]
    former = checkpoint.load(path, "pretrain")["config"]
    return [run.config, config.parse(former, PretrainConfig, source=str(path))]


def _audio_columns(model: AudioNet, batch: Batch) -> dict[str, Tensor]:
    return {"audio": model(batch.mel).logit}


def _detector_columns(model: Detector, batch: Batch) -> dict[str, Tensor]:
    assert batch.video is not None, "a detector's inputs have video"
    out = model(batch.mel, normalise(batch.video))
    steps = model.visual_encoder.backbone.grid[0]
    return {
        "audio": out.logit_audio,
        "visual": out.logit_a2v,
        "fused": out.logit_final,
        "w_audio": out.w_audio,
        "discrepancy": out.discrepancy.unflatten(1, (steps, -1)).mean(dim=2),
    }


def _baseline_columns(
    scores: Callable[..., dict[str, Tensor]], model: nn.Module, cfg: RunConfig, batch: Any
) -> dict[str, Tensor]:
    return scores(model, batch, cfg)


@dataclass
class Scores:
    """P(fake) per element and branch, and what explains it."""

    keys: list[str]
    branch: dict[str, np.ndarray]
    """Branch -> (N,), or (S, N) of S runs (`avdfd.pooling.stack`)."""
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
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Scores:
    """Scores every element of a set, in its order. `progress` may wrap the batches in a progress bar.

    Raises WorkError if a score is not a number, as `score_windows`.
    """
    batches = loader(elements, Sequential(len(elements), batch_size), workers, run.device)
    parts = [_score_batch(run, batch) for batch in progress(batches)]
    return _join(run, [meta.key for meta in elements.metas], parts)


def score_windows(run: Run, windows: list[Element]) -> Scores:
    """Scores elements that are in memory with all their frames, as one batch; their keys are their positions."""
    wanted = run.inputs.reads.frames
    examples = []
    for window in windows:
        assert window.frames is not None, "windows come with frames"
        frames = None if wanted is None else window.frames[list(wanted)]
        examples.append(run.inputs.example(replace(window, frames=frames), None))
    return _join(
        run, [str(number) for number in range(len(windows))], [_score_batch(run, run.inputs.collate(examples))]
    )


def _score_batch(run: Run, batch: Any) -> dict[str, np.ndarray]:
    """What the model says about a batch, with probabilities for the branches' logits."""
    with torch.inference_mode(), autocast(run.device, run.precision):
        columns = run.columns(to_device(batch, run.device))
    return {
        name: (torch.sigmoid(column.double()) if name in run.branches else column.float()).cpu().numpy()
        for name, column in columns.items()
    }


def _join(run: Run, keys: list[str], parts: list[dict[str, np.ndarray]]) -> Scores:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for branch in run.branches:
        if np.isnan(columns[branch]).any():
            key = keys[int(np.isnan(columns[branch]).argmax())]
            raise WorkError(
                f"{run.folder}: its {branch} score of {key} is not a number; the training that made it has diverged"
            )
    w_audio, discrepancy = columns.pop("w_audio", None), columns.pop("discrepancy", None)
    return Scores(keys, columns, w_audio, discrepancy)
