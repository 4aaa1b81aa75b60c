"""Stages of a published system: the config and the run folder of each, and runs that are made without training."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from avdfd.baselines import System
from avdfd.config import RecipeConfig, RunConfig
from avdfd.core.files import BEST
from avdfd.core.revision import git_revision
from avdfd.elements.layout import media_of
from avdfd.training import weights
from avdfd.training.run_folder import RunFolder
from avdfd.training.state_dicts import fill
from avdfd.training.weights import RunFacts

Console = Callable[[str], object]
"""Called with every announced line."""


def stage_config(cfg: RunConfig, system: System, stage: str) -> RunConfig:
    """Return the config with the stage's own data, and under the name of its run."""
    name = cfg.name if stage == system.STAGES[-1] else f"{cfg.name}-{stage}"
    recipe = getattr(cfg, stage)
    own = recipe.data if isinstance(recipe, RecipeConfig) else None
    data = cfg.data.model_copy(update=own.model_dump() if own else {})
    return cfg.model_copy(update={"name": name, "data": data})


def former_weights(cfg: RunConfig, system: System, stage: str) -> Mapping[str, Tensor] | None:
    """Return the weights of the stage before; None for a first stage and if the config names other weights."""
    position = system.STAGES.index(stage)
    if position == 0 or system.STAGES[position - 1] not in system.stages(cfg):
        return None
    former = stage_config(cfg, system, system.STAGES[position - 1])
    return weights.load(Path(former.runs) / former.name / BEST, cfg.kind).model


def adopt(cfg: RunConfig, system: System, stage: str, file: Path, console: Console) -> Path:
    """Make a run folder of a published checkpoint of a stage, for evaluate.py and detect.py. Return it."""
    cfg = stage_config(cfg, system, stage)
    model = system.rebuild(cfg, stage)
    fill(model, system.published(file), source=str(file))
    return _write_run(cfg, stage, model, str(file), console)


def install(cfg: RunConfig, system: System, console: Console) -> Path:
    """Make a run folder of a system whose published weights the config names, for the same. Return it."""
    stage = system.STAGES[-1]
    cfg = stage_config(cfg, system, stage)
    return _write_run(cfg, stage, system.build(cfg, stage, None), "published weights", console)


def _write_run(cfg: RunConfig, stage: str, model: nn.Module, source: str, console: Console) -> Path:
    run = RunFolder(cfg, resume=False, console=console)
    run.write_config(cfg)
    media = media_of(cfg.data.elements)
    facts = RunFacts.model_validate({"config": cfg, "stage": stage, "git": git_revision(), "media": media})
    weights.save(run.path / BEST, model.state_dict(), facts)
    run.close()
    run.announce(f"{cfg.kind} from {source}: {run.path / BEST}")
    return run.path
