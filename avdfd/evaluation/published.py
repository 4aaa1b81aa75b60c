"""Evaluation of published checkpoints of the baselines on clips that their authors did not train on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avdfd.baselines import System
from avdfd.baselines.mrdf_folds import published_fold
from avdfd.baselines.open_store import open_store
from avdfd.baselines.stages import adopt
from avdfd.config import RunConfig
from avdfd.corpora.fakeavceleb import TABLE
from avdfd.elements import ElementMeta
from avdfd.evaluation.evaluate import Evaluation, Request, evaluate
from avdfd.splits.files import SplitList, SplitRow, save
from avdfd.splits.lists import PUBLISHED


def evaluate_fold(
    cfg: RunConfig, system: System, file: Path, fold_file: Path, console: Callable[[str], object]
) -> Evaluation:
    """Make a run folder of a published checkpoint, and evaluate it on the test clips of its authors' fold list."""
    metas = open_store(cfg.data.elements, cfg).metas
    fold = published_fold(fold_file, metas)
    cfg = cfg.model_copy(update={"name": f"{cfg.name}-{fold_file.stem}"})
    inputs = [fold_file, fold_file.parent / TABLE]
    trained_on = fold.trained_on
    done = _evaluate(cfg, system, file, fold.clips, metas, console, inputs, trained_on=trained_on.identities)
    if trained_on.skipped:
        console(f"{fold_file}: the first line, '{trained_on.skipped}', counts as a header, as in the released code")
    shared, clips = done.result["protocol"]["shared_identities"]
    console(f"{fold_file}: {shared} of {clips} test clips show an identity that the checkpoint was trained on")
    return done


def evaluate_all_clips(cfg: RunConfig, system: System, file: Path, console: Callable[[str], object]) -> Evaluation:
    """Make a run folder of a published checkpoint, and evaluate it on all clips of the store."""
    metas = open_store(cfg.data.elements, cfg).metas
    rows = dict.fromkeys(SplitRow("test", meta.identities[0], meta.source) for meta in metas)
    return _evaluate(cfg, system, file, SplitList([*rows]), metas, console)


def _evaluate(
    cfg: RunConfig,
    system: System,
    file: Path,
    clips: SplitList,
    metas: Sequence[ElementMeta],
    console: Callable[[str], object],
    inputs: Sequence[Path] = (),
    **more: Any,
) -> Evaluation:
    """Make the run folder with the list of its test clips, and evaluate it on them."""
    folder = Path(cfg.runs) / cfg.name
    data = cfg.data.model_copy(update={"splits": str(folder / "fold.csv")})
    adopt(cfg.model_copy(update={"data": data}), system, system.STAGES[-1], file, console)
    save(folder, PUBLISHED, cfg.seed, {"fold": clips}, metas, inputs, **more)
    return evaluate(Request(str(folder), split="test", device=cfg.device))
