"""Trained runs, of this method or a baseline, loaded to score elements."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from avdfd import config
from avdfd.baselines import SYSTEMS, TRAINED, avff_start
from avdfd.config import (
    AvffConfig,
    ConsistencyStageConfig,
    MediaConfig,
    PretrainConfig,
    RunConfig,
    TrainConfig,
    VfdConfig,
)
from avdfd.config.changes import different_keys
from avdfd.core.errors import UserError
from avdfd.core.files import BEST, read_sha256, sha256_of
from avdfd.datasets.loaders import Batch, InputForm, Inputs
from avdfd.features.early import of_audio
from avdfd.inference.columns import FUSED, WEIGHT
from avdfd.models.audio_encoder import AudioEncoder
from avdfd.models.detector import Detector
from avdfd.models.speech_encoder import SpeechEncoder
from avdfd.models.two_branch import TwoBranchDetector
from avdfd.training import weights
from avdfd.training.build import (
    AnyDetector,
    attach_front,
    attach_representation,
    build_audio_net,
    build_detector,
    check_components,
    detector_inputs,
    is_released,
)
from avdfd.training.distributed import pick_device
from avdfd.training.state_dicts import filled

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Run:
    """A trained model with its config."""

    folder: Path
    sha256: str
    """That of the weights."""
    config: RunConfig
    model: nn.Module
    device: torch.device
    inputs: InputForm
    """Form of the model's inputs, without augmentation."""
    branches: tuple[str, ...]
    """Names of the scores, the main branch last."""
    columns: Callable[[Any], dict[str, Tensor]]
    """Function from a batch to the logit (B,) of each branch and the explanations of it."""
    trains_on_fakes: bool = True
    """False for a system that is trained on real clips only; the config names the tiers of the others."""
    published: bool = False
    """True for a baseline whose weights were not trained here: the config does not say on what they were."""
    early: Callable[[Any], dict[str, Tensor]] | None = None
    """Function from a batch to early features (B, D) by branch, which describe training data and cost little (those of
    further branches of a detector need a forward pass); None for weights that were not trained here."""
    audio_branch: tuple[AudioEncoder | SpeechEncoder, nn.Module] | None = None
    """Encoder and head of the audio branch; None for systems without this branch."""
    media: MediaConfig | None = None
    """Settings by which the elements of its training were cut from files; None if they are unknown."""


_OF_SEED: dict[str, Any] = {"name": True, "seed": True, "audio": True, "consistency": {"init"}}
"""Keys in which runs of one system differ: each has its own stage 1 and 2a."""


def load_system(names: str, device: str = "auto", encoders: Sequence[Path] = ()) -> list[Run]:
    """Load the runs of one system: folders joined by commas that differ only in their seed.

    Raises UserError as `load_run` does, and for runs of several systems or with equal seeds.
    """
    runs = [load_run(name, device, encoders) for name in names.split(",")]
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = (one.config.model_dump(exclude=_OF_SEED) for one in (first, run))
        changed = different_keys(ours, theirs)
        if changed:
            raise UserError(
                f"{run.folder}: not the system of {first.folder}, it has another {changed[0]}; "
                "only runs that differ in nothing but their seed can be joined by commas"
            )
    seeds = [run.config.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{names}: the seeds are {', '.join(map(str, seeds))}; every run needs a different one")
    return runs


def load_run(folder: str | Path, device: str = "auto", encoders: Sequence[Path] = ()) -> Run:
    """Load the best model of a run in eval mode.

    A pretrained encoder that its weights refer to is looked for where they say, then in the folders `encoders`. Raises
    UserError if either is missing or damaged, or the run has no classifier.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; train one first, or correct --run")
    path = folder / BEST
    if not path.is_file():
        raise UserError(f"{folder}: has no {BEST}; this is not a run, or it has not finished an epoch")
    facts, state = weights.load(path, *config.RUNS)
    cfg = facts.config
    sha256 = read_sha256(path) or sha256_of(path)  # a stored one has been checked
    place = pick_device(device)

    known: dict[str, Any]

    def ready(build: Callable[[], M]) -> M:
        return filled(build, state, str(path)).to(place).eval()

    if isinstance(cfg, PretrainConfig):
        audio = ready(partial(build_audio_net, cfg.model))
        attach_front(audio.encoder, cfg.model, encoders)
        audio.to(place)
        branch = (audio.encoder, audio.head)
        columns = partial(_audio_columns, *branch)
        inputs: InputForm = Inputs(None, audio=cfg.model.input)
        known = {"early": _early_audio, "audio_branch": branch, "media": facts.media}
        return Run(folder, sha256, cfg, audio, place, inputs, ("audio",), columns, **known)
    if isinstance(cfg, TrainConfig):
        assert facts.audio_model is not None, "a detector has one"
        detector = ready(partial(build_detector, cfg, facts.audio_model, facts.consistency_model))
        attach_front(detector.audio_encoder, facts.audio_model, encoders)
        attach_representation(detector, facts.consistency_model, encoders)
        if isinstance(detector, Detector):
            check_components(detector.consistency, str(path))
        detector.to(place)
        branch = (detector.audio_encoder, detector.audio_head)
        columns = partial(_detector_columns, detector)
        inputs = detector_inputs(cfg, facts.audio_model, facts.consistency_model)
        branches = (*detector.branches, FUSED)
        known = {"early": _early_audio, "audio_branch": branch, "media": facts.media}
        return Run(folder, sha256, cfg, detector, place, inputs, branches, columns, **known)
    if isinstance(cfg, ConsistencyStageConfig):
        raise UserError(f"{folder}: stage 2a has no classifier yet; name the run of a stage 2 that was trained with it")
    system, stage = SYSTEMS[cfg.kind], facts.stage
    assert stage is not None, "a baseline has one"
    if stage not in system.SCORED:
        raise UserError(
            f"{folder}: the {stage} stage of {cfg.kind} has no classifier yet; "
            f"name the run of its {system.STAGES[-1]} stage"
        )
    model = ready(partial(system.rebuild, cfg, stage))
    columns = partial(_baseline_columns, system.scores, model, cfg)
    inputs = system.inputs(cfg, stage, train=False)
    names, labelled = system.branches(cfg), stage in system.LABELLED
    known = {"published": facts.epoch is None, "media": facts.media}
    if not known["published"] and cfg.kind in TRAINED:
        known["early"] = partial(_baseline_columns, TRAINED[cfg.kind].early, model, cfg)
    return Run(folder, sha256, cfg, model, place, inputs, names, columns, labelled, **known)


def trained_under(run: Run) -> list[RunConfig]:
    """Return the configs that a run's weights come from: its own and, if that run still exists, that of stage 1.

    The authors' file of stage 1 states no config.
    """
    if not isinstance(run.config, TrainConfig):
        return [run.config]
    stage1 = Path(run.config.audio)
    path = stage1 / BEST if stage1.is_dir() else stage1
    if not path.is_file() or is_released(path):
        return [run.config]
    return [run.config, weights.facts_of(path, "pretrain").config]


def pretrained_under(run: Run) -> list[RunConfig]:
    """Return the configs of further runs that weights came through, stage 2a or pre-training, if those still exist."""
    if isinstance(run.config, TrainConfig) and run.config.consistency is not None:
        stage2a = Path(run.config.consistency.init)
        path = stage2a / BEST if stage2a.is_dir() else stage2a
        return [weights.facts_of(path, "consistency").config] if path.is_file() else []
    if isinstance(run.config, AvffConfig):
        return [*avff_start.pretrained_under(run.config, SYSTEMS["avff"].STAGES[-1])]
    if not isinstance(run.config, VfdConfig):
        return []
    first = SYSTEMS["vfd"].STAGES[0]
    path = run.folder.with_name(f"{run.folder.name}-{first}") / BEST
    if first not in SYSTEMS["vfd"].stages(run.config):
        return []
    return [weights.facts_of(path, "vfd").config] if path.is_file() else []


def audio_only(run: Run) -> Run | None:
    """Return the run as it scores audio alone: a system without video, or the audio branch of stage 2; else None."""
    if not run.inputs.reads.video:
        return run
    if run.audio_branch is None:
        return None
    assert isinstance(run.inputs, Inputs), "a detector's own"
    inputs = run.inputs._replace(image_size=None, shape=False)
    return replace(run, inputs=inputs, branches=("audio",), columns=partial(_audio_columns, *run.audio_branch))


def _audio_columns(encoder: AudioEncoder | SpeechEncoder, head: nn.Module, batch: Batch) -> dict[str, Tensor]:
    return {"audio": head(encoder(*batch.model_inputs)[0]).squeeze(-1)}


def _detector_columns(model: AnyDetector, batch: Batch) -> dict[str, Tensor]:
    out = model(*batch.model_inputs)
    columns = dict(zip(model.branches, out.logits.unbind(dim=1), strict=True)) | {FUSED: out.logit_final}
    weights = out.log_weights.exp().unbind(dim=1)
    columns |= {WEIGHT + branch: weight for branch, weight in zip(model.branches, weights, strict=True)}
    if isinstance(model, TwoBranchDetector):
        return columns | {"discrepancy": out.discrepancy.unflatten(1, model.visual_encoder.backbone.grid)}
    return columns | {"frames": out.frames, "agreement": out.agreement}


def _early_audio(batch: Batch) -> dict[str, Tensor]:
    assert batch.mel is not None, "scoring caches nothing"
    return {"audio": of_audio(batch.mel)}


def _baseline_columns(
    of: Callable[..., dict[str, Tensor]], model: nn.Module, cfg: RunConfig, batch: Any
) -> dict[str, Tensor]:
    """Return the scores, or early features, of a batch."""
    return of(model, batch, cfg)
